"""Quarantine: which engines and nodes are no longer used, after engines that did not start or did not end. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orchestrator.errors import CellError, EnvironmentFailure, InfrastructureError, JoulegridError, LimitsRefused

_MIN_FAILED_NODES = 2
_MIN_FAILED_ENGINES = 2
_MIN_FAILURES = 2


class OtherGpu(InfrastructureError):
    """The node has another GPU than the cell requires. This does not count as a failure of the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailed:
    """The engine of a lane did not start.

    ``was_placed`` is True if its actors answered, ``found_no_place`` if Ray did not place them in time.
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
    node: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsNotSet:
    """A node refused the power limit or the clock of a cell."""

    node: str | None
    error: LimitsRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReleased:
    """A closed lane left processes, GPU memory or limits behind."""

    node: str | None
    error: JoulegridError


LaneEvent = StartFailed | EngineStarted | LimitsNotSet | NotReleased
"""What happened to a lane; ``node`` is None as long as Ray has not chosen one: the event then changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Engines and nodes that failed in this run. It is immutable: `after` returns the next state.

    An engine is given up after a `CellError`; after other errors on two nodes if it has started on none; or after
    ``max_attempts`` errors on one node. A node is excluded if two engines failed on it, or if one that starts elsewhere
    failed on it twice. If that holds for all usable nodes, none is excluded for it. A start of an engine clears its
    earlier failures on that node. `OtherGpu` does not count as a failure of the node.

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
        """Return the state after ``event``."""
        node = event.node
        if node is None:
            return self
        match event:
            case EngineStarted(engine_key=key):
                started = {**self._started, key: self._started.get(key, frozenset()) | {node}}
                failures = {where: texts for where, texts in self._failures.items() if where != (key, node)}
                return replace(self, _started=started, _failures=failures)
            case LimitsNotSet(error=error) | StartFailed(found_no_place=False, error=LimitsRefused() as error):
                return replace(self, limits_refused=_with_first(self.limits_refused, node, error))
            case NotReleased(error=error) | StartFailed(found_no_place=False, error=EnvironmentFailure() as error):
                return replace(self, unusable=_with_first(self.unusable, node, error))
            case StartFailed(found_no_place=False):
                return self._after_failure(event.engine_key, node, event.error)
        return self  # found no place: nothing is known of the engine; the attempts of the cell bound the repetitions

    def engine_error(self, engine_key: str) -> CellError | None:
        """Return why the engine is not started again; None if it may be."""
        return CellError(self.engine_errors[engine_key]) if engine_key in self.engine_errors else None

    def failed_on(self, engine_key: str) -> frozenset[str]:
        """Return the nodes on which the engine did not start."""
        return frozenset(node for key, node in (*self._failures, *self._other_gpus) if key == engine_key)

    def excluded(self, alive: frozenset[str]) -> Mapping[str, str]:
        """Return which of the ``alive`` nodes get no lane, with the reasons.

        Failures do not count if every usable node has them.
        """
        unusable = {node: self.unusable[node] for node in sorted(alive) if node in self.unusable}
        left = alive - set(unusable)
        faults = {node: reason for node in sorted(left) if (reason := self._fault(node)) is not None}
        return {**unusable, **(faults if len(faults) < len(left) else {})}

    def _fault(self, node: str) -> str | None:
        """Return why the failures on ``node`` are those of the node; None if they are not."""
        by_key = {key: texts for (key, where), texts in self._failures.items() if where == node}
        text = "; ".join(dict.fromkeys(text for texts in by_key.values() for text in texts))
        if len(by_key) >= _MIN_FAILED_ENGINES:
            return f"{len(by_key)} engines did not start on it: {text}"
        if any(
            len(texts) >= _MIN_FAILURES and self._started.get(key, frozenset()) - {node}
            for key, texts in by_key.items()
        ):
            return f"an engine that starts on another node did not start on it: {text}"
        return None

    def _after_failure(self, engine_key: str, node: str, error: JoulegridError) -> "Quarantine":
        """Return the state after an error that may be the engine's or the node's."""
        if isinstance(error, CellError):
            return self._without_engine(engine_key, str(error))
        is_other_gpu = isinstance(error, OtherGpu)
        before = self._other_gpus if is_other_gpu else self._failures
        errors = {**before, (engine_key, node): (*before.get((engine_key, node), ()), str(error))}
        after = replace(self, _other_gpus=errors) if is_other_gpu else replace(self, _failures=errors)
        by_node = {where: texts for (key, where), texts in errors.items() if key == engine_key}
        starts_nowhere = not is_other_gpu and len(by_node) >= _MIN_FAILED_NODES and not self._started.get(engine_key)
        if not starts_nowhere and len(by_node[node]) < self.max_attempts:
            return after
        text = "; ".join(dict.fromkeys(text for texts in by_node.values() for text in texts))
        n_times = sum(map(len, by_node.values()))
        return after._without_engine(
            engine_key, f"the engine did not start, {n_times} times on {len(by_node)} nodes: {text}"
        )

    def _without_engine(self, engine_key: str, reason: str) -> "Quarantine":
        return replace(self, engine_errors={**self.engine_errors, engine_key: reason})


def _with_first(reasons: Mapping[str, str], node: str, error: JoulegridError) -> Mapping[str, str]:
    """Return ``reasons`` with that of ``node``; an earlier one is kept."""
    return {**reasons, node: reasons.get(node, str(error))}
