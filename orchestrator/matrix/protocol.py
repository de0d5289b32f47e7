"""What ``auto`` becomes in the protocol: a real engine warms up and fills its window, a computed one needs neither."""

from collections.abc import Mapping
from typing import Any

from orchestrator import plugins
from orchestrator.errors import UserError
from orchestrator.spec.engine import EngineOptions

AUTO = "auto"
_REAL = {"warmup_s": 5.0, "max_repetitions": 20}
_COMPUTED = {"warmup_s": 0.0, "max_repetitions": 1}


def with_protocol(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with numbers in the place of ``auto`` in its ``protocol``."""
    protocol = plain.get("protocol")
    if not isinstance(protocol, Mapping):
        return dict(plain)
    auto = _COMPUTED if _is_computed(plain.get("engine")) else _REAL
    decided = {key: auto[key] if key in auto and value == AUTO else value for key, value in protocol.items()}
    return {**plain, "protocol": decided}


def _is_computed(engine: Any) -> bool:
    """Whether nothing real runs; an engine nobody knows is told of when the cell is validated."""
    if not isinstance(engine, Mapping):
        return True
    try:
        options = plugins.part("orchestrator.engines", str(engine.get("kind")), "Options")
    except UserError:
        return True
    known = isinstance(options, type) and issubclass(options, EngineOptions)
    return not known or options.simulated or engine.get("clock") == "virtual"
