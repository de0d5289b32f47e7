"""``ui``: MLflow's pages over the results, opened on the cells of the newest sweep."""

import json
from dataclasses import dataclass

from orchestrator.errors import UserError
from orchestrator.spec.names import redacted, sqlite_file
from orchestrator.spec.settings import TrackingSettings
from orchestrator.sweep.console import say
from orchestrator.sweep.signals import breakable
from orchestrator.tracking.mlflow_sink import MlflowSink
from orchestrator.tracking.server import MlflowServer
from orchestrator.tracking.view import runs_address

_KEYS = ("tracking.uri", "tracking.experiment", "host", "port")


@dataclass(frozen=True, slots=True)
class _Request:
    tracking: TrackingSettings
    host: str
    port: int


def main(args: list[str]) -> int:
    """``ui [tracking.uri=…] [tracking.experiment=…] [host=127.0.0.1] [port=5000]``: serve until Ctrl-C.

    Of a server that runs already (``http…``) only the address is told. Ctrl-C or SIGTERM is how it ends: 0; before
    the server was up: 130.

    Raises:
        UserError: an argument is wrong, or there is no database yet.
        EnvironmentFailure: the port is taken, or MLflow does not serve.
    """
    request = _parsed(args)
    uri = request.tracking.uri
    if uri.startswith(("http://", "https://")):
        _tell(request, _address(request, uri))
        return 0
    _refuse_missing(uri)
    address = None
    with breakable():
        try:
            with MlflowServer(uri, request.host, request.port) as server:
                server.wait_until_up()
                address = _address(request, server.address)
                say(f"MLflow: {address}\nCtrl-C ends it.")
                server.wait()
        except KeyboardInterrupt:
            if address is None:
                raise
    _tell(request, address)
    return 0


def _parsed(args: list[str]) -> _Request:
    given = dict(_pair(arg) for arg in args)
    port = given.get("port", "5000")
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(f"ui: port must be a number from 1 to 65535, got {port!r}")
    tracking = {key.removeprefix("tracking."): value for key, value in given.items() if key.startswith("tracking.")}
    return _Request(TrackingSettings.model_validate(tracking), given.get("host", "127.0.0.1"), int(port))


def _pair(arg: str) -> tuple[str, str]:
    key, _, value = arg.partition("=")
    if key not in _KEYS or not value:
        raise UserError(f"ui does not take {arg!r}; allowed: {', '.join(f'{key}=…' for key in _KEYS)}")
    return key, value


def _refuse_missing(uri: str) -> None:
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        raise UserError(f"no results to show: there is no {database}; run a sweep here, or give tracking.uri=…")


def _address(request: _Request, base: str) -> str:
    """The page of the newest sweep's cells, or of the experiment's runs where it has no sweep of ours."""
    sink = MlflowSink.connect(request.tracking)
    return runs_address(base, sink.experiment_id, sink.newest_sweep())


def _tell(request: _Request, address: str) -> None:
    if request.tracking.uri.startswith("http"):
        say(f"MLflow: {redacted(address)}")
    say(json.dumps({"command": "ui", "address": redacted(address), "tracking_uri": redacted(request.tracking.uri)}))
