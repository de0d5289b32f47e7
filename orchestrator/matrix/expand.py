"""Expand a composed Hydra configuration into every point of the matrix, as plain data."""

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from orchestrator.errors import UserError

SWEEP_GROUP = "sweep"


@dataclass(frozen=True, slots=True)
class Point:
    """One composed configuration: plain data without the ``hydra`` node, and the option chosen in each group.

    ``given`` are the dotted keys that the sweep or the command line set; the others come from presets.
    """

    config: dict[str, Any]
    choices: dict[str, str | None]
    given: frozenset[str]


@dataclass(frozen=True, slots=True)
class Axis:
    """A key and its values, each a parsed override; a fixed override is an axis of one value."""

    key: str
    points: tuple[Override, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The values as typed on a command line."""
        return tuple(point.get_value_element_as_str() for point in self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """All that Hydra composed: the points in product order, the axes of each sweep, and the arguments."""

    name: str
    points: tuple[Point, ...]
    axes: tuple[Axis, ...]
    arguments: tuple[str, ...]


def single(config: DictConfig) -> Expansion:
    """Return the expansion of one job that Hydra runs itself; call it inside the job."""
    hydra = HydraConfig.get()
    arguments = tuple(hydra.overrides.task)
    given = given_keys(OverridesParser.create().parse_overrides(list(arguments)))
    point = Point(_plain(config), dict(hydra.runtime.choices), given)
    return Expansion(name="single", points=(point,), axes=(), arguments=arguments)


def expand(loader: ConfigLoader, config: DictConfig, arguments: Sequence[str]) -> Expansion:
    """Return every point of the sweep that ``config`` (composed for MULTIRUN) and ``arguments`` describe.

    Several sweep files (``-m +sweep=a,b``) are expanded one after the other.
    """
    names: list[str] = []
    points: list[Point] = []
    axes: list[Axis] = []
    for inner_config, inner_arguments in _per_sweep(loader, config, arguments):
        composer = _Composer(loader, inner_config)
        params = OmegaConf.to_container(inner_config.hydra.sweeper.params or OmegaConf.create(), resolve=True)
        inner = parse_axes(loader, cast(dict[str, str], params), inner_arguments)
        names.append(_sweep_name(inner))
        axes.extend(inner)
        points.extend(composer.points(inner))
    return Expansion(name="+".join(names), points=tuple(points), axes=tuple(axes), arguments=tuple(arguments))


def _per_sweep(
    loader: ConfigLoader, config: DictConfig, arguments: Sequence[str]
) -> Iterator[tuple[DictConfig, list[str]]]:
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    several = [o for o in parsed if o.key_or_group == SWEEP_GROUP and o.is_sweep_override()]
    if not several:
        yield config, list(arguments)
        return
    others = [o.input_line or "" for o in parsed if o.key_or_group != SWEEP_GROUP]
    for name in several[-1].sweep_string_iterator():
        inner = [f"{several[-1].get_key_element()}={name}", *others]
        hydra_overrides = list(config.hydra.overrides.hydra)
        yield (
            loader.load_configuration(config.hydra.job.config_name, [*hydra_overrides, *inner], RunMode.MULTIRUN),
            inner,
        )


def _sweep_name(axes: Sequence[Axis]) -> str:
    for axis in axes:
        if axis.key == SWEEP_GROUP:
            return axis.values[0].strip("[]").replace(",", "+").replace("/", "-")
    return "adhoc"


@dataclass(frozen=True, slots=True)
class _Base:
    """What one combination of group options composes to, and the ``hydra`` node that its interpolations may read."""

    config: DictConfig
    hydra: Any
    choices: dict[str, str | None]


class _Composer:
    """Composes once per combination of group options, then applies dotted values as Hydra does after composing."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._is_group: dict[str, bool] = {}

    def points(self, axes: Sequence[Axis]) -> list[Point]:
        """Return the product of the axes; the last one varies fastest."""
        before = HydraConfig.instance().cfg
        try:
            return [self._point(overrides) for overrides in itertools.product(*(axis.points for axis in axes))]
        finally:
            HydraConfig.instance().cfg = before

    def _point(self, overrides: Sequence[Override]) -> Point:
        chosen = [self._chooses_group(override) for override in overrides]
        groups = tuple(o.input_line or "" for o, is_group in zip(overrides, chosen, strict=True) if is_group)
        if groups not in self._bases:
            self._bases[groups] = self._compose(groups)
        base = self._bases[groups]
        config = copy.deepcopy(base.config)
        values = [o for o, is_group in zip(overrides, chosen, strict=True) if not is_group]
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        HydraConfig.instance().cfg = base.hydra
        return Point(_plain(config), base.choices, given_keys(values))

    def _chooses_group(self, override: Override) -> bool:
        """Return whether the override chooses an option of a group, by the rule of `hydra._internal.defaults_list`."""
        key = override.key_or_group
        if key not in self._is_group:
            self._is_group[key] = bool(self._loader.get_group_options(key, results_filter=None))
        return self._is_group[key] and not isinstance(override.value(), dict)

    def _compose(self, groups: tuple[str, ...]) -> _Base:
        composed = self._loader.load_sweep_config(self._master, list(groups))
        HydraConfig.instance().set_config(composed)
        choices = dict(composed.hydra.runtime.choices)
        config = copy.deepcopy(composed)
        with open_dict(config):
            del config["hydra"]
        return _Base(config, HydraConfig.instance().cfg, choices)


def _plain(config: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))


def parse_axes(loader: ConfigLoader, params: Mapping[str, str], arguments: Sequence[str]) -> tuple[Axis, ...]:
    """Return the axes of the sweep file, then of the command line; an argument replaces the axis of its key.

    Raises:
        UserError: an interval, which has no points, or an axis without any value.
    """
    parser = OverridesParser.create(config_loader=loader)
    lines = [*(f"{key}={value}" for key, value in params.items()), *arguments]
    axes: dict[str, Axis] = {}
    for override in parser.parse_overrides(lines):
        axis = _axis(parser, override)
        axes[axis.key] = axis
    return tuple(axes.values())


def varying(axes: Iterable[Axis]) -> tuple[str, ...]:
    """Return the keys that take more than one value; ``axes`` may hold a key once for each sweep file."""
    values: dict[str, set[str]] = {}
    for axis in axes:
        values.setdefault(axis.key, set()).update(axis.values)
    return tuple(key for key, distinct in values.items() if len(distinct) > 1 and key != SWEEP_GROUP)


def given_keys(overrides: Iterable[Override]) -> frozenset[str]:
    """Return the dotted keys that overrides set; one that gives a mapping sets the keys inside it."""
    return frozenset(key for override in overrides for key in _leaves(override.key_or_group, override.value()))


def _leaves(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield key
        return
    for name, inner in value.items():
        yield from _leaves(f"{key}.{name}", inner)


def _axis(parser: OverridesParser, override: Override) -> Axis:
    key = override.get_key_element()
    if override.is_interval_sweep():
        raise UserError(f"{override.input_line}: an interval has no points; give a list, range() or choice()")
    if not override.is_sweep_override():
        return Axis(key.lstrip("+"), (override,))
    lines = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not lines:
        raise UserError(f"{override.input_line}: no value; the range is empty or the glob matches nothing")
    return Axis(key.lstrip("+"), tuple(parser.parse_overrides(lines)))
