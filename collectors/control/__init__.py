"""Power limits and SM clocks: set, read back, and restored to what they were before, even after a kill.

`acquire` locks GPUs, `Control.apply` sets them, `Control.close` restores them. Every setting is in a journal on disk
before it is made. A guard process restores the GPUs when their controller dies; if the guard dies too, the next
`acquire` or `python -m orchestrator restore` does.
"""

from collectors.control.checks import check
from collectors.control.control import Control, acquire
from collectors.control.knobs import Applied, AppliedGpu, Knobs
from collectors.control.undo import Undone

__all__ = ["Applied", "AppliedGpu", "Control", "Knobs", "Undone", "acquire", "check"]
