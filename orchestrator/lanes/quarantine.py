"""Quarantine: which engines and nodes are used no more, after engines that did not start or did not end. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from orchestrator.errors import CellError, EnvironmentFailure, InfrastructureError, JoulegridError, LimitsRefused

_MIN_FAILED_NODES = 2
_MIN_FAILED_ENGINES = 2
_MIN_FAILURES = 2

K = TypeVar("K")
V = TypeVar("V")


class OtherGpu(InfrastructureError):
    """The node has another GPU than the cell requires. This does not count as a failure of the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailed:
    """The engine of a lane did not start.

    ``was_placed`` is True if its actors answered, ``found_no_place`` if Ray did not place them in time. ``node`` is
    None if it is not known.
    """

    engine_key: str
    node: str | None
    error: JoulegridError
    was_placed: bool
    found_no_place: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStarted:
    """The engine of a lane is loaded."""

    engine_key: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsNotSet:
    """A node refused the power limit or the clock of a cell."""

    node: str
    error: LimitsRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReleased:
    """A closed lane left processes, GPU memory or limits behind."""

    node: str
    error: JoulegridError


LaneEvent = StartFailed | EngineStarted | LimitsNotSet | NotReleased


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Engines and nodes that failed in this run; immutable, `after` returns the next state.

    An engine is given up after a `CellError`; after other errors on two nodes if it has started on none; or after
    ``max_attempts`` errors on one node. A node is excluded if two engines failed on it, or if one that starts elsewhere
    failed on it twice; but never the last node. A start of an engine clears its earlier failures on that node.
    `OtherGpu` does not count as a failure of the node.

    Attributes:
        engine_errors: by engine key, why the engine is not started again.
        unusable: by node, why nothing can run on it, even if it is the last one.
        limits_refused: by node, why cells with a power limit or a clock cannot run on it, even if it is the last one.
    """

    max_attempts: int
    engine_errors: Mapping[str, str] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)
    limits_refused: Mapping[str, str] = field(default_factory=dict)
    _failures: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    _other_gpus: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    _started: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def after(self, event: LaneEvent) -> "Quarantine":
        """Return the state after ``event``; the same object if nothing has changed."""
        match event:
            case EngineStarted():
                return self._after_start(event.engine_key, event.node)
            case LimitsNotSet():
                return self._with_limits_refused(event.node, event.error)
            case NotReleased():
                return self._with_unusable(event.node, event.error)
            case StartFailed(found_no_place=True) | StartFailed(node=None):
                return self  # nothing is known of the engine; the attempts of the cell bound the repetitions
            case StartFailed(node=str(node)):
                return self._after_failure(event.engine_key, node, event.error)
        raise AssertionError(f"unknown event {event!r}")

    def engine_error(self, engine_key: str) -> CellError | None:
        """Return why the engine is not started again; None if it may be."""
        return CellError(self.engine_errors[engine_key]) if engine_key in self.engine_errors else None

    def failed_on(self, engine_key: str) -> frozenset[str]:
        """Return the nodes on which the engine did not start."""
        return frozenset(node for key, node in (*self._failures, *self._other_gpus) if key == engine_key)

    def excluded(self, alive: frozenset[str]) -> Mapping[str, str]:
        """Return which of the ``alive`` nodes get no lane, with the reasons; one is left unless all are unusable."""
        unusable = {node: self.unusable[node] for node in sorted(alive) if node in self.unusable}
        left = alive - set(unusable)
        faults = {node: reason for node in sorted(left) if (reason := self._fault(node)) is not None}
        return {**unusable, **(faults if len(faults) < len(left) else {})}

    def _fault(self, node: str) -> str | None:
        """Return why the failures on ``node`` are those of the node; None if they are not."""
        by_key = {key: errors for (key, where), errors in self._failures.items() if where == node}
        text = "; ".join(dict.fromkeys(error for errors in by_key.values() for error in errors))
        if len(by_key) >= _MIN_FAILED_ENGINES:
            return f"{len(by_key)} engines did not start on it: {text}"
        if any(
            len(errors) >= _MIN_FAILURES and self._started.get(key, frozenset()) - {node}
            for key, errors in by_key.items()
        ):
            return f"an engine that starts on another node did not start on it: {text}"
        return None

    def _after_start(self, engine_key: str, node: str) -> "Quarantine":
        nodes = self._started.get(engine_key, frozenset())
        if node in nodes and (engine_key, node) not in self._failures:
            return self
        failures = {where: errors for where, errors in self._failures.items() if where != (engine_key, node)}
        return replace(self, _started=_with(self._started, engine_key, nodes | {node}), _failures=failures)

    def _after_failure(self, engine_key: str, node: str, error: JoulegridError) -> "Quarantine":
        where = (engine_key, node)
        match error:
            case LimitsRefused():
                return self._with_limits_refused(node, error)
            case EnvironmentFailure():
                return self._with_unusable(node, error)
            case CellError():
                return replace(self, engine_errors=_with(self.engine_errors, engine_key, str(error)))
            case OtherGpu():
                others = _with(self._other_gpus, where, (*self._other_gpus.get(where, ()), str(error)))
                return replace(self, _other_gpus=others)._given_up(engine_key, node, others, on_all_nodes=False)
        failures = _with(self._failures, where, (*self._failures.get(where, ()), str(error)))
        return replace(self, _failures=failures)._given_up(engine_key, node, failures, on_all_nodes=True)

    def _given_up(
        self, engine_key: str, node: str, errors: Mapping[tuple[str, str], tuple[str, ...]], *, on_all_nodes: bool
    ) -> "Quarantine":
        """Return the state with the engine given up if ``errors`` suffice for it."""
        by_node = {where: texts for (key, where), texts in errors.items() if key == engine_key}
        fails_everywhere = on_all_nodes and len(by_node) >= _MIN_FAILED_NODES and not self._started.get(engine_key)
        if not fails_everywhere and len(by_node[node]) < self.max_attempts:
            return self
        text = "; ".join(dict.fromkeys(text for texts in by_node.values() for text in texts))
        n_times = sum(map(len, by_node.values()))
        reason = f"the engine did not start, {n_times} times on {len(by_node)} nodes: {text}"
        return replace(self, engine_errors=_with(self.engine_errors, engine_key, reason))

    def _with_limits_refused(self, node: str, error: JoulegridError) -> "Quarantine":
        if node in self.limits_refused:
            return self
        return replace(self, limits_refused=_with(self.limits_refused, node, str(error)))

    def _with_unusable(self, node: str, error: JoulegridError) -> "Quarantine":
        if node in self.unusable:
            return self
        return replace(self, unusable=_with(self.unusable, node, str(error)))


def _with(mapping: Mapping[K, V], key: K, value: V) -> Mapping[K, V]:
    return {**mapping, key: value}
