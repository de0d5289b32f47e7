"""Power limits and SM clocks: set, read back, and brought back to what stood before, whoever is killed.

`acquire` takes GPUs, `Control.apply` sets them, `Control.close` restores them. What is set is in a journal on disk
before it is set; a guard process undoes it when its controller dies, and the next `acquire`, or
`python -m orchestrator restore`, when the guard died too.
"""

from collectors.control.checks import check
from collectors.control.control import Control, acquire
from collectors.control.knobs import Applied, AppliedGpu, Knobs
from collectors.control.undo import Undone

__all__ = ["Applied", "AppliedGpu", "Control", "Knobs", "Undone", "acquire", "check"]
