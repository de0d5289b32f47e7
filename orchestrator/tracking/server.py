"""MLflow's own server as a process of ours: one worker, no job runner, nothing sent home."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Self

from orchestrator.errors import EnvironmentFailure
from orchestrator.spec.names import redacted, sqlite_file

_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
_START_S, _STOP_S, _POLL_S = 90.0, 5.0, 0.2
_MAX_MESSAGE = 300
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on, and where this machine finds what listens there."""


class MlflowServer:
    """A server over a database while the ``with`` block runs, in a session of its own: Ctrl-C is its owner's to handle.

    Raises:
        EnvironmentFailure: on entry, where the port is taken or the host is none of this machine.
    """

    def __init__(self, uri: str, host: str, port: int) -> None:
        self._uri = uri
        self._host = host
        self._reached_at = _EVERYWHERE.get(host, host)
        self._port = port

    @property
    def address(self) -> str:
        """Where a browser on this machine finds it."""
        host = f"[{self._reached_at}]" if ":" in self._reached_at else self._reached_at
        return f"http://{host}:{self._port}"

    def __enter__(self) -> Self:
        """Start it; `wait_until_up` says when it serves."""
        self._refuse_taken()
        self._output = tempfile.TemporaryFile()
        database = sqlite_file(self._uri)
        store = self._uri if database is None else f"sqlite:///{database}"
        options = ["--workers", "1", "--host", self._host, "--port", str(self._port), "--backend-store-uri", store]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options],
            cwd=None if database is None else database.parent,
            env=os.environ | _ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it and every process it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(_STOP_S)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._output.close()

    def wait_until_up(self) -> None:
        """Return once it answers.

        Raises:
            EnvironmentFailure: it ended, or does not answer in time.
        """
        until_s = time.monotonic() + _START_S
        while not self._answers():
            self._check_alive()
            if time.monotonic() > until_s:
                raise EnvironmentFailure(f"MLflow's server does not answer at {self.address} after {_START_S:g} s")
            time.sleep(_POLL_S)

    def wait(self) -> None:
        """Return never: it serves until its owner is interrupted.

        Raises:
            EnvironmentFailure: it ended by itself.
        """
        while True:
            self._check_alive()
            time.sleep(_POLL_S)

    def _refuse_taken(self) -> None:
        try:
            for family, kind, _, _, where in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[:1]:
                with socket.socket(family, kind) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(where)
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot listen at {self._host}:{self._port}: {error.strerror}; choose another with port=N or host=NAME"
            ) from error

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self._reached_at, self._port, timeout=_STOP_S)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _check_alive(self) -> None:
        code = self._process.poll()
        if code is not None:
            self._output.seek(0)
            lines = self._output.read().decode(errors="replace").strip().splitlines()
            telling = [line for line in lines if "error" in line.lower()] or lines or ["it printed nothing"]
            last = " ".join(telling[-1].split())[:_MAX_MESSAGE]
            raise EnvironmentFailure(f"MLflow's server over {redacted(self._uri)} ended with exit code {code}: {last}")
