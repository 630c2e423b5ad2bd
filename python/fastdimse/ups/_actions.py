"""Reads and checks the N-ACTION request of a subscription (PS3.4 CC.2.3.1)."""

from typing import Any, NamedTuple

from ._attributes import IMPLICIT_VR, Attributes, attributes_of, decoded
from ._matching import check_keys, filter_of, matching_keys
from ._standard import (
    FILTERED_GLOBAL_SUBSCRIPTION,
    GLOBAL_INSTANCES,
    UPS_CLASSES,
    ActionType,
    UPSStatus,
)


class InvalidActionError(Exception):
    """The Status of the response to a request that changes nothing."""

    def __init__(self, status: UPSStatus) -> None:
        super().__init__(status.meaning)
        self.status = status


class Action(NamedTuple):
    """A request to change the subscriptions of an AE.

    Attributes
    ----------
    kind : ActionType
        What to do.
    uid : str
        SOP Instance UID of the UPS, or of a global subscription.
    ae_title : str
        AE title of the receiver of the events.
    lock : bool
        Whether a deletion lock is requested.
    keys : dict or None
        The matching keys of a filtered global subscription.
    """

    kind: ActionType
    uid: str
    ae_title: str
    lock: bool
    keys: Attributes | None

    @property
    def is_global(self) -> bool:
        """Whether the action concerns all UPS."""
        return self.uid in GLOBAL_INSTANCES


def read_action(request: Any, information: Any) -> Action:
    """Return the action that a request describes.

    Parameters
    ----------
    request : N_ACTION
        The request: the primitive of pynetdicom or of fastdimse.
    information : Mapping, pydicom.Dataset or None
        The Action Information, if it is decoded already.

    Raises
    ------
    InvalidActionError
        If the request is not valid.
    """
    if str(request.RequestedSOPClassUID) not in UPS_CLASSES:
        raise InvalidActionError(UPSStatus.NO_SUCH_SOP_CLASS)
    try:
        kind = ActionType(request.ActionTypeID)
    except ValueError:
        raise InvalidActionError(UPSStatus.NO_SUCH_ACTION) from None
    uid = str(request.RequestedSOPInstanceUID)
    attributes = _information(request, information)
    ae_title = _ae_title(_required(attributes, "ReceivingAE"))
    lock, keys = False, None
    if kind is ActionType.SUBSCRIBE:
        lock = _lock(_required(attributes, "DeletionLock"))
        if uid == FILTERED_GLOBAL_SUBSCRIPTION:
            keys = _keys(attributes)
    return Action(kind, uid, ae_title, lock, keys)


def _information(request: Any, information: Any) -> Attributes:
    try:
        if information is not None:
            return attributes_of(information)
        if request.ActionInformation is None:
            return {}
        return decoded(request.ActionInformation, IMPLICIT_VR)
    except Exception:
        # pydicom raises many types of exceptions for a data set that cannot be decoded.
        raise InvalidActionError(UPSStatus.INVALID_ARGUMENT_VALUE) from None


def _required(attributes: Attributes, keyword: str) -> Any:
    if keyword not in attributes:
        raise InvalidActionError(UPSStatus.NO_SUCH_ARGUMENT)
    return attributes[keyword]


def _ae_title(value: Any) -> str:
    """Return an AE title without padding (PS3.5 6.2)."""
    title = value.strip(" ") if isinstance(value, str) else ""
    is_valid = 0 < len(title) <= 16 and title.isascii() and title.isprintable()
    if not is_valid or "\\" in title:
        raise InvalidActionError(UPSStatus.INVALID_ARGUMENT_VALUE)
    return title


def _lock(value: Any) -> bool:
    text = value.strip(" ") if isinstance(value, str) else value
    if text not in ("TRUE", "FALSE"):
        raise InvalidActionError(UPSStatus.INVALID_ARGUMENT_VALUE)
    return bool(text == "TRUE")


def _keys(attributes: Attributes) -> Attributes:
    # Without keys, a query has no matches (PS3.4 CC.2.8.3.1).
    if not matching_keys(attributes):
        raise InvalidActionError(UPSStatus.NO_SUCH_ARGUMENT)
    keys = filter_of(attributes)
    try:
        check_keys(keys)
    except (TypeError, ValueError):
        raise InvalidActionError(UPSStatus.INVALID_ARGUMENT_VALUE) from None
    return keys
