"""The contract of every file of the library, found by listing the folder, with the preset it ships."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import conf
from workflows import plugins
from workflows.drive import drive
from workflows.load import ClosedLoad
from workflows.source import WorkflowOptions, max_context_tokens

LIBRARY = "workflows.library"
PRESETS = Path(conf.__file__).parent / "workflow"
KINDS = plugins.available(LIBRARY)

pytestmark = pytest.mark.parametrize("kind", KINDS)


def preset(kind):
    fields = yaml.safe_load((PRESETS / f"{kind}.yaml").read_text())
    return {key: value for key, value in fields.items() if not key.startswith("default_")}  # read by load/closed.yaml


def built(kind, seed=0):
    module = plugins.load(LIBRARY, kind)
    return module.build(module.Options.model_validate(preset(kind)), seed=seed)


def test_it_has_a_preset_of_its_own_kind_that_survives_a_round_trip(kind):
    options = plugins.load(LIBRARY, kind).Options.model_validate(preset(kind))
    assert isinstance(options, WorkflowOptions)
    assert options.kind == kind
    assert type(options).model_validate(options.model_dump(mode="json", exclude_defaults=True)) == options


def test_equal_seeds_give_equal_workflows_in_any_order(kind):
    first, second = built(kind, seed=5), built(kind, seed=5)
    forwards = [first.workflow(index) for index in range(12)]
    backwards = [second.workflow(index) for index in reversed(range(12))]
    assert forwards == backwards[::-1]


def test_workflows_have_ids_of_their_own_and_steps_with_roles_and_tokens(kind):
    workflows = [built(kind).workflow(index) for index in range(12)]
    assert len({workflow.workflow_id for workflow in workflows}) == 12
    for workflow in workflows:
        assert workflow.tenant
        assert workflow.steps
        for step in workflow.steps:
            assert step.role
            assert step.output_tokens >= 1
            assert workflow.context_tokens(step) > step.output_tokens


def test_no_request_is_longer_than_the_context_bound_and_one_is_as_long(kind, run, engine):
    source = built(kind)
    load = ClosedLoad(kind="closed", users=4, num_workflows=12)
    run(drive(source, load, execute=engine.execute, clock=engine.clock, seed=0))
    longest: dict[str, int] = {}
    for request in engine.requests:
        tokens = request.prompt_tokens + request.output_tokens
        longest[request.role] = max(tokens, longest.get(request.role, 0))
    assert longest == max_context_tokens(source, 12)


def test_unknown_options_are_refused(kind):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        plugins.load(LIBRARY, kind).Options.model_validate({**preset(kind), "tokens_of_prompt": 3})


def test_it_knows_whether_its_workflows_have_several_steps(kind):
    module = plugins.load(LIBRARY, kind)
    options = module.Options.model_validate(preset(kind))
    source = module.build(options, seed=0)
    assert options.has_graphs is any(len(source.workflow(index).steps) > 1 for index in range(40))
