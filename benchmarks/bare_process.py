"""The bare loop of `benchmarks.bare_loop` in a process of its own."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from orchestrator.spec.cell import Cell

_CLOSE_TIMEOUT_S = 30.0


class BareProcess:
    """Loads the engine of a cell when it is made, and answers that cell's requests.

    Every method raises `SystemExit` where the process has ended.
    """

    def __init__(self, cell: Cell, limit_s: float | None = None) -> None:
        """``limit_s`` is after what it is killed, however far it is."""
        begun_s = time.monotonic()
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "cell.json"
        path.write_text(cell.model_dump_json())
        command = [sys.executable, "-m", "benchmarks.bare_loop", str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._killer = None if limit_s is None else threading.Timer(limit_s, self._process.kill)
        if self._killer is not None:
            self._killer.daemon = True
            self._killer.start()
        try:
            self._answer()
        except BaseException:  # an interrupt too: nothing of it may stay behind
            self._process.kill()
            self.close()
            raise
        self.start_s = time.monotonic() - begun_s

    def run(self, repeat: int) -> float:
        """Output tokens per second of this repeat."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{repeat}\n")
        self._process.stdin.flush()
        found = self._answer()
        return float(found["output_tokens"] / found["seconds"])

    def close(self) -> None:
        """End it."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(_CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._killer is not None:
            self._killer.cancel()
        self._folder.cleanup()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise SystemExit("the bare loop ended")
