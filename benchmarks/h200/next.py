"""``python -m benchmarks.h200.next --out DIR``: run the next parts of the measurements for a limited time.

All results are in ``h200_runs/`` of the working directory. After each part, new files are packed into DIR, in pieces
that can be fetched from the host. ``--carried DIR`` first unpacks the results of earlier calls on another host, unless
this host has results of its own, which are newer. A part that does not fit into the time left is stopped as by Ctrl-C,
and the next call continues it.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.h200 import FOLDER
from benchmarks.h200.parts import NAMES, WAYS, Part, parts, way_named
from benchmarks.h200.progress import Progress, has_progress, print_progress, read_progress, write_progress
from benchmarks.h200.run_part import STOP_TIMEOUT_S, EngineLogs, PartResult, run_part
from benchmarks.h200.transfer import pack, pieces_in, unpack

_PACKING_S = 15.0
_WITHOUT_VLLM = ("sensor",)
_NOT_PACKED = ("mlflow.db", "mlartifacts", "lock")
"""MLflow's data stays on the host: `sync` builds it again from the records."""


def main() -> None:
    """Run the parts that fit into the time limit; exit 1 if vLLM did not start."""
    given = _arguments().parse_args()
    began_s = time.monotonic()
    folder, out = FOLDER.absolute(), given.out.absolute()
    if given.carried is not None and pieces_in(given.carried) and not has_progress(folder):
        unpack(given.carried, folder)
    for needed in (folder, out):
        needed.mkdir(parents=True, exist_ok=True)
    call = Call(
        folder=folder,
        out=out,
        end_s=began_s + given.limit_s - STOP_TIMEOUT_S - _PACKING_S,
        before=times_of(folder),
        also=tuple(given.also),
        only=tuple(given.only),
    )
    with EngineLogs(folder / "engine_logs"):
        call.run()
    print_progress(folder)
    if read_progress(folder).way is None:
        sys.exit(f"vLLM has not started here: {out / 'log.txt'} and {FOLDER / 'engine_logs'} say why")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files to fetch")
    parser.add_argument("--limit-s", type=float, default=540.0, help="time limit of the whole call")
    parser.add_argument("--carried", type=Path, help="folder with the results of earlier calls")
    parser.add_argument("--only", action="append", default=[], choices=NAMES, help="only this part, for rehearsals")
    parser.add_argument("--also", action="append", default=[], metavar="OVERRIDE", help="for sweeps, for rehearsals")
    return parser


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call on the host: open parts run in order until ``end_s`` on the monotonic clock. Units: s.

    ``folder`` holds all results; ``out`` gets the files that changed since ``before`` (`times_of`). If ``only`` is not
    empty, only these parts run; ``also`` are overrides of their sweeps.
    """

    folder: Path
    out: Path
    end_s: float
    before: Mapping[Path, int]
    also: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def run(self) -> None:
        """Run every part that is open and fits."""
        self._find_way()
        for number in range(1, len(parts(self.folder, WAYS[0]))):
            progress = read_progress(self.folder)
            part = parts(self.folder, way_named(progress.way), self.also)[number]
            if progress.way is None and part.name not in _WITHOUT_VLLM:
                print(f"{part.name}: left out, vLLM has not started here", flush=True)
            elif self._selects(part, progress):
                result = self._run(part)
                self._record(part, progress, result, done=_is_complete(part, result))

    def _find_way(self) -> None:
        """Run the first part in one way after another, until vLLM starts."""
        progress = read_progress(self.folder)
        for way in WAYS:
            part = parts(self.folder, way, self.also)[0]
            if progress.way is not None or not self._fits(part):
                return
            result = self._run(part)
            if result.line.get("ok", 0) + result.line.get("invalid", 0) > 0:
                progress.way = way.name
            self._record(part, progress, result, done=progress.way is not None)

    def _selects(self, part: Part, progress: Progress) -> bool:
        return progress.of(part.name).open and (not self.only or part.name in self.only) and self._fits(part)

    def _fits(self, part: Part) -> bool:
        left_s = self.end_s - time.monotonic()
        if left_s >= part.least_s:
            return True
        print(f"{part.name}: not begun, {left_s:.0f} s are left and it takes {part.least_s:g} s or more", flush=True)
        return False

    def _run(self, part: Part) -> PartResult:
        print(f"== {part.name}: {' '.join(part.command)}", flush=True)
        until_s = min(self.end_s, time.monotonic() + part.most_s)
        env = {"VLLM_LOGGING_LEVEL": "INFO", "PYTHONUNBUFFERED": "1", **dict(part.env)}
        return run_part(part.command, until_s=until_s, log=self.out / "log.txt", env=env)

    def _record(self, part: Part, progress: Progress, result: PartResult, *, done: bool) -> None:
        own = progress.of(part.name)
        out_of_time = part.goes_on and time.monotonic() >= self.end_s  # no failure
        own.tries += 0 if out_of_time else 1
        own.done = done
        own.seconds += result.seconds
        own.exit_codes.append(result.code)
        write_progress(self.folder, progress)
        pack(self.folder, self._changed(), self.out)
        print(f"== {part.name}: exit {result.code} after {result.seconds:.0f} s", flush=True)

    def _changed(self) -> list[Path]:
        return [
            path
            for path, time_ns in times_of(self.folder).items()
            if not set(path.relative_to(self.folder).parts) & set(_NOT_PACKED) and self.before.get(path) != time_ns
        ]


def times_of(folder: Path) -> dict[Path, int]:
    """Return when each file below a folder was written, on the clock of the host that wrote it. Units: ns."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def _is_complete(part: Part, result: PartResult) -> bool:
    """Return whether nothing of a part is left to run; cells that ran but are invalid are not run again."""
    if not part.goes_on:
        return result.code == 0 and not result.line.get("load_missing")
    return result.line.get("pending") == 0 and result.line.get("failed") == 0


if __name__ == "__main__":
    main()
