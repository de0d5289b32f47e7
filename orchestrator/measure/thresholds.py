"""Fixed bounds of validity; those a user may set are fields of `orchestrator.spec.protocol.ProtocolSpec`."""

MAX_MISSED_RATIO = 0.05
"""Gaps between samples may take this share of the window."""

GAP_PERIODS = 3
"""Samples further apart than so many of their usual distances have a gap between them."""

MAX_COUNTER_STAND_S = 2.0
"""A GPU's counter moves every 20 to 100 ms: one that does not for this long is stuck."""

COUNTER_RANGES_J = (2**32 / 1e3,)
"""Where energy counters are known to start again at 0: 32 bits of millijoules."""

LONGEST_BRIDGED_S = 1.0
"""Over so much without samples the integral of power may be guessed where the counter fell meanwhile."""

MAX_ODD_POWER_RATIO = 0.01
"""Samples of absurd power may take this share of the window."""

MIN_POWER_W = 2.0
"""No GPU that serves a model draws so little: the sensor says nothing."""

MAX_POWER_TO_BOARD = 1.5
"""No power of a board is further above the most that its limit may be.

A limit takes tens of milliseconds to bind, and until then a low one is passed by any factor: only the board itself says
what cannot be. Cards may draw 1.6 times their rating for 10 ms and 1.2 times for 100 ms (Intel, ATX 3.0 design guide
336521, power excursions after PCIe CEM 5.0); on the logarithm of time that is 1.44 for the 25 ms of a sample.
"""

MAX_ALIASING_RATIO = 0.1
"""By so much may what repeats near the sensor's period move the mean power, seen from the times of iterations."""

MAX_GAP_SPREAD_RATIO = 0.25
"""By so much may counter and integral differ second by second: bursts differ less, samples that beat with them more."""

LIMIT_TOLERANCE_W = 1.0
"""The driver rounds limits."""

LIMIT_AGE_S = 0.5
"""A sample holds a limit that was read so long before, at most: not with every sample."""

CLOCK_TOLERANCE_MHZ = 15.0
"""One step of an SM clock: a lock is rounded to one."""

MAX_CLOCK_OFF_RATIO = 0.05
"""For this share of the busy time the clock may be another than the locked one."""

MIN_IDLE_S = 1.0
"""Idle power of a sampled GPU is taken of intervals without requests of at least this length..."""

IDLE_GUARD_S = 0.2
"""...less this at either end, where the sensor still shows, or already, what is no idle."""
