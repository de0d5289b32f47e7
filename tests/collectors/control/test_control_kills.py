"""A controller killed at each instant that makes a difference."""

import pytest

from collectors.control import acquire, journal
from tests.collectors.control.guard_process import controller, heard, wait_until
from tests.fake_nvml.fake_gpus import SetKind

NO_GUARD = """
class NoGuard:
    alive = True
    def close(self): pass
control.GuardLink.ensured = lambda folder: NoGuard()
"""
INSTANTS = {
    "before the journal": "journal.write = die",
    "the journal half written": "os.fsync = die",
    "between journal and set": "NvmlSetter.set_power_limit = lambda self, uuid, mw: mw == 400_000 and die()",
    "between set and read-back": "control.settled_limit_mw = die",
    "between lock and read-back": "control.settled_clock_mhz = die",
    "between read-back and journal": """
written, write = [], journal.write
journal.write = lambda *entry: die() if len(written) == 2 else written.append(write(*entry))
""",
    "while the limits are set": "",
    "before it is restored": "undo.restore_limit = die; finish = held.close",
    "between limit and clock": "NvmlSetter.unlock_sm_clock = die; finish = held.close",
    "between restoring and removing the journal": "journal.remove = die; finish = held.close",
}
PROGRAM = """
held = acquire([0])
{first}
finish = die
{instant}
say()
held.apply(Knobs(power_limit_w=400, sm_clock_mhz=900))
finish()
"""


CASES = [
    pytest.param(
        instant,
        guarded,
        first,
        marks=() if guarded and not first else pytest.mark.slow,
        id=f"{instant}, {'a guard' if guarded else 'no guard'}, {'a later' if first else 'the first'} cap",
    )
    for instant in INSTANTS
    for guarded in (True, False)
    for first in ("", "held.apply(Knobs(power_limit_w=500, sm_clock_mhz=1200))")
]


@pytest.mark.parametrize(("instant", "guarded", "first"), CASES)
def test_the_gpu_is_restored_whenever_the_controller_is_killed(gpus, state_dir, instant, guarded, first):
    gpus[0].set_power_limit(650)
    program = PROGRAM.format(first=first, instant=INSTANTS[instant])
    with controller(program if guarded else NO_GUARD + program, gpus.env) as child:
        heard(child)
        assert child.wait(20) == -9
    if guarded:
        wait_until(lambda: not journal.uuids(state_dir))
    else:
        acquire([0]).close()
    assert (gpus[0].power_limit_w, gpus[0].locked_sm_clock_mhz) == (650, None)
    assert journal.uuids(state_dir) == ()
    assert {call.values[0] for call in gpus.set_calls if call.kind is SetKind.LIMIT} <= {650_000, 500_000, 400_000}
    acquire([0]).close()
    assert gpus[0].power_limit_w == 650
