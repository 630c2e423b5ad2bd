"""A replacement of the module `time` in a module of pynetdicom."""

import threading
import time
from collections.abc import Callable
from typing import Any


class Clock:
    """The module `time` with another `sleep` for threads of one class."""

    def __init__(self, kind: type, sleep: Callable[[Any, float], None]) -> None:
        self._kind = kind
        self._sleep = sleep

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        thread = threading.current_thread()
        if isinstance(thread, self._kind):
            self._sleep(thread, seconds)
        else:
            time.sleep(seconds)
