"""How long a slot waits before its next process, when one after the other dies young."""

from typing import Final

GROWN_UP: Final = 60.0
"""Seconds of serving after which a process has worked: what happens to it then is a first failure again."""

LOOP: Final = 5
"""Failures in a row that make a crash loop."""

_LONGEST = 30.0


class Backoff:
    """The failures of one slot in a row: the first costs no delay, then 1, 2, 4 ... 30 s."""

    def __init__(self) -> None:
        self.failures = 0

    def failed(self, age: float) -> float:
        """Count the death of a process that served for `age` seconds. Returns the seconds to wait before the next."""
        if age >= GROWN_UP:
            self.reset()
        self.failures += 1
        return self.delay

    @property
    def delay(self) -> float:
        # The exponent is bounded: failures are counted for ever.
        return 0.0 if self.failures <= 1 else min(_LONGEST, 2.0 ** min(self.failures - 2, 10))

    def reset(self) -> None:
        self.failures = 0
