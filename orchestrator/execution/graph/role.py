"""The actor of a role: it makes the requests of its steps, and remembers a workflow for as long as that runs."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import JoulegridError, as_cell_error
from orchestrator.execution.graph.answer import answer
from orchestrator.execution.graph.remote_engine import ENGINE
from workflows.clock import MonotonicClock
from workflows.execute import StepCall, StepSpan, request_of, span_of
from workflows.graph import OutputOf
from workflows.request import Completion


@dataclass(frozen=True, slots=True)
class Told:
    """What a step tells a step that waits for it: when it finished, and, to one of another role, its output."""

    finished_s: float
    output: Completion | None = None


StepAnswer = tuple[Told | JoulegridError, Told | JoulegridError, StepSpan | JoulegridError]
"""For those that only wait, for those that read, for the conductor: three objects, so that each gets no more."""


class RoleActor:
    """One agent of a lane, in all workflows at once; made a Ray actor by the conductor."""

    def __init__(self, engine: Any) -> None:
        """``engine`` is the actor of the engine that answers this role."""
        self._engine = engine
        self._clock = MonotonicClock()
        self._said: defaultdict[str, dict[str, Completion]] = defaultdict(dict)

    async def ready(self) -> None:
        """Answered once the actor runs."""

    async def step(self, call: StepCall, keep: bool, *parents: Told | JoulegridError) -> StepAnswer:
        """Run a step whose parents, in their order, have told this; errors are returned, a parent's too.

        ``keep`` remembers the output, for later steps of this role, until `forget`.
        """
        try:
            span = await self._run(call, dict(zip(call.step.parents, parents, strict=True)))
        except Exception as raised:  # the actor is a supervisor: a workflow ends alone
            error = as_cell_error(raised)
            return error, error, error
        said = replace(span.completion, token_times_s=None)  # only the conductor keeps them
        if keep:
            self._said[call.workflow_id][call.step.name] = said
        return Told(span.finished_s), Told(span.finished_s, said), span

    async def forget(self, workflow_id: str) -> None:
        """Drop what was said in a workflow that has ended."""
        self._said.pop(workflow_id, None)

    async def _run(self, call: StepCall, parents: Mapping[str, Told | JoulegridError]) -> StepSpan:
        told: dict[str, Told] = {}
        for name, parent in parents.items():
            if isinstance(parent, JoulegridError):
                raise parent
            told[name] = parent
        request = request_of(call, self._outputs(call, told))
        completion: Completion = await answer(self._engine.generate.remote(request), ENGINE)
        ready_s = max((parent.finished_s for parent in told.values()), default=call.started_s)
        finished_s = self._clock.now_s()
        return span_of(request, completion, call.step, ready_s=ready_s, finished_s=finished_s)

    def _outputs(self, call: StepCall, told: Mapping[str, Told]) -> dict[str, Completion]:
        """What the step reads: as it was told, or as this role said it itself."""
        said = self._said.get(call.workflow_id, {})
        read = [part.step for part in call.step.prompt if isinstance(part, OutputOf)]
        return {name: told[name].output or said[name] for name in read}
