import cell_functions
import pytest
from sample_sweeps import a_cell

from orchestrator.errors import CellError, InfeasibleCell
from orchestrator.sweep.executor import InlineExecutor


def _outcome(repeat: int):
    executor = InlineExecutor(cell_functions.run)
    executor.start()
    executor.submit(a_cell(repeat=repeat))
    (outcome,) = executor.wait(0)
    assert executor.wait(0) == ()
    return outcome


def test_a_cell_runs_in_this_process():
    import os

    outcome = _outcome(0)
    assert outcome.result.provenance == {"pid": os.getpid()}
    assert outcome.error is None
    assert outcome.ended_unix_s >= outcome.started_unix_s > 1e9


def test_the_users_exception_becomes_a_cell_error_with_its_place_and_traceback():
    outcome = _outcome(cell_functions.FAILS)
    assert outcome.result is None
    assert type(outcome.error) is CellError
    assert str(outcome.error).startswith("UsersOwnError: 1 and 2 (")
    assert "cell_functions.py:" in str(outcome.error)
    assert str(outcome.error).endswith(" in run)")
    assert "Traceback" in outcome.error.__notes__[0]


def test_the_place_is_the_users_line_and_not_a_librarys():
    def in_a_library(cell):
        import json

        return json.loads("{")

    executor = InlineExecutor(in_a_library)
    executor.submit(a_cell())
    (outcome,) = executor.wait(0)
    assert "test_inline_executor.py:" in str(outcome.error)


def test_our_own_error_keeps_its_class():
    assert type(_outcome(cell_functions.INFEASIBLE).error) is InfeasibleCell


def test_a_cell_that_calls_exit_ends_alone():
    outcome = _outcome(cell_functions.EXITS)
    assert type(outcome.error) is CellError
    assert str(outcome.error).startswith("SystemExit: 4 (")


def test_an_interrupt_is_not_swallowed():
    def interrupted(cell):
        raise KeyboardInterrupt

    executor = InlineExecutor(interrupted)
    executor.submit(a_cell())
    with pytest.raises(KeyboardInterrupt):
        executor.wait(0)


def test_a_long_text_is_cut_to_one_line():
    def talks(cell):
        raise ValueError("word\n" * 1000)

    executor = InlineExecutor(talks)
    executor.submit(a_cell())
    (outcome,) = executor.wait(0)
    assert "\n" not in str(outcome.error)
    assert len(str(outcome.error)) < 1000
    assert "…" in str(outcome.error)
