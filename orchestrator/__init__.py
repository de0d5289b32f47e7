"""Joulegrid: experiments on the performance and energy of LLM inference, composed by Hydra and run on Ray."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import ``load_sweep``, the public name of the package, at its first use: it needs pyarrow."""
    if name != "load_sweep":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestrator.analysis.results import load_sweep

    return load_sweep
