"""How far the parts have come: one file that travels from call to call and from host to host."""

from pathlib import Path

from pydantic import BaseModel, Field

from benchmarks.h200.parts import FIRST

MOST_TRIES = 3
"""Of a part that fails: then the next call goes on without it."""


class Tried(BaseModel):
    """What became of one part so far."""

    done: bool = False
    tries: int = 0
    seconds: float = 0.0
    exit_codes: list[int] = Field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether it is to be tried again."""
        return not self.done and self.tries < MOST_TRIES


class Progress(BaseModel):
    """All parts by name; ``way`` is how vLLM starts there (a name in `parts.WAYS`), None while nobody knows."""

    way: str | None = None
    parts: dict[str, Tried] = Field(default_factory=dict)

    def of(self, name: str) -> Tried:
        """What became of a part."""
        return self.parts.setdefault(name, Tried())


def is_kept(folder: Path) -> bool:
    """Whether any part was ever tried with this folder."""
    return _path(folder).exists()


def read_progress(folder: Path) -> Progress:
    """The progress kept in a folder; none yet where there is no file."""
    return Progress.model_validate_json(_path(folder).read_text()) if is_kept(folder) else Progress()


def write_progress(folder: Path, progress: Progress) -> None:
    """Keep it."""
    folder.mkdir(parents=True, exist_ok=True)
    _path(folder).write_text(progress.model_dump_json(indent=1) + "\n")


def tell_progress(folder: Path) -> None:
    """A line a part that was tried."""
    for name, tried in read_progress(folder).parts.items():
        state = "done" if tried.done else "open" if tried.open or name == FIRST else "given up"
        print(f"{name:14} {state:8} {tried.seconds:5.0f} s, exit codes {tried.exit_codes}", flush=True)


def _path(folder: Path) -> Path:
    return folder / "progress.json"
