"""Requests of pynetdicom on an association on which reports arrive."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from pynetdicom import evt


def _take_turns(event: evt.Event) -> None:
    """Let an association serve reports, send requests and release one after the other.

    pynetdicom serves each report in a thread of its own. When that thread ends, it marks the
    association's thread as running. A request or a release that waits for the pause of the
    association's thread at this moment would wait for ever.
    """
    turn = threading.RLock()

    def in_turn(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with turn:
                return method(*args, **kwargs)

        return call

    for name in ("_serve_request", "send_n_action", "release"):
        setattr(event.assoc, name, in_turn(getattr(event.assoc, name)))


TURNS = (evt.EVT_CONN_OPEN, _take_turns)
"""The handler of an association that takes turns, for `evt_handlers`."""
