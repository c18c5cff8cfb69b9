"""Ctrl-C (and SIGTERM) as a request to finish, not as an end."""

import contextlib
import signal
import types
from collections.abc import Callable, Iterator


class Interrupts:
    """Attributes: requested: whether the run was asked to finish."""

    requested = False

    @contextlib.contextmanager
    def watched(self, waiting: Callable[[], bool]) -> Iterator[None]:
        """Notes the first request; a second one raises KeyboardInterrupt, and so does one that comes while `waiting`
        says that players are waited for."""

        def request(_signal: int, _frame: types.FrameType | None) -> None:
            at_once = self.requested or waiting()
            self.requested = True
            if at_once:
                raise KeyboardInterrupt

        previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
