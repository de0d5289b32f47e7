"""Plain lines for people: what ``auto`` became and why, and what limits the meaning of a result."""

from collections.abc import Iterable, Mapping, Sequence

from collectors.gpus import gpu_names
from orchestrator.cell import Cell


def notes(cells: Sequence[Cell], choices: Iterable[Mapping[str, str | None]]) -> tuple[str, ...]:
    """Each line once, in a fixed order."""
    chosen = [{group: option for group, option in choice.items() if option == "auto"} for choice in choices]
    lines = []
    if any("engine" in choice for choice in chosen):
        lines.append(f"engine=auto: the simulated engine, because {_why_simulated()}; times and energies are computed")
    if any("hardware" in choice for choice in chosen):
        names = ", ".join(dict.fromkeys(cell.hardware.name for cell in cells))
        lines.append(f"hardware=auto: the figures of {names}; choose another preset with hardware=NAME")
    lines.extend(_extended_contexts(cells))
    return tuple(lines)


def _why_simulated() -> str:
    found = gpu_names()
    if not found:
        return "no NVIDIA GPU was found here"
    return f"this version has no engine for the {len(found)} x {found[0]} found here"


def _extended_contexts(cells: Iterable[Cell]) -> list[str]:
    lines = {
        f"{cell.model.name}: a context of {cell.model.max_model_len} tokens is longer than the "
        f"{cell.model.max_position_embeddings} it was trained for; speed and energy hold, answers would not": None
        for cell in cells
        if cell.model.extends_context
    }
    return list(lines)
