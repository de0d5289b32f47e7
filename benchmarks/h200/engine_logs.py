"""What vLLM prints, copied while it runs: an engine's folder goes when the engine ends."""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Self

_LOOK_S = 1.0


class EngineLogs:
    """A context manager that keeps the log of every engine that runs meanwhile in ``folder``, one file an engine."""

    def __init__(self, folder: Path, engines: Path | None = None) -> None:
        self._folder = folder
        self._engines = Path(tempfile.gettempdir()) if engines is None else engines
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look once more."""
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self._copy()
        self._copy()

    def _copy(self) -> None:
        for log in self._engines.glob("joulegrid-vllm-*/engine.log"):
            try:
                shutil.copyfile(log, self._folder / f"{log.parent.name}.log")
            except FileNotFoundError:
                continue  # the engine ended between two looks
