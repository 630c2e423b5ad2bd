"""The error of a list of subscriptions."""


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
