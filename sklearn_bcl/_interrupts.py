"""The user's interrupt (Ctrl-C), as opposed to a callback that ends training."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Catch SIGINT while a fit runs; ``came`` is True after an interrupt.

    Before :meth:`hold`, an interrupt raises ``KeyboardInterrupt`` at once, as usual.
    After :meth:`hold`, the first interrupt is only noted, so that it cannot cut a
    training step or the publication of the result in two. The caller reads ``came``
    between steps and then raises. A second interrupt raises at once.

    Only the main thread receives signals, so nothing is caught in other threads. A
    custom handler of the process is called each time, and its exceptions are raised.
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
