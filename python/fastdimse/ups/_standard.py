"""UIDs, action types and Statuses of the UPS services (PS3.4 CC.2.3 and CC.3.1)."""

from enum import IntEnum

PUSH = "1.2.840.10008.5.1.4.34.6.1"
"""UPS Push: the SOP class of every UPS, whatever SOP class the association has (PS3.4 CC.3.1)."""

WATCH = "1.2.840.10008.5.1.4.34.6.2"
"""UPS Watch: the SOP class of associations on which an SCU subscribes."""

PULL = "1.2.840.10008.5.1.4.34.6.3"
"""UPS Pull: the SOP class of associations on which a performer claims a UPS."""

EVENT = "1.2.840.10008.5.1.4.34.6.4"
"""UPS Event: the SOP class of associations on which the SCP reports."""

UPS_CLASSES = frozenset(f"1.2.840.10008.5.1.4.34.6.{number}" for number in range(1, 6))
"""UPS Push, Watch, Pull, Event and Query. Some SCUs send the class of the association."""

GLOBAL_SUBSCRIPTION = "1.2.840.10008.5.1.4.34.5"
"""Well-known SOP instance of a subscription to every UPS."""

FILTERED_GLOBAL_SUBSCRIPTION = "1.2.840.10008.5.1.4.34.5.1"
"""Well-known SOP instance of a subscription to every UPS that matches a filter."""

GLOBAL_INSTANCES = frozenset((GLOBAL_SUBSCRIPTION, FILTERED_GLOBAL_SUBSCRIPTION))


class ActionType(IntEnum):
    """The actions of a subscription (PS3.4 Table CC.2.3-1)."""

    SUBSCRIBE = 3
    UNSUBSCRIBE = 4
    SUSPEND = 5


class UPSStatus(IntEnum):
    """Statuses of the response to a subscription (PS3.4 Table CC.2.3-3, PS3.7 10.1.4.1.10).

    Examples
    --------
    >>> from fastdimse.ups import UPSStatus
    >>> UPSStatus(0xC307).meaning
    'the UPS does not exist or is not managed by this SCP'
    """

    SUCCESS = 0x0000
    NO_SUCH_ARGUMENT = 0x0114
    INVALID_ARGUMENT_VALUE = 0x0115
    NO_SUCH_SOP_CLASS = 0x0118
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORIZED = 0x0124
    DELETION_LOCK_NOT_GRANTED = 0xB301
    UNKNOWN_INSTANCE = 0xC307
    UNKNOWN_RECEIVING_AE = 0xC308
    ACTION_NOT_APPROPRIATE = 0xC314
    NO_EVENT_REPORTS = 0xC315

    @property
    def meaning(self) -> str:
        """The meaning of the Status, in words."""
        return _MEANINGS[self]


_MEANINGS = {
    UPSStatus.SUCCESS: "the subscription was changed",
    UPSStatus.NO_SUCH_ARGUMENT: "the Action Information lacks a required attribute",
    UPSStatus.INVALID_ARGUMENT_VALUE: "an attribute of the Action Information is not valid",
    UPSStatus.NO_SUCH_SOP_CLASS: "the Requested SOP Class is not a UPS SOP class",
    UPSStatus.NO_SUCH_ACTION: "the SCP does not support this action type",
    UPSStatus.NOT_AUTHORIZED: "the SCP does not authorize the subscription",
    UPSStatus.DELETION_LOCK_NOT_GRANTED: "subscribed, but the deletion lock was not granted",
    UPSStatus.UNKNOWN_INSTANCE: "the UPS does not exist or is not managed by this SCP",
    UPSStatus.UNKNOWN_RECEIVING_AE: "the SCP does not have the AE title of the receiver configured",
    UPSStatus.ACTION_NOT_APPROPRIATE: "the action is not appropriate for this SOP instance",
    UPSStatus.NO_EVENT_REPORTS: "the SCP does not support event reports",
}
