"""Waiting for a machine that others use, too."""

import time

import psutil


def wait_until_quiet(patience_s: float, busy_share: float = 0.25) -> None:
    """Return once the processors are idle but for ``busy_share`` over a second, or when the patience is over."""
    give_up_s = time.monotonic() + patience_s
    while psutil.cpu_percent(interval=1.0) > 100 * busy_share and time.monotonic() < give_up_s:
        pass
