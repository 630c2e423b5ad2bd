"""Subscriptions to the events of unified procedure steps (UPS, PS3.4 Annex CC).

An SCU subscribes with :func:`subscribe`, and ends its subscriptions with :func:`unsubscribe` and
:func:`suspend`. It receives the events with :func:`fastdimse.listen`.

:class:`Subscriptions` is the list of subscriptions of an SCP. It responds to N-ACTION requests, and
gives each event to its subscribers. The worklist itself is part of the application.
"""

from ._errors import SubscriptionsError, UPSError
from ._matching import matches
from ._standard import (
    EVENT,
    FILTERED_GLOBAL_SUBSCRIPTION,
    GLOBAL_SUBSCRIPTION,
    PUSH,
    WATCH,
    ActionType,
    UPSStatus,
)
from ._subscribe import subscribe, suspend, unsubscribe
from ._subscriptions import Subscriptions

__all__ = [
    "EVENT",
    "FILTERED_GLOBAL_SUBSCRIPTION",
    "GLOBAL_SUBSCRIPTION",
    "PUSH",
    "WATCH",
    "ActionType",
    "Subscriptions",
    "SubscriptionsError",
    "UPSError",
    "UPSStatus",
    "matches",
    "subscribe",
    "suspend",
    "unsubscribe",
]

# `repr`, `help` and pickles name the public path.
for _public in (
    ActionType,
    Subscriptions,
    SubscriptionsError,
    UPSError,
    UPSStatus,
    matches,
    subscribe,
    suspend,
    unsubscribe,
):
    _public.__module__ = "fastdimse.ups"
