import pytest
from sample_sweeps import a_cell

from orchestrator.spec.names import run_name

CELL = a_cell(users=4, power_limit_w=240, max_num_seqs=16, repeat=1).model_dump(mode="json")


@pytest.mark.parametrize(
    ("swept", "name"),
    [
        (("engine.max_num_seqs", "workflow.kind", "hardware.power_limit_w"), "chat max_num_seqs=16 power_limit_w=240"),
        (("model.name", "hardware.name"), "tiny gpu"),
        (("repeat",), "repeat=1"),
        (("hardware.sm_clock_mhz",), "sm_clock_mhz=null"),
        (("workflow.prompt_tokens.tokens", "workflow.output_tokens.tokens"),
         "workflow.prompt_tokens.tokens=100 workflow.output_tokens.tokens=100"),
        (("no.such_key",), ""),
        ((), ""),
    ],
)  # fmt: skip
def test_a_run_is_named_by_what_sets_it_apart(swept, name):
    assert run_name(CELL, swept) == name


def test_a_long_name_is_cut_to_what_mlflow_takes():
    assert len(run_name({"workflow": {"kind": "x" * 900}}, ("workflow.kind",))) == 250
