"""Messages to systemd (sd_notify(3)): the state of the service, and its watchdog."""

import os
import socket
import time


def notify(*assignments: str) -> None:
    """Send assignments such as ``READY=1`` to systemd. Elsewhere it has no effect."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(1)
            sender.sendto("\n".join(assignments).encode(), address)
    except OSError:
        # The state is information only, and the service can run without it.
        return


class Heartbeat:
    """Messages at intervals: the status line of the service, and that it is not stuck."""

    def __init__(self) -> None:
        own = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        try:
            watchdog = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6 if own else 0.0
        except ValueError:
            watchdog = 0.0
        self._assignments = ["WATCHDOG=1"] if watchdog else []
        # Half of the time after which systemd ends the service.
        self._interval = min(10.0, watchdog / 2) if watchdog else 10.0
        self._next = 0.0

    def beat(self, status: str) -> None:
        """Send a message if the interval has passed."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._interval
            notify(*self._assignments, f"STATUS={status}")
