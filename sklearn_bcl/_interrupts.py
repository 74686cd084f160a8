"""A user's interrupt (Ctrl-C), told from the one by which a callback ends training."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Catch SIGINT while a fit runs; ``came`` tells whether one came.

    Before :meth:`hold` it raises ``KeyboardInterrupt`` at once, as ever. From then on,
    the first is only noted, so that a step of training and the publication of what was
    trained are never cut in two. A second one raises at once. The caller looks at
    ``came`` between steps, and raises after all.

    Signals reach the main thread only; in another thread, nothing is caught. A handler
    of the process's own is asked each time, and what it raises is raised.
    """

    def __init__(self) -> None:
        self.came = False
        self._holds = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        handler = signal.getsignal(signal.SIGINT)
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and callable(handler):
            self._before = handler
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if self.came and (error is None or isinstance(error, Exception)):
            raise KeyboardInterrupt from error

    def hold(self) -> None:
        """From now on, only note the first interrupt."""
        self._holds = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._before is not signal.default_int_handler:
            try:
                self._before(number, frame)
            except KeyboardInterrupt:
                self.came = self._holds
                raise
        elif not self._holds or self.came:
            raise KeyboardInterrupt
        else:
            self.came = True
