"""The garbage collector of a process that keeps time."""

import gc


def settle_memory() -> None:
    """Collect garbage now, and let later collections pass over what lives on: libraries, configuration, earlier cells.

    A full collection over all that holds up the loop for 50 to 80 ms, in the middle of a schedule. What is thawed here
    first is garbage of the cell before, so nothing is kept for ever.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
