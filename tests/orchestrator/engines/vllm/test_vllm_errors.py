"""Errors of vLLM, from exceptions and from the log of the core."""

import pydantic
import pytest

from orchestrator.engines.vllm.errors import ExceptionInfo, exception_info, not_installed_error, root_cause, start_error
from orchestrator.errors import CellError, InfrastructureError

CORE = "(EngineCore pid=11) ERROR 11-20 12:00:00 [core.py:1120] "


WORKER = "(Worker pid=12) ERROR 11-20 12:00:00 [multiproc_executor.py:880] "


def traceback(prefix, last, *more):
    return [
        f"{prefix}Traceback (most recent call last):",
        f'{prefix}  File "core.py", line 1, in run_engine_core',
        f"{prefix}    raise something",
        f"{prefix}          ^^^^^",
        f"{prefix}{last}",
        *(prefix + line for line in more),
    ]


@pytest.fixture
def log(tmp_path):
    def write(*lines):
        path = tmp_path / "engine.log"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_the_workers_exception_is_the_cause_and_not_the_cores(log):
    path = log(
        "INFO 11-20 12:00:00 [core.py:1] Initializing a V1 LLM engine",
        *traceback(WORKER, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9 GiB."),
        *traceback(
            CORE,
            "Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace "
            "for root cause.",
        ),
    )
    assert root_cause(path) == ExceptionInfo("OutOfMemoryError", "CUDA out of memory. Tried to allocate 9 GiB.")


def test_the_last_exception_of_a_chain_is_the_cause(log):
    path = log(
        *traceback(CORE, "KeyError: 'kv'"),
        CORE,
        CORE + "The above exception was the direct cause of the following exception:",
        CORE,
        *traceback(CORE, "ValueError: To serve at least one request a larger cache is needed."),
        "Process EngineCore:",
        *traceback("", "ValueError: printed again on the way out"),
    )
    assert str(root_cause(path)) == "ValueError: To serve at least one request a larger cache is needed."


def test_a_message_of_several_lines_is_joined(log):
    path = log(
        *traceback(
            CORE, "pydantic_core._pydantic_core.ValidationError: 1 validation error for X", "  Value error,  too big"
        )
    )
    assert root_cause(path) == ExceptionInfo("ValidationError", "1 validation error for X Value error, too big")


def test_a_process_that_was_shut_down_has_no_cause(log):
    assert root_cause(log(*traceback(CORE, "SystemExit: 0"), "bye")) is None


def test_without_a_log_there_is_no_cause(tmp_path):
    assert root_cause(tmp_path / "engine.log") is None


@pytest.mark.parametrize(
    ("info", "kind"),
    [
        (ExceptionInfo("ValueError", "No common block size for 16"), CellError),
        (ExceptionInfo("OutOfMemoryError", "CUDA out of memory."), CellError),
        (ExceptionInfo("RuntimeError", "CUDA error: an illegal memory access was encountered"), InfrastructureError),
        (
            ExceptionInfo("ValueError", "Free memory on device (3/80 GiB) on startup is less than desired"),
            InfrastructureError,
        ),
        (ExceptionInfo("TimeoutError", ""), InfrastructureError),
        (ExceptionInfo("OSError", "x is not a local folder and is not a valid model identifier"), CellError),
        (
            ExceptionInfo("OSError", "We couldn't connect to 'https://huggingface.co' to load the files"),
            InfrastructureError,
        ),
        (ExceptionInfo("OSError", "[Errno 28] No space left on device: '/tmp/x'"), InfrastructureError),
        (ExceptionInfo("OSError", "[Errno 24] Too many open files"), InfrastructureError),
        (ExceptionInfo("ConnectionResetError", "[Errno 104] Connection reset by peer"), InfrastructureError),
        (
            ExceptionInfo("ReadTimeout", "HTTPSConnectionPool(host='hub', port=443): Read timed out."),
            InfrastructureError,
        ),
    ],
)
def test_only_transient_errors_are_infrastructure_errors(info, kind):
    error = start_error(info)
    assert type(error) is kind
    assert info.message in str(error)


def test_a_refused_argument_is_named_with_its_value():
    class CacheConfig(pydantic.BaseModel):
        cache_dtype: int

    with pytest.raises(pydantic.ValidationError) as refused:
        CacheConfig.model_validate({"cache_dtype": "nonsense"})
    info = exception_info(refused.value)
    assert info.kind == "CacheConfig"
    assert info.message.startswith("cache_dtype: Input should be a valid integer")
    assert info.message.endswith("got 'nonsense'")


def test_a_node_without_vllm_is_reported():
    assert "docs/engines.md" in str(not_installed_error(ModuleNotFoundError("No module named 'vllm'", name="vllm")))
    assert not_installed_error(ModuleNotFoundError("No module named 'einops'", name="einops")) is None
