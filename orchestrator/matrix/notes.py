"""Plain lines for people on what limits the meaning of a result."""

from collections.abc import Sequence

from orchestrator.spec.cell import Cell


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
