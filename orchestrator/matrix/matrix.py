"""Build the matrix from what Hydra composed; everything is validated here, before anything starts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.errors import UserError
from orchestrator.matrix.defaults import Defaults
from orchestrator.matrix.expand import Expansion, Point, varying
from orchestrator.matrix.validate import QUESTION, cell_of, refuse_inline_ray, refuse_long_requests, settings_of
from orchestrator.spec.cell import Cell
from orchestrator.spec.settings import Matrix, Settings, StopRule

_NAMED_BY = {"model": "name", "hardware": "name", "engine": "kind", "workflow": "kind", "load": "kind"}
_OUTSIDE_CELLS = {*Settings.model_fields, "hydra", QUESTION, "protocol.order", "protocol.max_attempts"}
_STOP_RULE = "protocol.stop_when"
_REPEAT = "repeat"


def build(expansion: Expansion) -> tuple[Matrix, Settings]:
    """Return the matrix and its settings; a cell that the axes give twice is kept once.

    Raises:
        UserError: a wrong key, value or file, or a request longer than its model's context.
        EnvironmentFailure: the cluster cannot be probed.
    """
    defaults = Defaults(expansion.points, resumes_only=_resumes_only(expansion))
    configs = defaults.configs
    questions = dict.fromkeys(str(question) for config in configs if (question := config.get(QUESTION)))
    once = tuple({cell.cell_id: cell for cell in map(cell_of, configs)}.values())
    settings = _one_settings(configs)
    cells = _repeated(once, expansion.points, settings)
    refuse_inline_ray(cells, settings)
    refuse_long_requests(cells)
    matrix = Matrix(
        name=expansion.name,
        cells=cells,
        overrides=expansion.arguments,
        swept=_swept(expansion, settings),
        notes=(*defaults.notes(), *_cell_notes(cells), *_stop_notes(cells, settings.stop_when)),
        question=" ".join(questions) or None,
    )
    return matrix, settings


def requested_matrix(matrix: Matrix) -> Matrix | None:
    """Return the matrix; None if nothing on the command line selects cells."""
    return matrix if _selects_cells(matrix.name, matrix.overrides) else None


def least_cells(cells: Iterable[Cell], rule: StopRule) -> int:
    """Return how many of the cells run even if the stop rule is met as early as possible."""
    repeats = Counter(cell.configuration for cell in cells).values()
    return sum(n if rule.metric is None else min(n, rule.min_repeats) for n in repeats)


def _resumes_only(expansion: Expansion) -> bool:
    resumes = any(point.config.get("resume") is not None for point in expansion.points)
    return resumes and not _selects_cells(expansion.name, expansion.arguments)


def _selects_cells(name: str, overrides: Iterable[str]) -> bool:
    """Return whether a command line that composed to a sweep of this name selects cells."""
    return name != "single" or any(map(_is_about_cells, overrides))


def _is_about_cells(override: str) -> bool:
    if override.startswith("-"):
        return False
    key = override.partition("=")[0].lstrip("+~")
    if key == _STOP_RULE or key.startswith(f"{_STOP_RULE}."):
        return False
    return key not in _OUTSIDE_CELLS and key.partition(".")[0] not in _OUTSIDE_CELLS


def _one_settings(configs: Iterable[Mapping[str, Any]]) -> Settings:
    distinct: list[Settings] = []
    for settings in map(settings_of, configs):
        if settings not in distinct:
            distinct.append(settings)
    if len(distinct) > 1:
        key, first, second = _difference(distinct[0].model_dump(), distinct[1].model_dump())
        raise UserError(f"{key}: holds for the whole sweep and cannot be swept, got {first!r} and {second!r}")
    return distinct[0]


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, Any, Any]:
    key = next(key for key in first if first[key] != second[key])
    if not isinstance(first[key], Mapping):
        return key, first[key], second[key]
    inner, before, after = _difference(first[key], second[key])
    return f"{key}.{inner}", before, after


def _repeated(cells: Sequence[Cell], points: Iterable[Point], settings: Settings) -> tuple[Cell, ...]:
    """Return all cells as repeat 0, then all as repeat 1, and so on; unchanged if ``protocol.repeats`` is 1.

    Raises:
        UserError: the sweep or the command line also gives ``repeat``.
    """
    if settings.repeats == 1:
        return tuple(cells)
    if any(_REPEAT in point.given for point in points):
        raise UserError(
            f"protocol.repeats: must be 1 where {_REPEAT} is given, got {settings.repeats}; leave one of them out"
        )
    return tuple(_as_repeat(cell, repeat) for repeat in range(settings.repeats) for cell in cells)


def _as_repeat(cell: Cell, repeat: int) -> Cell:
    return Cell(**{**{name: getattr(cell, name) for name in Cell.model_fields}, _REPEAT: repeat})


def _swept(expansion: Expansion, settings: Settings) -> tuple[str, ...]:
    keys = tuple(map(_cell_key, varying(expansion.axes)))
    return keys if settings.repeats == 1 else (*keys, _REPEAT)


def _cell_key(key: str) -> str:
    """Return the key by which a cell names the option of a group: a sweep says ``workflow``, a cell ``workflow.kind``.

    ``workflow@workflow.tenants.a.workflow`` places an option at the package after the ``@``, as in Hydra.
    """
    group, _, package = key.partition("@")
    return f"{package or group}.{_NAMED_BY[group]}" if group in _NAMED_BY else key


def _cell_notes(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield what is not measured or not as trained, each line once, in a fixed order."""
    kinds = dict.fromkeys(cell.engine.kind for cell in cells if cell.collectors.power == "none")
    for kind in kinds:
        yield f"energy is not measured beside engine.kind={kind}: latencies and throughput only"
    cooled = [cell for cell in cells if cell.protocol.cools_down and not cell.collectors.samples_gpus]
    for power in dict.fromkeys(cell.collectors.power for cell in cooled):
        yield f"protocol.cooldown: no cell waits beside collectors.power={power}, which measures no temperature"
    yield from dict.fromkeys(
        f"{cell.model.name}: a context of {cell.model.max_model_len} tokens is longer than the "
        f"{cell.model.max_position_embeddings} it was trained for; speed and energy hold, answers would not"
        for cell in cells
        if cell.model.extends_context
    )


def _stop_notes(cells: Iterable[Cell], rule: StopRule) -> Iterator[str]:
    """Yield what the stop rule will do."""
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
