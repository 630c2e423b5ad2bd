"""Requests of an SCU to subscribe, unsubscribe and suspend (PS3.4 CC.2.3.2)."""

from collections.abc import Mapping
from typing import Any, NoReturn

from fastdimse import Association, Peer
from fastdimse._role import check_scu

from ._attributes import IMPLICIT_VR
from ._encoding import encode_keys
from ._errors import UPSError
from ._standard import (
    FILTERED_GLOBAL_SUBSCRIPTION,
    GLOBAL_SUBSCRIPTION,
    PULL,
    PUSH,
    WATCH,
    ActionType,
    UPSStatus,
)


def subscribe(
    peer: Peer | Association,
    uid: str | None = None,
    *,
    filter: Mapping[str, Any] | None = None,
    deletion_lock: bool = False,
    receiving_ae: str | None = None,
) -> UPSStatus:
    """Subscribe to the events of one UPS, of all UPS, or of all UPS that match a filter.

    The SCP sends the events on associations that it opens to the receiver. Listen before
    subscribing: the first events can arrive before this function returns.

    Parameters
    ----------
    peer : Peer or Association
        The SCP. A `Peer` must have the role ``"scu"`` or ``"both"`` and the SOP class
        :data:`WATCH`; an association is opened and released.
    uid : str, optional
        SOP Instance UID of the UPS. By default all present and future UPS.
    filter : Mapping, optional
        Matching keys, as for C-FIND: attributes by keyword, with wild cards and ranges. Only
        present and future UPS that match are included.
    deletion_lock : bool, default False
        Whether to request that the SCP keeps each UPS until this subscription ends. The watcher
        must then unsubscribe when it has read the final state of a UPS.
    receiving_ae : str, optional
        AE title of the receiver of the events. Required for an association; otherwise the default
        is the calling AE title of the peer.

    Returns
    -------
    UPSStatus
        ``SUCCESS``, or ``DELETION_LOCK_NOT_GRANTED``: subscribed without a lock.

    Raises
    ------
    AssociationError
        If no association can be opened.
    UPSError
        If the SCP refuses the subscription or sends no response, or the request cannot be encoded.
    ValueError
        If both `uid` and `filter` are given, `receiving_ae` is missing, or `peer` has the role
        ``"scp"``.
    """
    if filter is not None and uid is not None:
        raise ValueError("uid and filter must not be given together")
    if filter is not None and not filter:
        raise ValueError("filter must have at least one matching key")
    information = {**(filter or {}), "DeletionLock": "TRUE" if deletion_lock else "FALSE"}
    default = GLOBAL_SUBSCRIPTION if filter is None else FILTERED_GLOBAL_SUBSCRIPTION
    return _request(peer, ActionType.SUBSCRIBE, uid or default, information, receiving_ae)


def unsubscribe(
    peer: Peer | Association, uid: str | None = None, *, receiving_ae: str | None = None
) -> UPSStatus:
    """End the subscription to one UPS, or all subscriptions of an AE title.

    Parameters
    ----------
    peer : Peer or Association
        Same as for :func:`subscribe`.
    uid : str, optional
        SOP Instance UID of the UPS. By default the global subscription, with or without a filter,
        and the subscriptions to all UPS end.
    receiving_ae : str, optional
        Same as for :func:`subscribe`.

    Returns
    -------
    UPSStatus
        ``SUCCESS``.

    Raises
    ------
    AssociationError, UPSError, ValueError
        Same as :func:`subscribe`.
    """
    return _request(peer, ActionType.UNSUBSCRIBE, uid or GLOBAL_SUBSCRIPTION, {}, receiving_ae)


def suspend(peer: Peer | Association, *, receiving_ae: str | None = None) -> UPSStatus:
    """End the global subscription of an AE title, and keep its subscriptions to present UPS.

    Parameters
    ----------
    peer : Peer or Association
        Same as for :func:`subscribe`.
    receiving_ae : str, optional
        Same as for :func:`subscribe`.

    Returns
    -------
    UPSStatus
        ``SUCCESS``.

    Raises
    ------
    AssociationError, UPSError, ValueError
        Same as :func:`subscribe`.
    """
    return _request(peer, ActionType.SUSPEND, GLOBAL_SUBSCRIPTION, {}, receiving_ae)


def _request(
    peer: Peer | Association,
    kind: ActionType,
    uid: str,
    information: Mapping[str, Any],
    receiving_ae: str | None,
) -> UPSStatus:
    if isinstance(peer, Peer):
        check_scu(peer)
        with peer.connect() as association:
            receiver = peer.calling_ae if receiving_ae is None else receiving_ae
            return _request(association, kind, uid, information, receiver)
    if receiving_ae is None:
        raise ValueError("receiving_ae is required for requests on an association")
    transfer_syntax = _transfer_syntax(peer)
    attributes = {**information, "ReceivingAE": receiving_ae}
    action = {
        "RequestedSOPClassUID": PUSH,
        "RequestedSOPInstanceUID": uid,
        "ActionTypeID": int(kind),
        "ActionInformation": attributes
        if uid != FILTERED_GLOBAL_SUBSCRIPTION
        else encode_keys(attributes, transfer_syntax),
    }
    outcome = peer.request([action], transfer_syntax=transfer_syntax).to_pydict()
    [status], [reason] = outcome["Status"], outcome["Reason"]
    if status is None:
        raise UPSError(f"the request failed: {reason}", None)
    # A Status of another service is reported with its code.
    if status not in set(UPSStatus):
        _raise(status, outcome["StatusName"][0])
    found = UPSStatus(status)
    if found not in (UPSStatus.SUCCESS, UPSStatus.DELETION_LOCK_NOT_GRANTED):
        _raise(status, f"0x{status:04X} {found.meaning}")
    return found


def _transfer_syntax(association: Association) -> str:
    """Return the transfer syntax of the presentation context for actions of UPS."""
    accepted = association.transfer_syntaxes
    return next((accepted[uid] for uid in (WATCH, PUSH, PULL) if uid in accepted), IMPLICIT_VR)


def _raise(status: int, description: str) -> NoReturn:
    raise UPSError(f"the SCP refused the request: {description}", status)
