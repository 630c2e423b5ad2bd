"""The errors of UPS subscriptions."""


class SubscriptionsError(OSError):
    """The list of subscriptions cannot be opened, read or written, or is damaged.

    Examples
    --------
    >>> from fastdimse.ups import Subscriptions, SubscriptionsError
    >>> try:
    ...     Subscriptions("missing-folder/ups.subscriptions")
    ... except SubscriptionsError as error:
    ...     print(error)
    missing-folder/ups.subscriptions: cannot open the subscriptions: unable to open database file
    """


class UPSError(Exception):
    """An SCP refused a request or sent no response to it, or the request cannot be encoded.

    Attributes
    ----------
    status : int or None
        The Status of the response; ``None`` if there was none.
    """

    def __init__(self, reason: str, status: int | None) -> None:
        super().__init__(reason, status)
        self.status = status

    def __str__(self) -> str:
        """Return the reason."""
        return str(self.args[0])
