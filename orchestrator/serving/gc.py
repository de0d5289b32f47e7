"""Garbage collection of a process that takes timestamps or keeps a schedule."""

import gc


def settle_memory() -> None:
    """Collect garbage now and exclude what survives (libraries, configuration, earlier results) from later collections.

    A full collection over these objects blocks the event loop for 50 to 80 ms, in the middle of a schedule.
    """
    gc.unfreeze()  # first, so that objects of the previous cell can be collected
    gc.collect()
    gc.freeze()
