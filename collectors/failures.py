"""Devices that do not answer: asked at once a few times, and then less and less often."""

_PATIENT_FAILURES = 3
_RETRY_S = 1.0
_LONGEST_RETRY_S = 4.0
_MOST_DOUBLINGS = 10


class Failures:
    """Of each device, how often in a row it has failed, and when it is asked again: an answer may take time to fail."""

    def __init__(self) -> None:
        self._in_a_row: dict[str, int] = {}
        self._retry_at_s: dict[str, float] = {}

    def __contains__(self, device: str) -> bool:
        return device in self._in_a_row

    def is_due(self, device: str, now_s: float) -> bool:
        """Whether it is to be asked now."""
        return not self._retry_at_s or now_s >= self._retry_at_s.get(device, now_s)

    def failed(self, device: str, now_s: float) -> None:
        """It has not answered."""
        n_failures = self._in_a_row[device] = self._in_a_row.get(device, 0) + 1
        n_retries = n_failures - _PATIENT_FAILURES
        if n_retries >= 0:
            wait_s = min(_RETRY_S * 2.0 ** min(n_retries, _MOST_DOUBLINGS), _LONGEST_RETRY_S)
            self._retry_at_s[device] = now_s + wait_s

    def answered(self, device: str) -> None:
        """It has."""
        if device in self._in_a_row:
            del self._in_a_row[device]
            self._retry_at_s.pop(device, None)
