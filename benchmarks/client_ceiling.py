"""``python -m benchmarks.client_ceiling``: the highest rate at which two load generators keep their schedule.

A null server records when each request arrives. Requests are due at constant gaps from an origin that neither client
reports: for both, it is set at the most punctual request, the best case for the client. The send delay is the k-th
arrival minus the k-th due time.
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

from benchmarks.contenders import ours, theirs
from benchmarks.load_page import write_page
from benchmarks.load_statistics import Level, level_of
from benchmarks.machine import machine, today, wait_until_quiet
from benchmarks.null_server import blast
from benchmarks.result_files import write_results

_PROMPT_TOKENS = 32


def main() -> None:
    """Raise the rate until both clients are late, and store the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", default="500,1000,1500,2000,2500,3000,4000,5000,6000,7000,8000,10000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each run")
    parser.add_argument("--patience", type=float, default=60.0, help="longest wait for an idle machine, in s")
    given = parser.parse_args()
    rates = [float(rate) for rate in given.rates.split(",")]
    with null_server() as port, tempfile.TemporaryDirectory() as folder:
        ceiling = blast(port, json.dumps(_row(0)).encode())
        print(f"null server: {ceiling:.0f} requests/s over bare sockets", flush=True)
        arrivals(port)
        levels = list(_levels(port, Path(folder), rates, given))
    results = {"date": today(), "machine": machine(), "server_ceiling": ceiling, "seconds": given.seconds}
    write_results("client_ceiling", results | {"levels": [asdict(level) for level in levels]})
    write_page()


def _levels(port: int, folder: Path, rates: list[float], given: argparse.Namespace) -> Iterator[Level]:
    """Yield runs at each rate, in turns; a client that was late in every round does not run at higher rates."""
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
    """Return when the completions since the last call arrived, and clear them on the server. Units: s."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/arrivals") as answer:
        arrived_s: list[float] = json.load(answer)
    return arrived_s


def last_arrivals(arrived_s: list[float], n: int) -> list[float]:
    """Return the arrivals of a run's ``n`` requests; our client sends others before them.

    Raises:
        SystemExit: fewer requests arrived.
    """
    if len(arrived_s) < n:
        raise SystemExit(f"{len(arrived_s)} of {n} requests arrived at the null server")
    return arrived_s[-n:]


@contextmanager
def null_server() -> Iterator[int]:
    """Run a null server in its own process and yield its port."""
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
