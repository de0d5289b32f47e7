"""MLflow's own server as a child process: one worker, no job runner, no telemetry."""

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
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Wildcard addresses to listen on, and the loopback address that reaches them from this machine."""


class MlflowServer:
    """A server over a database while the ``with`` block runs, in its own session so that Ctrl-C does not reach it.

    Raises:
        EnvironmentFailure: on entry, if the port is taken or the host is not an address of this machine.
    """

    def __init__(self, uri: str, host: str, port: int) -> None:
        self._uri = uri
        self._host = host
        self._reached_at = _ANY_HOST.get(host, host)
        self._port = port

    @property
    def address(self) -> str:
        """Return the address for a browser on this machine."""
        host = f"[{self._reached_at}]" if ":" in self._reached_at else self._reached_at
        return f"http://{host}:{self._port}"

    def __enter__(self) -> Self:
        """Start the server; ``wait_until_up`` waits until it responds."""
        self._check_port()
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
        """End the server and every process it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(_STOP_S)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._output.close()

    def wait_until_up(self) -> None:
        """Return when the server responds.

        Raises:
            EnvironmentFailure: the server ended, or does not respond in time.
        """
        until_s = time.monotonic() + _START_S
        while not self._responds():
            self._check_alive()
            if time.monotonic() > until_s:
                raise EnvironmentFailure(f"MLflow's server does not respond at {self.address} after {_START_S:g} s")
            time.sleep(_POLL_S)

    def wait(self) -> None:
        """Wait until this process is interrupted; never return.

        Raises:
            EnvironmentFailure: the server ended by itself.
        """
        while True:
            self._check_alive()
            time.sleep(_POLL_S)

    def _check_port(self) -> None:
        try:
            for family, kind, _, _, address in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[:1]:
                with socket.socket(family, kind) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(address)
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot listen at {self._host}:{self._port}: {error.strerror}; choose another with port=N or host=NAME"
            ) from error

    def _responds(self) -> bool:
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
            errors = [line for line in lines if "error" in line.lower()] or lines or ["it printed nothing"]
            last = " ".join(errors[-1].split())[:_MAX_MESSAGE]
            raise EnvironmentFailure(f"MLflow's server over {redacted(self._uri)} ended with exit code {code}: {last}")
