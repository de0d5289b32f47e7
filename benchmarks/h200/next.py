"""``python -m benchmarks.h200.next --out DIR``: the next parts of the measurements on a lent GPU, for a limited time.

Everything is kept in ``h200_runs/`` of the working directory; what is new goes to DIR after each part, in pieces that
can be fetched from the host. ``--carried DIR`` first takes up what earlier calls did on another host; what this
host did itself is newer, and stays. A part that does not fit into the time that is left is stopped as by Ctrl-C, and
the next call goes on with it.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.h200.call import Call, times_of
from benchmarks.h200.engine_logs import EngineLogs
from benchmarks.h200.parcel import pieces_in, unpack
from benchmarks.h200.parts import NAMES
from benchmarks.h200.progress import is_kept, read_progress, tell_progress
from benchmarks.h200.run_part import ENDS_S

FOLDER = Path("h200_runs")
_PACKING_S = 15.0


def main() -> None:
    """Run what there is time for."""
    given = _arguments().parse_args()
    began_s = time.monotonic()
    folder, out = FOLDER.absolute(), given.out.absolute()
    if given.carried is not None and pieces_in(given.carried) and not is_kept(folder):
        unpack(given.carried, folder)
    for needed in (folder, out):
        needed.mkdir(parents=True, exist_ok=True)
    call = Call(
        folder=folder,
        out=out,
        end_s=began_s + given.limit_s - ENDS_S - _PACKING_S,
        before=times_of(folder),
        also=tuple(given.also),
        only=tuple(given.only),
    )
    with EngineLogs(folder / "engine_logs"):
        call.run()
    tell_progress(folder)
    if read_progress(folder).way is None:
        sys.exit(f"vLLM has not started here: {out / 'log.txt'} and {FOLDER / 'engine_logs'} say why")


def _arguments() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--out", type=Path, required=True, help="folder of what comes back")
    asked.add_argument("--limit-s", type=float, default=540.0, help="of the whole call")
    asked.add_argument("--carried", type=Path, help="folder of what earlier calls did")
    asked.add_argument("--only", action="append", default=[], choices=NAMES, help="this part, for rehearsals")
    asked.add_argument("--also", action="append", default=[], metavar="OVERRIDE", help="of sweeps, for rehearsals")
    return asked


if __name__ == "__main__":
    main()
