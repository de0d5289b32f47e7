"""Where workflows run: on Ray with a real engine, in one process with a simulated one, or as given."""

from collections.abc import Callable

import pytest

from orchestrator.spec.settings import Matrix, Settings

Composed = Callable[..., tuple[Matrix, Settings]]
NO_POWER = "collectors=none"


def executors(composed: Composed, *arguments: str, flags: tuple[str, ...] = ()) -> list[str]:
    return [cell.workflow.executor for cell in composed(*arguments, flags=flags)[0].cells]


@pytest.mark.parametrize(
    ("arguments", "executor"),
    [
        (("engine=bench",), "local"),
        (("engine=real", NO_POWER), "ray"),
        (("engine=real", NO_POWER, "workflow.executor=local"), "local"),
        (("engine=simulated", "engine.clock=wall"), "local"),
        (("engine=simulated", "engine.clock=wall", "workflow.executor=ray"), "ray"),
        (("engine=real", NO_POWER, "workflow=composite"), "ray"),
    ],
)
def test_the_executor_of_a_cell(composed: Composed, arguments: tuple[str, ...], executor: str) -> None:
    assert executors(composed, *arguments) == [executor]


def test_what_is_decided_is_part_of_the_identity(composed: Composed) -> None:
    decided, given, local = (
        composed("engine=real", NO_POWER, *more)[0].cells[0].cell_id
        for more in ((), ("workflow.executor=ray",), ("workflow.executor=local",))
    )
    assert decided == given != local


def test_it_can_be_swept(composed: Composed) -> None:
    actual = executors(composed, "engine=real", NO_POWER, "workflow.executor=ray,local", flags=("-m",))
    assert actual == ["ray", "local"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("workflow.executor=ray",),
            "workflow.executor=ray runs in real time; with engine.clock=virtual only local is allowed",
        ),
        (
            ("engine=real", NO_POWER, "executor=inline"),
            "executor=inline: workflows on a real engine run on Ray by default; add workflow.executor=local",
        ),
        (("workflow.executor=dask",), "workflow.executor: must be 'ray' or 'local', got 'dask'"),
        (
            ("workflow=composite", "+workflow.tenants.chat.workflow.executor=ray"),
            "workflow.tenants.chat.workflow.executor belongs to the whole mix and not to a tenant: "
            "set workflow.executor",
        ),
    ],
)
def test_refusals(refused: Callable[..., str], arguments: tuple[str, ...], message: str) -> None:
    assert refused(*arguments) == message


def test_a_real_engine_runs_inline_with_local_workflows(composed: Composed) -> None:
    assert executors(composed, "engine=real", NO_POWER, "executor=inline", "workflow.executor=local") == ["local"]
