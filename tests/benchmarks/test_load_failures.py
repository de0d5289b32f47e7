"""Incomplete runs are not compared."""

import pytest

from benchmarks.agreement import METRICS, whole_run
from benchmarks.client_ceiling import last_arrivals
from benchmarks.contenders import all_completed

_METRICS = dict.fromkeys(METRICS, 1.0) | {"whole_output_throughput": 2.0}


def test_a_run_with_failed_requests_is_no_result():
    assert all_completed({"completed": 3}, 3) == {"completed": 3}
    with pytest.raises(SystemExit, match="2 of 3 requests were answered"):
        all_completed({"completed": 2}, 3)


def test_a_run_of_which_too_few_requests_arrived_is_no_level():
    assert last_arrivals([1.0, 2.0, 3.0], 2) == [2.0, 3.0]
    with pytest.raises(SystemExit, match="1 of 2 requests arrived"):
        last_arrivals([1.0], 2)


def test_only_a_cell_that_is_ok_is_compared():
    assert whole_run({"status": "ok", "reasons": [], **_METRICS})["output_throughput"] == 2.0
    with pytest.raises(SystemExit, match="our cell is invalid: client_limited"):
        whole_run({"status": "invalid", "reasons": ["client_limited"], **_METRICS})
