"""The progress of all parts: one file that travels from call to call and from host to host."""

from pathlib import Path

from pydantic import BaseModel, Field

from benchmarks.h200.parts import FIRST

MAX_TRIES = 3
"""A part that has failed so often is skipped by the next call."""


class PartProgress(BaseModel):
    """The runs of one part so far."""

    done: bool = False
    tries: int = 0
    seconds: float = 0.0
    exit_codes: list[int] = Field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether the part is to be run again."""
        return not self.done and self.tries < MAX_TRIES


class Progress(BaseModel):
    """All parts by name; ``way`` is how vLLM starts there (a name in `parts.WAYS`), None until that is known."""

    way: str | None = None
    parts: dict[str, PartProgress] = Field(default_factory=dict)

    def of(self, name: str) -> PartProgress:
        """Return the progress of a part."""
        return self.parts.setdefault(name, PartProgress())


def has_progress(folder: Path) -> bool:
    """Return whether any part was ever run with this folder."""
    return _path(folder).exists()


def read_progress(folder: Path) -> Progress:
    """Return the progress stored in a folder; empty if there is no file."""
    return Progress.model_validate_json(_path(folder).read_text()) if has_progress(folder) else Progress()


def write_progress(folder: Path, progress: Progress) -> None:
    """Store the progress in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _path(folder).write_text(progress.model_dump_json(indent=1) + "\n")


def print_progress(folder: Path) -> None:
    """Print one line for each part that was run."""
    for name, part in read_progress(folder).parts.items():
        state = "done" if part.done else "open" if part.open or name == FIRST else "given up"
        print(f"{name:14} {state:8} {part.seconds:5.0f} s, exit codes {part.exit_codes}", flush=True)


def _path(folder: Path) -> Path:
    return folder / "progress.json"
