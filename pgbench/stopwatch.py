"""How long a training takes: what it writes and measures is not in it, and neither is a pause."""

import signal
import threading
from time import monotonic
from typing import Any


class Stopwatch:
    """Seconds since `restart`, without those in which the process was stopped (Ctrl-Z).

    When it goes on it knows no more than when it made its last step: the pause counts from there.
    """

    def __init__(self) -> None:
        self.restart()

    def __enter__(self) -> "Stopwatch":
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():  # no other one has signals
            self._before = signal.signal(signal.SIGCONT, self._leave_out)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGCONT, self._before)

    def restart(self) -> None:
        self._started = self._last_step = monotonic()

    def step(self) -> None:
        self._last_step = monotonic()

    def seconds(self) -> float:
        return monotonic() - self._started

    def _leave_out(self, *_: object) -> None:
        pause = monotonic() - self._last_step
        self._started += pause
        self._last_step += pause
