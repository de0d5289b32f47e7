"""Several workflows on one engine: each arrival has a tenant, drawn by weight; Parrot's figure 18 (OSDI'24)."""

import itertools
from bisect import bisect_right
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, StringConstraints

from workflows import plugins
from workflows.graph import PromptPart, Shared, Step, Workflow
from workflows.lengths import uniform
from workflows.source import EndlessSource, WorkflowOptions, WorkflowSource

_LIBRARY = "workflows.library"
_NAME = r"^[A-Za-z0-9_-]+$"  # it is part of the keys of metrics


def _validated(value: Any) -> Any:
    """Validate a tenant's workflow with the ``Options`` of the library file that ``kind`` names."""
    if not isinstance(value, dict):
        return value
    kind = value.get("kind")
    if not isinstance(kind, str):
        raise ValueError(f"kind must name one of {', '.join(plugins.available(_LIBRARY))}, got {kind!r}")
    module = plugins.load(_LIBRARY, kind)
    missing = [name for name in ("Options", "build") if not hasattr(module, name)]
    if missing:
        raise ValueError(f"kind: {kind} has no {missing[0]}, which every workflow needs")
    if value.get("executor") is not None:
        raise ValueError("executor belongs to the whole mix and not to a tenant: set workflow.executor")
    return module.Options.model_validate(value)


class Tenant(BaseModel):
    """A workflow and its share of the arrivals: ``weight`` over the sum of all weights.

    ``priority`` applies if ``engine.scheduling_policy`` is priority: lower first. Priorities of nested mixes add up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(gt=0, allow_inf_nan=False)
    workflow: Annotated[SerializeAsAny[WorkflowOptions], BeforeValidator(_validated)]
    priority: int = 0


class Options(WorkflowOptions):
    """Options of a mix: tenants by name (letters, digits, _ and -), which all their workflows and requests carry."""

    kind: Literal["composite"]
    tenants: dict[Annotated[str, StringConstraints(pattern=_NAME)], Tenant] = Field(min_length=1)

    @property
    def has_graphs(self) -> bool | None:
        """Whether any tenant has workflows of several steps, drawn or not."""
        known = {tenant.workflow.has_graphs for tenant in self.tenants.values()}
        return True if True in known else None if None in known else False


def build(options: Options, *, seed: int) -> WorkflowSource:
    """Build a mix whose workflow ``index`` is workflow ``index`` of the tenant drawn for it.

    Shared prompt parts are shared within a tenant only. A trace starts again at its end, and its recorded arrivals are
    not used.
    """
    names = tuple(options.tenants)
    bounds = tuple(itertools.accumulate(tenant.weight for tenant in options.tenants.values()))
    sources = {name: _source(tenant.workflow, seed) for name, tenant in options.tenants.items()}

    def workflow(index: int) -> Workflow:
        drawn = uniform(seed, "composite/tenant", index) * bounds[-1]
        name = names[min(bisect_right(bounds, drawn), len(names) - 1)]
        recorded = sources[name].arrivals_s
        own = sources[name].workflow(index if recorded is None else index % len(recorded))
        return _of_tenant(name, own, index, options.tenants[name].priority)

    return EndlessSource(workflow)


def _source(options: WorkflowOptions, seed: int) -> WorkflowSource:
    source: WorkflowSource = plugins.load(_LIBRARY, options.kind).build(options, seed=seed)
    return source


def _of_tenant(tenant: str, workflow: Workflow, index: int, priority: int) -> Workflow:
    steps = tuple(_step_of(tenant, step) for step in workflow.steps)
    return Workflow(workflow_id=f"{tenant}-{index}", tenant=tenant, steps=steps, priority=priority + workflow.priority)


def _step_of(tenant: str, step: Step) -> Step:
    def own(part: PromptPart) -> PromptPart:
        return Shared(f"{tenant}/{part.name}", part.n_tokens) if isinstance(part, Shared) else part

    return replace(step, prompt=tuple(own(part) for part in step.prompt))
