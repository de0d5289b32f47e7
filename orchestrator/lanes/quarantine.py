"""Engines that do not start: when that is the engine's fault, and when the node's. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.errors import CellError, InfrastructureError, JoulegridError

_NODES_THAT_PROVE = 2
_KEYS_THAT_PROVE = 2
_TIMES_THAT_PROVE = 2


@dataclass(slots=True)
class Quarantine:
    """What is known of engine starts in this run.

    A `CellError` fails the engine at once. Anything else does so on two nodes if it has started on none, or on one
    node as often as a cell is attempted. A node is at fault where two engines fail on it, or twice one that starts
    elsewhere; the last node never is. An engine that starts is forgiven what failed before on that node. `OtherGpu` is
    nobody's fault: it says only that the two do not belong together.
    """

    max_attempts: int
    _doomed: dict[str, str] = field(default_factory=dict)
    _failures: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _unfit: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _started: dict[str, set[str]] = field(default_factory=dict)
    _held: dict[str, str] = field(default_factory=dict)
    _refusing: dict[str, str] = field(default_factory=dict)

    def failed(self, key: str, node: str, error: JoulegridError) -> None:
        """The engine ``key`` did not start on ``node``."""
        if isinstance(error, CellError):
            self._doomed[key] = str(error)
            return
        kept = self._unfit if isinstance(error, OtherGpu) else self._failures
        kept.setdefault((key, node), []).append(str(error))
        causes = {where: causes for (which, where), causes in kept.items() if which == key}
        on_no_node = kept is self._failures and len(causes) >= _NODES_THAT_PROVE and not self._started.get(key)
        if on_no_node or len(causes[node]) >= self.max_attempts:
            told = dict.fromkeys(cause for each in causes.values() for cause in each)
            times = sum(map(len, causes.values()))
            self._doomed[key] = f"the engine did not start, {times} times on {len(causes)} nodes: {'; '.join(told)}"

    def started(self, key: str, node: str) -> None:
        """The engine ``key`` started on ``node``: to be told once of each start."""
        self._started.setdefault(key, set()).add(node)
        self._failures.pop((key, node), None)

    def held(self, node: str, why: str) -> None:
        """Nothing can run on ``node`` any more, be it the last one."""
        self._held.setdefault(node, why)

    def refused(self, node: str, why: str) -> None:
        """No cell that sets its GPUs can run on ``node`` any more, be it the last one."""
        self._refusing.setdefault(node, why)

    def refusing(self) -> Mapping[str, str]:
        """Nodes that get no cell that sets its GPUs, with why."""
        return dict(self._refusing)

    def doomed(self, key: str) -> CellError | None:
        """Why no lane is made for the engine ``key`` any more."""
        return CellError(self._doomed[key]) if key in self._doomed else None

    def failed_on(self, key: str) -> frozenset[str]:
        """Nodes on which the engine ``key`` did not start."""
        return frozenset(node for which, node in (*self._failures, *self._unfit) if which == key)

    def nodes(self, alive: frozenset[str]) -> Mapping[str, str]:
        """Nodes that get no lane, with why; of those ``alive`` one is left, unless nothing can run on any."""
        held = {node: self._held[node] for node in sorted(alive) if node in self._held}
        left = alive - set(held)
        faults = {node: why for node in sorted(left) if (why := self._fault(node)) is not None}
        return {**held, **(faults if len(faults) < len(left) else {})}

    def _fault(self, node: str) -> str | None:
        blamed = {key: causes for (key, where), causes in self._failures.items() if where == node}
        told = "; ".join(dict.fromkeys(cause for causes in blamed.values() for cause in causes))
        if len(blamed) >= _KEYS_THAT_PROVE:
            return f"{len(blamed)} engines did not start on it: {told}"
        if any(
            len(causes) >= _TIMES_THAT_PROVE and self._started.get(key, set()) - {node}
            for key, causes in blamed.items()
        ):
            return f"an engine that starts on another node did not start on it: {told}"
        return None


class OtherGpu(InfrastructureError):
    """The node has another GPU than the cell says; a node that has it will do."""
