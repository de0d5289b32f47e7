"""``python -m benchmarks.client_ceiling``: how fast two load generators keep their schedule against a null server.

The server notes when each request arrives. Requests are due at constant gaps from an origin that neither client tells:
it is taken where the client looks best, at its promptest request, for both alike. The k-th arrival less the k-th due
time is the send delay.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.blaster import blast
from benchmarks.contenders import ours, theirs
from benchmarks.kept import write_results
from benchmarks.load_page import write_page
from benchmarks.machine import machine, today
from benchmarks.quiet import wait_until_quiet
from benchmarks.send_delay import Level, level_of

_PROMPT_TOKENS = 32


def main() -> None:
    """Raise the rate until both clients are late, and keep what was measured."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rates", default="500,1000,1500,2000,2500,3000,4000,5000,6000,7000,8000,10000")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--seconds", type=float, default=4.0, help="of each run")
    asked.add_argument("--patience", type=float, default=60.0, help="seconds to wait for an idle machine before a run")
    given = asked.parse_args()
    rates = [float(rate) for rate in given.rates.split(",")]
    with null_server() as port, tempfile.TemporaryDirectory() as folder:
        ceiling = blast(port, json.dumps(_row(0)).encode())
        print(f"null server: {ceiling:.0f} requests/s over bare sockets", flush=True)
        arrivals(port)
        levels = list(_levels(port, Path(folder), rates, given))
    found = {"date": today(), "machine": machine(), "server_ceiling": ceiling, "seconds": given.seconds}
    write_results("client_ceiling", found | {"levels": [asdict(level) for level in levels]})
    write_page()


def _levels(port: int, folder: Path, rates: list[float], given: argparse.Namespace) -> Iterator[Level]:
    """At each rate the clients take turns; one that was late in every round is not asked at higher rates."""
    running: dict[str, Callable[..., dict[str, Any]]] = {"joulegrid": ours, "vllm bench serve": theirs}
    for rate in rates:
        path = folder / f"{rate:g}.jsonl"
        n = int(rate * given.seconds)
        path.write_text("".join(json.dumps(_row(index)) + "\n" for index in range(n)))
        levels: dict[str, list[Level]] = {name: [] for name in running}
        for turn in range(given.rounds):
            for name in list(running)[:: 1 if turn % 2 == 0 else -1]:
                wait_until_quiet(given.patience)
                running[name](f"http://127.0.0.1:{port}", path, rate=rate, n=n)
                levels[name].append(level_of(name, rate, last_arrivals(arrivals(port), n)))
                print(levels[name][-1], flush=True)
                yield levels[name][-1]
        running = {name: run for name, run in running.items() if any(level.kept for level in levels[name])}


def arrivals(port: int) -> list[float]:
    """When the completions since the last call arrived, which the server then forgets. Units: s."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/arrivals") as answer:
        found: list[float] = json.load(answer)
    return found


def last_arrivals(arrived_s: list[float], n: int) -> list[float]:
    """Those of a run's ``n`` requests; ours asks what the server takes before.

    Raises:
        SystemExit: there are fewer.
    """
    if len(arrived_s) < n:
        raise SystemExit(f"{len(arrived_s)} of {n} requests arrived at the null server")
    return arrived_s[-n:]


@contextmanager
def null_server() -> Iterator[int]:
    """The port of a null server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.null_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def _row(index: int) -> dict[str, Any]:
    ids = [(index * 37 + place * 101) % 30000 + 100 for place in range(_PROMPT_TOKENS)]
    return {"prompt": ids, "prompt_tokens": _PROMPT_TOKENS, "output_tokens": 1}


if __name__ == "__main__":
    main()
