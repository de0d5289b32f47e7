"""Compose a command line with Hydra and return the result as data; nothing runs inside Hydra's job."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence

import hydra
from omegaconf import DictConfig

from orchestrator.errors import UserError
from orchestrator.matrix.errors import COMPOSITION_ERRORS, composition_error
from orchestrator.matrix.expand import Expansion, single

_FULL_ERROR = "HYDRA_FULL_ERROR"


def compose(arguments: Sequence[str]) -> Expansion | None:
    """Return what the arguments compose to; None if Hydra only showed something (``--help``, ``--cfg``).

    Raises:
        UserError: Hydra refuses the arguments or a file.
    """
    composed: list[Expansion] = []

    def keep(result: DictConfig | Expansion) -> None:
        """Serve as Hydra's task: the sweeper passes an expansion, a single job its configuration."""
        composed.append(result if isinstance(result, Expansion) else single(result))

    with _hydra_process_state(arguments):
        try:
            hydra.main(version_base="1.3", config_path="pkg://conf", config_name="config")(keep)()
        except BrokenPipeError:  # the reader of --help has gone; nothing is wrong with the input
            raise
        except COMPOSITION_ERRORS as error:
            raise composition_error(error) from error
    return composed[0] if composed else None


@contextlib.contextmanager
def _hydra_process_state(arguments: Sequence[str]) -> Iterator[None]:
    """Set what Hydra reads from the process, and restore it.

    Hydra reads ``sys.argv``, prints its errors unless ``HYDRA_FULL_ERROR`` is set, and exits after showing something.
    """
    argv, full_error = sys.argv, os.environ.get(_FULL_ERROR)
    sys.argv, os.environ[_FULL_ERROR] = ["python -m orchestrator", *arguments], "1"
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            yield
        sys.stderr.write(stderr.getvalue())
    except SystemExit as stop:
        if stop.code not in (0, None):
            raise UserError(_usage_error(stderr.getvalue())) from stop
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ[_FULL_ERROR]
        else:
            os.environ[_FULL_ERROR] = full_error


def _usage_error(stderr: str) -> str:
    """Return argparse's error, which follows the usage and the name of the program."""
    last = stderr.strip().splitlines()[-1] if stderr.strip() else "the arguments cannot be read"
    message = last.partition("error: ")[2] or last
    options_between = message.startswith("unrecognized arguments: ") and "=" in message and ": -" not in message
    hint = "; options such as -m go before all overrides or after them, not between" if options_between else ""
    return message + hint
