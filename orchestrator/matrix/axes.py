"""The axes of a sweep: what its file and the command line say, in Hydra's own override grammar."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from orchestrator.errors import UserError

SWEEP_GROUP = "sweep"


@dataclass(frozen=True, slots=True)
class Axis:
    """A key and its values, each an override parsed once; a fixed override is an axis of one value."""

    key: str
    points: tuple[Override, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The values as a person would type them."""
        return tuple(point.get_value_element_as_str() for point in self.points)


def parse_axes(loader: ConfigLoader, params: Mapping[str, str], arguments: Sequence[str]) -> tuple[Axis, ...]:
    """Axes in the order of the sweep file, then of the command line; an argument replaces the axis of its key.

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
    """Keys that take more than one value, each once; ``axes`` may hold a key several times, once per sweep file."""
    values: dict[str, set[str]] = {}
    for axis in axes:
        values.setdefault(axis.key, set()).update(axis.values)
    return tuple(key for key, found in values.items() if len(found) > 1 and key != SWEEP_GROUP)


def given_keys(overrides: Iterable[Override]) -> frozenset[str]:
    """The dotted keys that overrides set; one that gives a mapping sets the keys inside it."""
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
