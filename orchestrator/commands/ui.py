"""``ui``: serve MLflow's pages over the results, opened on the cells of the newest sweep."""

from orchestrator.cli import CommandResult, parse_arguments
from orchestrator.commands.sync import TRACKING_OPTIONS, tracking_settings
from orchestrator.errors import UserError
from orchestrator.spec.names import redacted, sqlite_file
from orchestrator.spec.settings import TrackingSettings
from orchestrator.sweep.console import print_line
from orchestrator.sweep.signals import breakable
from orchestrator.tracking.mlflow_sink import MlflowSink
from orchestrator.tracking.run_content import runs_address
from orchestrator.tracking.server import MlflowServer

_USAGE = "[tracking.uri=…] [tracking.experiment=…] [host=127.0.0.1] [port=5000]"


def main(arguments: list[str]) -> CommandResult:
    """Serve until Ctrl-C or SIGTERM, which exit with 0; before the server is up, with 130.

    With the address of a running server (``http…``), only print the address of its page.

    Raises:
        UserError: an argument is wrong, or there is no database yet.
        EnvironmentFailure: the port is taken, or MLflow does not respond.
    """
    given = parse_arguments("ui", _USAGE, arguments, (*TRACKING_OPTIONS, "host", "port"), takes_words=False)
    tracking, port = tracking_settings(given), _port(given.options.get("port", "5000"))
    if tracking.uri.startswith(("http://", "https://")):
        address = _address(tracking, tracking.uri)
        print_line(f"MLflow: {redacted(address)}")
    else:
        address = _serve(tracking, given.options.get("host", "127.0.0.1"), port)
    return CommandResult(0, {"address": redacted(address), "tracking_uri": redacted(tracking.uri)})


def _serve(tracking: TrackingSettings, host: str, port: int) -> str:
    """Serve until an interrupt and return the address of the page."""
    database = sqlite_file(tracking.uri)
    if database is not None and not database.exists():
        raise UserError(f"no results to show: there is no {database}; run a sweep here, or give tracking.uri=…")
    address = None
    with breakable():
        try:
            with MlflowServer(tracking.uri, host, port) as server:
                server.wait_until_up()
                address = _address(tracking, server.address)
                print_line(f"MLflow: {address}\nCtrl-C ends it.")
                server.wait()
        except KeyboardInterrupt:
            if address is None:
                raise
    return address


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise UserError(f"ui: port must be a number from 1 to 65535, got {text!r}")
    return int(text)


def _address(tracking: TrackingSettings, server: str) -> str:
    """Return the page of the newest sweep's cells, or of the experiment's runs if it has no sweep."""
    sink = MlflowSink.connect(tracking)
    return runs_address(server, sink.experiment_id, sink.newest_sweep())
