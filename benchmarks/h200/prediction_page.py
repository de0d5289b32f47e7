"""The section of docs/h200.md on what was predicted, beside what others published."""

import csv
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.h200.kept import DATA, SWEEPS

_ENERGY = "gpu_energy_j_per_output_token"
_REFERENCE, _BATCH = SWEEPS


def prediction_section(found: Mapping[str, Any]) -> str:
    """Both sweeps as Markdown, the first beside published rows of other GPUs."""
    commit = (found["git"] or {}).get("commit", "unknown")[:12]
    return "\n\n".join(
        (
            f"`python -m benchmarks.h200.predict`, {found['date']}, at commit {commit}, before any cell was measured: "
            "the preset `h200_sxm`, which has H100's coefficients at H200's bandwidth. Expect energies 20 to 25 % off "
            "([simulation.md](simulation.md)).",
            "`reference_8b`, beside published rows of the same model (ML.ENERGY leaderboard v3, text conversation, as "
            "many tokens an answer):",
            "\n".join(_reference(found)),
            "`batch_h200`:",
            "\n".join(_batch(found)),
        )
    )


def published() -> dict[tuple[str, int], dict[str, float]]:
    """Published rows by GPU and ``max_num_seqs``, under the names of docs/metrics.md."""
    with (DATA / "published.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        (row["gpu"], int(row["max_num_seqs"])): {
            name: float(value) for name, value in row.items() if name not in ("gpu", "max_num_seqs")
        }
        for row in rows
    }


def cells_of(found: Mapping[str, Any], sweep: str) -> list[Mapping[str, Any]]:
    """The predicted cells of a sweep."""
    return [row for row in found["cells"] if row["sweep"] == sweep]


def _reference(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| `max_num_seqs` | J/token | W | median ITL, ms | tok/s | H100: J/token | W | ITL, ms | B200: J/token |"
    yield "|---" * 9 + "|"
    others = published()
    for row in cells_of(found, _REFERENCE):
        batch = row["max_num_seqs"]
        h100, b200 = others["H100", batch], others["B200", batch]
        yield (
            f"| {batch} | {_figures(row)} | {h100[_ENERGY]:.3f} | {h100['avg_gpu_power_w']:.0f} "
            f"| {h100['median_itl_ms']:.1f} | {b200[_ENERGY]:.3f} |"
        )


def _batch(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| workflow | `max_num_seqs` | J/token | W | median ITL, ms | tok/s | J/workflow | median workflow, s |"
    yield "|---" * 8 + "|"
    for row in cells_of(found, _BATCH):
        yield (
            f"| {row['workflow']} | {row['max_num_seqs']} | {_figures(row)} | {row['gpu_energy_j_per_workflow']:,.0f} "
            f"| {row['median_workflow_ms'] / 1e3:.1f} |"
        )


def _figures(row: Mapping[str, Any]) -> str:
    return (
        f"{row[_ENERGY]:.3f} | {row['avg_gpu_power_w']:.0f} | {row['median_itl_ms']:.1f} "
        f"| {row['output_throughput']:,.0f}"
    )
