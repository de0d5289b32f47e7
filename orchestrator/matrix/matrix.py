"""From what Hydra composed to the matrix: everything is validated here, before anything starts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.errors import UserError
from orchestrator.matrix.defaults import Auto, refuse_ray_inline, with_executor, with_protocol
from orchestrator.matrix.expand import Expansion, Point, varying
from orchestrator.matrix.resolve import resolved
from orchestrator.matrix.validate import QUESTION, cell_of, refuse_long_requests, settings_of
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix, Settings, StopRule

_NAMED_BY = {"model": "name", "hardware": "name", "engine": "kind", "workflow": "kind", "load": "kind"}
_OUTSIDE_CELLS = {*Settings.model_fields, "hydra", QUESTION, "protocol.order", "protocol.max_attempts"}
_STOP_RULE = "protocol.stop_when"
REPEAT = "repeat"


def build(expansion: Expansion) -> tuple[Matrix, Settings]:
    """The matrix and its settings; a cell that the axes give twice is kept once.

    Raises:
        UserError: a wrong key, value or file, or a request longer than its model's context.
    """
    auto = Auto(expansion.points, resumes_only=_resumes_only(expansion))
    configs = [with_protocol(resolved(auto.decided(point), point.given)) for point in expansion.points]
    questions = dict.fromkeys(str(asked) for config in configs if (asked := config.get(QUESTION)))
    once = _unique(with_executor(cell_of(config), config) for config in configs)
    settings = _one_settings(configs)
    cells = repeated(once, expansion.points, settings)
    refuse_ray_inline(cells, settings)
    refuse_long_requests(cells)
    matrix = Matrix(
        name=expansion.name,
        cells=cells,
        overrides=expansion.arguments,
        swept=_swept(expansion, settings),
        notes=(*auto.notes(), *notes(cells), *stop_notes(cells, settings)),
        question=" ".join(questions) or None,
    )
    return matrix, settings


def _resumes_only(expansion: Expansion) -> bool:
    resumes = any(point.config.get("resume") is not None for point in expansion.points)
    return resumes and not asks_for_cells(expansion.name, expansion.arguments)


def _unique(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    return tuple({cell.cell_id: cell for cell in cells}.values())


def _swept(expansion: Expansion, settings: Settings) -> tuple[str, ...]:
    keys = tuple(_cell_key(key) for key in varying(expansion.axes))
    return keys if settings.repeats == 1 else (*keys, REPEAT)


def _cell_key(key: str) -> str:
    """What tells the options of a group apart in a cell: a sweep says ``workflow``, a cell ``workflow.kind``.

    ``workflow@workflow.tenants.a.workflow`` puts an option where Hydra's package says.
    """
    group, _, package = key.partition("@")
    return f"{package or group}.{_NAMED_BY[group]}" if group in _NAMED_BY else key


def _one_settings(configs: Iterable[dict[str, Any]]) -> Settings:
    found: list[Settings] = []
    for settings in map(settings_of, configs):
        if settings not in found:
            found.append(settings)
    if len(found) > 1:
        key, first, second = _difference(found[0].model_dump(), found[1].model_dump())
        raise UserError(f"{key}: holds for the whole sweep and cannot be swept, got {first!r} and {second!r}")
    return found[0]


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, Any, Any]:
    key = next(key for key in first if first[key] != second[key])
    if not isinstance(first[key], Mapping):
        return key, first[key], second[key]
    inner, before, after = _difference(first[key], second[key])
    return f"{key}.{inner}", before, after


def asked_matrix(matrix: Matrix) -> Matrix | None:
    """The matrix, or None where nothing on the command line was about cells."""
    return matrix if asks_for_cells(matrix.name, matrix.overrides) else None


def asks_for_cells(name: str, overrides: Iterable[str]) -> bool:
    """Whether a command line, which composed to a sweep of this name, said anything of cells."""
    return name != "single" or any(_is_about_cells(override) for override in overrides)


def _is_about_cells(override: str) -> bool:
    if override.startswith("-"):
        return False
    key = override.partition("=")[0].lstrip("+~")
    if key == _STOP_RULE or key.startswith(f"{_STOP_RULE}."):
        return False
    return key not in _OUTSIDE_CELLS and key.partition(".")[0] not in _OUTSIDE_CELLS


def notes(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Each line once, in a fixed order."""
    return tuple(dict.fromkeys([*_unmeasured(cells), *_not_cooled(cells), *_extended_contexts(cells)]))


def _unmeasured(cells: Sequence[Cell]) -> list[str]:
    kinds = dict.fromkeys(cell.engine.kind for cell in cells if cell.collectors.power == "none")
    return [f"energy is not measured beside engine.kind={kind}: latencies and throughput only" for kind in kinds]


def _not_cooled(cells: Sequence[Cell]) -> list[str]:
    powers = dict.fromkeys(
        cell.collectors.power for cell in cells if cell.protocol.cools_down and not cell.collectors.samples_gpus
    )
    return [
        f"protocol.cooldown: no cell waits beside collectors.power={power}, which tells no temperature"
        for power in powers
    ]


def _extended_contexts(cells: Sequence[Cell]) -> list[str]:
    return [
        f"{cell.model.name}: a context of {cell.model.max_model_len} tokens is longer than the "
        f"{cell.model.max_position_embeddings} it was trained for; speed and energy hold, answers would not"
        for cell in cells
        if cell.model.extends_context
    ]


def repeated(cells: Sequence[Cell], points: Iterable[Point], settings: Settings) -> tuple[Cell, ...]:
    """The cells as repeat 0, then as repeat 1, and so on; as they are where ``protocol.repeats`` is 1.

    Raises:
        UserError: the sweep or the command line gives ``repeat`` itself.
    """
    if settings.repeats == 1:
        return tuple(cells)
    if any(REPEAT in point.given for point in points):
        raise UserError(
            f"protocol.repeats: must be 1 where {REPEAT} is given, got {settings.repeats}; leave one of them out"
        )
    return tuple(_as_repeat(cell, repeat) for repeat in range(settings.repeats) for cell in cells)


def least_cells(cells: Iterable[Cell], rule: StopRule) -> int:
    """How many of the cells run even if the stop rule is met as early as it can be."""
    repeats = Counter(cell.configuration for cell in cells).values()
    return sum(n if rule.metric is None else min(n, rule.min_repeats) for n in repeats)


def stop_notes(cells: Iterable[Cell], settings: Settings) -> Iterator[str]:
    """What the stop rule will do, for people."""
    rule = settings.stop_when
    if rule.metric is None:
        return
    most = max(Counter(cell.configuration for cell in cells).values())
    if most <= rule.min_repeats:
        yield (
            f"protocol.stop_when stops nothing: no configuration has more than {most} repeats, of which "
            f"{rule.min_repeats} run in any case (protocol.stop_when.min_repeats); protocol.repeats gives more"
        )
        return
    yield (
        f"a configuration has {rule.min_repeats} to {most} repeats: no more once the 95 % half-width of {rule.metric} "
        f"is at most {rule.half_width_ratio:g} of its mean (protocol.stop_when)"
    )


def _as_repeat(cell: Cell, repeat: int) -> Cell:
    return Cell(**{**{name: getattr(cell, name) for name in Cell.model_fields}, REPEAT: repeat})
