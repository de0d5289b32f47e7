"""When a device that does not answer is asked again."""

from collectors.sampler import Failures


def _asked_at_s(failures: Failures, until_s: float, tick_s: float = 0.05) -> list[float]:
    """When it is asked if it is due at every tick, and fails each time."""
    asked_s = []
    for tick in range(int(until_s / tick_s)):
        now_s = tick * tick_s
        if failures.is_due("a", now_s):
            asked_s.append(round(now_s, 3))
            failures.failed("a", now_s)
    return asked_s


def test_a_device_is_asked_three_times_at_once_and_then_less_and_less_often():
    assert _asked_at_s(Failures(), 16) == [0.0, 0.05, 0.1, 1.1, 3.1, 7.1, 11.1, 15.1]


def test_another_device_is_asked_all_the_same_and_one_that_answers_begins_anew():
    failures = Failures()
    for _ in range(5):
        failures.failed("a", 10.0)
    assert "a" in failures
    assert (failures.is_due("a", 10.5), failures.is_due("b", 10.5)) == (False, True)
    failures.answered("a")
    assert "a" not in failures
    assert failures.is_due("a", 10.5)
