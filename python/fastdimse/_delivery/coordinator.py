"""State that a delivery shares with its workers."""

import threading


class Coordinator:
    """Options and state that a delivery shares with its workers.

    Parameters
    ----------
    give_up_after : float or None
        Seconds without progress after which a worker gives up its peer.
    longest_delay : float
        Maximum backoff delay between two attempts, in seconds.
    retry_statuses : frozenset of int
        Statuses for which an event is sent again.

    Attributes
    ----------
    condition : threading.Condition
        Guards the counts of due events, and notifies of any change.
    is_closing : bool
        Whether the workers must end.
    is_aborting : bool
        Whether they must abort their associations instead of releasing them.
    """

    def __init__(
        self,
        *,
        give_up_after: float | None,
        longest_delay: float,
        retry_statuses: frozenset[int],
    ) -> None:
        self.give_up_after = give_up_after
        self.longest_delay = longest_delay
        self.retry_statuses = retry_statuses
        self.condition = threading.Condition()
        self.is_closing = False
        self.is_aborting = False

    def notify(self) -> None:
        """Wake all threads that wait for a change."""
        with self.condition:
            self.condition.notify_all()

    def close(self, *, at_once: bool) -> None:
        """Let the workers end."""
        with self.condition:
            self.is_closing = True
            self.is_aborting |= at_once
            self.condition.notify_all()

    def wait_for_close(self, timeout: float) -> None:
        """Wait until the delivery is closed, for at most `timeout` seconds."""
        with self.condition:
            self.condition.wait_for(lambda: self.is_closing, timeout)
