"""Subscriptions to the events of unified procedure steps (UPS, PS3.4 Annex CC).

:class:`Subscriptions` is the list of subscriptions of an SCP. It responds to N-ACTION requests, and
gives each event to its subscribers.
"""

from ._errors import SubscriptionsError
from ._standard import (
    FILTERED_GLOBAL_SUBSCRIPTION,
    GLOBAL_SUBSCRIPTION,
    ActionType,
    UPSStatus,
)
from ._subscriptions import Subscriptions

__all__ = [
    "FILTERED_GLOBAL_SUBSCRIPTION",
    "GLOBAL_SUBSCRIPTION",
    "ActionType",
    "Subscriptions",
    "SubscriptionsError",
    "UPSStatus",
]

# `repr`, `help` and pickles name the public path.
for _public in (ActionType, Subscriptions, SubscriptionsError, UPSStatus):
    _public.__module__ = "fastdimse.ups"
