"""A power source of a user: one socket strip with a constant reading."""

import time

from collectors.source import Reading


def build(devices, path=None):
    return Strip()


class Strip:
    series = "power"
    devices = ("strip-1",)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def read(self, device):
        return Reading(time.monotonic(), {"power_w": 123.0})

    def processes(self, device):
        return ()
