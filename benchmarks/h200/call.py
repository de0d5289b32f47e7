"""One call on the host: the open parts in their order, as far as the time goes; what is new is packed after each."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.h200.parcel import pack
from benchmarks.h200.parts import WAYS, Part, parts, way_named
from benchmarks.h200.progress import Progress, read_progress, write_progress
from benchmarks.h200.run_part import Ended, run_part

_WITHOUT_VLLM = ("sensor",)
_LEFT_OUT = ("mlflow.db", "mlartifacts", "lock")
"""What the host keeps to itself: MLflow's views are made again from the records, by `sync`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Parts run until ``end_s`` on the monotonic clock.

    ``folder`` holds all that is kept, ``out`` what of it is not as it was ``before`` (`times_of`). Only the parts
    named in ``only`` run, where there are any; ``also`` are overrides of their sweeps. Units: s.
    """

    folder: Path
    out: Path
    end_s: float
    before: Mapping[Path, int]
    also: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def run(self) -> None:
        """Every part that is open and fits."""
        self._find_way()
        for number in range(1, len(parts(self.folder, WAYS[0]))):
            progress = read_progress(self.folder)
            part = parts(self.folder, way_named(progress.way), self.also)[number]
            if progress.way is None and part.name not in _WITHOUT_VLLM:
                print(f"{part.name}: left out, vLLM has not started here", flush=True)
            elif self._wanted(part, progress):
                ended = self._run(part)
                self._keep(part, progress, ended, done=_complete(part, ended))

    def _find_way(self) -> None:
        """Run the first part in one way after another, until vLLM starts."""
        progress = read_progress(self.folder)
        for way in WAYS:
            part = parts(self.folder, way, self.also)[0]
            if progress.way is not None or not self._fits(part):
                return
            ended = self._run(part)
            if ended.line.get("ok", 0) + ended.line.get("invalid", 0) > 0:
                progress.way = way.name
            self._keep(part, progress, ended, done=progress.way is not None)

    def _wanted(self, part: Part, progress: Progress) -> bool:
        return progress.of(part.name).open and (not self.only or part.name in self.only) and self._fits(part)

    def _fits(self, part: Part) -> bool:
        left_s = self.end_s - time.monotonic()
        if left_s >= part.least_s:
            return True
        print(f"{part.name}: not begun, {left_s:.0f} s are left and it takes {part.least_s:g} s or more", flush=True)
        return False

    def _run(self, part: Part) -> Ended:
        print(f"== {part.name}: {' '.join(part.command)}", flush=True)
        until_s = min(self.end_s, time.monotonic() + part.most_s)
        env = {"VLLM_LOGGING_LEVEL": "INFO", "PYTHONUNBUFFERED": "1", **dict(part.env)}
        return run_part(part.command, until_s=until_s, log=self.out / "log.txt", env=env)

    def _keep(self, part: Part, progress: Progress, ended: Ended, *, done: bool) -> None:
        tried = progress.of(part.name)
        stopped = part.goes_on and time.monotonic() >= self.end_s  # which is no failure
        tried.tries += 0 if stopped else 1
        tried.done = done
        tried.seconds += ended.seconds
        tried.exit_codes.append(ended.code)
        write_progress(self.folder, progress)
        pack(self.folder, self._new(), self.out)
        print(f"== {part.name}: exit {ended.code} after {ended.seconds:.0f} s", flush=True)

    def _new(self) -> list[Path]:
        return [
            path
            for path, time_ns in times_of(self.folder).items()
            if not set(path.relative_to(self.folder).parts) & set(_LEFT_OUT) and self.before.get(path) != time_ns
        ]


def times_of(folder: Path) -> dict[Path, int]:
    """When each file below a folder was written, on whatever clock its host had. Units: ns."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def _complete(part: Part, ended: Ended) -> bool:
    """Whether nothing is left of a part; cells that ran and do not count are not run again."""
    if not part.goes_on:
        return ended.code == 0 and not ended.line.get("load_missing")
    return ended.line.get("pending") == 0 and ended.line.get("failed") == 0
