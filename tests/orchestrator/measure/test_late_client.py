"""A whole cell whose load generator cannot keep its schedule."""

from pathlib import Path

import pytest
import yaml

from orchestrator.runner.local import run_cell
from orchestrator.spec.cell import Cell

_CONF = Path(__file__).parents[3] / "conf"


def _preset(name):
    return yaml.safe_load((_CONF / f"{name}.yaml").read_text())


def _cell(blocks_s):
    return Cell.model_validate(
        {
            "model": _preset("model/llama3_1_8b"),
            "hardware": _preset("hardware/cpu"),
            "engine": {
                "kind": "sample_plugins.blocking",
                "max_num_seqs": 8,
                "max_num_batched_tokens": 512,
                "blocks_s": blocks_s,
            },
            "workflow": _preset("workflow/chat"),
            "load": {"kind": "poisson", "request_rate": 100, "num_workflows": 40},
            "collectors": _preset("collectors/none"),
            "protocol": {"idle_baseline_s": 0, "min_window_s": 0, "max_send_delay_ms": 100},
        }
    )


@pytest.mark.parametrize(("blocks_s", "codes"), [(0.02, ["client_limited"]), (0.0, [])])
def test_a_blocked_event_loop_makes_the_cell_invalid(blocks_s, codes):
    result = run_cell(_cell(blocks_s))
    assert [reason.code for reason in result.reasons] == codes
    assert result.status == ("invalid" if codes else "ok")
    assert "prefix_cache_hit_ratio" not in result.metrics
    assert "num_preemptions" not in result.metrics
