"""The class `Subscriptions`."""

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Container, Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias

from ._actions import Action, InvalidActionError, read_action
from ._attributes import Attributes, attributes_of
from ._database import Database
from ._matching import matches_attributes
from ._recipients import by_recipient
from ._reports import REQUIRED, Row, events_of_change, events_of_new, state_report
from ._standard import (
    FILTERED_GLOBAL_SUBSCRIPTION,
    GLOBAL_INSTANCES,
    GLOBAL_SUBSCRIPTION,
    ActionType,
    UPSStatus,
)

Authorize: TypeAlias = Callable[[str, str, str], bool]
"""Whether to authorize a subscription, from the calling and the receiving AE title and the UID."""

_LOG = logging.getLogger("fastdimse")


class Subscriptions:
    """The subscriptions to UPS events that an SCP has granted (PS3.4 CC.2.3).

    The list has the subscriptions of each AE title: to single UPS, to all UPS, or to all UPS that
    match a filter. The application provides the worklist itself. It passes N-ACTION requests to
    the list, reports new, changed and removed UPS, and passes events to :meth:`put`.

    The list is a SQLite database. A change is on disk before its Status is returned. Threads, and
    processes that open the same file, can use it at the same time.

    An AE title has at most one global subscription. A new one, with or without a filter, replaces
    it.

    Parameters
    ----------
    path : str or os.PathLike, optional
        The file. It is created if it does not exist. By default the list is in memory.
    receiving_aes : container of str, optional
        AE titles that can subscribe; others get Status C308H. By default all can.
    authorize : callable, optional
        Called with the calling AE title, the receiving AE title and the SOP Instance UID of each
        subscription. If it returns a false value, the Status is 0124H.
    deletion_locks : bool, default True
        Whether to grant deletion locks. If not, a subscription with a lock becomes one without,
        with Status B301H.
    filters : bool, default True
        Whether to accept subscriptions with a filter. If not, they get Status C307H.

    Raises
    ------
    SubscriptionsError
        If the file cannot be opened, is not a list of subscriptions, or is damaged.

    Examples
    --------
    >>> from pynetdicom.dimse_primitives import N_ACTION
    >>> from fastdimse.ups import GLOBAL_SUBSCRIPTION, Subscriptions
    >>> subscriptions = Subscriptions()
    >>> action = N_ACTION()
    >>> action.RequestedSOPClassUID = "1.2.840.10008.5.1.4.34.6.1"
    >>> action.RequestedSOPInstanceUID = GLOBAL_SUBSCRIPTION
    >>> action.ActionTypeID = 3
    >>> information = {"ReceivingAE": "CONSOLE", "DeletionLock": "FALSE"}
    >>> hex(subscriptions.apply(action, calling_ae="CONSOLE", attributes=information))
    '0x0'
    >>> step = {"ProcedureStepState": "SCHEDULED", "InputReadinessState": "READY"}
    >>> [event] = subscriptions.add_instance("1.2.3", step)
    >>> event["EventInformation"]["ProcedureStepState"]
    'SCHEDULED'
    >>> subscriptions.subscribers("1.2.3")
    ['CONSOLE']
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        receiving_aes: Container[str] | None = None,
        authorize: Authorize | None = None,
        deletion_locks: bool = True,
        filters: bool = True,
    ) -> None:
        self._receiving_aes = receiving_aes
        self._authorize = authorize
        self._grants_locks = deletion_locks
        self._accepts_filters = filters
        self._database = Database(path)
        self._initial_reports_lock = threading.Lock()

    # ---------------------------------------------------------------- requests

    def apply(self, action: Any, *, calling_ae: str, attributes: Any = None) -> int:
        """Change the subscriptions as an N-ACTION request describes, and return its Status.

        Parameters
        ----------
        action : N_ACTION
            The request: the primitive of pynetdicom or of fastdimse.
        calling_ae : str
            AE title of the requester. The receiver of the events is the Receiving AE of the
            request.
        attributes : Mapping or pydicom.Dataset, optional
            The Action Information. By default it is decoded from the request, in Implicit VR
            Little Endian.

        Returns
        -------
        int
            The Status of the response (PS3.4 Table CC.2.3-3):

            ===== ==================================================================
            0000H the subscriptions were changed
            B301H subscribed, but the deletion lock was not granted
            C307H the UPS was not added, or filters are not accepted
            C308H the Receiving AE is not one of `receiving_aes`
            C314H suspension of a subscription to a single UPS
            0114H Receiving AE, Deletion Lock or the matching keys are absent
            0115H an attribute has a value that is not valid
            0118H the Requested SOP Class is not a UPS SOP class
            0123H the action type is not 3, 4 or 5
            0124H `authorize` returned a false value
            ===== ==================================================================

        Raises
        ------
        SubscriptionsError
            If the subscriptions cannot be written.
        """
        try:
            request = read_action(action, attributes)
            return int(self._apply(request, calling_ae))
        except InvalidActionError as error:
            return int(error.status)

    def handle_pynetdicom(self, event: Any) -> tuple[int, None]:
        """Respond to a request that pynetdicom received: a handler of ``evt.EVT_N_ACTION``.

        Parameters
        ----------
        event : pynetdicom.events.Event
            The event.

        Returns
        -------
        tuple
            The Status of :meth:`apply`, and no Action Reply.
        """
        request = event.request
        try:
            # The property decodes the data set in its transfer syntax.
            information = event.action_information if request.ActionInformation else {}
        except Exception:
            information = _UNDECODABLE
        calling_ae = event.assoc.requestor.ae_title
        return self.apply(request, calling_ae=calling_ae, attributes=information), None

    def handle(self, received: Any) -> int:
        """Respond to a request that :func:`fastdimse.listen` received: an ``action_handler``.

        Parameters
        ----------
        received : fastdimse.ReceivedRequest
            The request.

        Returns
        -------
        int
            The Status of :meth:`apply`.
        """
        try:
            information = received.attributes or {}
        except Exception:
            information = _UNDECODABLE
        return self.apply(received.request, calling_ae=received.calling_ae, attributes=information)

    def _apply(self, action: Action, calling_ae: str) -> UPSStatus:
        if action.kind is ActionType.SUSPEND and not action.is_global:
            with self._database.read() as connection:
                self._require_instance(connection, action.uid)
            raise InvalidActionError(UPSStatus.ACTION_NOT_APPROPRIATE)
        if action.uid == FILTERED_GLOBAL_SUBSCRIPTION and not self._accepts_filters:
            raise InvalidActionError(UPSStatus.UNKNOWN_INSTANCE)
        if self._receiving_aes is not None and action.ae_title not in self._receiving_aes:
            raise InvalidActionError(UPSStatus.UNKNOWN_RECEIVING_AE)
        if self._authorize is not None and not self._authorize(
            calling_ae, action.ae_title, action.uid
        ):
            raise InvalidActionError(UPSStatus.NOT_AUTHORIZED)
        lock = action.lock and self._grants_locks
        with self._database.write() as connection:
            if not action.is_global:
                self._require_instance(connection, action.uid)
            if action.kind is ActionType.SUBSCRIBE:
                if action.is_global:
                    _subscribe_globally(connection, action, lock)
                else:
                    _subscribe(connection, action.uid, action.ae_title, lock)
                    _add_initial_report(connection, action.uid, action.ae_title)
            elif action.is_global:
                _end_global_subscription(connection, action)
            else:
                _unsubscribe(connection, action.uid, action.ae_title)
        if action.lock and not lock:
            return UPSStatus.DELETION_LOCK_NOT_GRANTED
        return UPSStatus.SUCCESS

    def _require_instance(self, connection: sqlite3.Connection, uid: str) -> None:
        if _attributes(connection, uid) is None:
            raise InvalidActionError(UPSStatus.UNKNOWN_INSTANCE)

    # --------------------------------------------------------------- worklist

    def add_instance(self, uid: str, attributes: Any) -> list[Row]:
        """Add a UPS of the worklist, and subscribe the AE titles with a global subscription.

        Parameters
        ----------
        uid : str
            SOP Instance UID of the UPS.
        attributes : Mapping or pydicom.Dataset
            Its attributes, for example those of the N-CREATE request. Procedure Step State and
            Input Readiness State are required; filters need the attributes of their matching keys.

        Returns
        -------
        list of dict
            The events that the standard requires for a new UPS (PS3.4 CC.2.4.3), for :meth:`put`:
            a UPS State Report, and a UPS Assigned if stations or performers are scheduled. Ignore
            them if the UPS is not new, for example after a restart of the application.

        Raises
        ------
        SubscriptionsError
            If the subscriptions cannot be written.
        ValueError
            If the UPS was already added, or a required attribute is absent.
        """
        given = _with_required(attributes_of(attributes))
        uid = str(uid)
        with self._database.write() as connection:
            if _attributes(connection, uid) is not None or uid in GLOBAL_INSTANCES:
                raise ValueError(f"UPS {uid} is already in the list")
            _write_attributes(connection, uid, given)
            for ae_title, lock in _matching_globals(connection, given):
                _subscribe(connection, uid, ae_title, lock)
        return events_of_new(uid, given)

    def change_instance(self, uid: str, attributes: Any) -> list[Row]:
        """Change attributes of a UPS, and subscribe AE titles whose filter it matches now.

        An AE title stays subscribed to a UPS that no longer matches its filter.

        Parameters
        ----------
        uid : str
            SOP Instance UID of the UPS.
        attributes : Mapping or pydicom.Dataset
            The attributes that change, for example those of the N-SET request. The value ``None``
            removes an attribute.

        Returns
        -------
        list of dict
            The events that the standard requires for this change (PS3.4 CC.2.4.3), for
            :meth:`put`: UPS State Report, UPS Assigned and UPS Progress Report.

        Raises
        ------
        KeyError
            If the UPS was not added.
        SubscriptionsError
            If the subscriptions cannot be written.
        """
        uid = str(uid)
        removed = _keywords_of_none(attributes)
        changed = attributes_of(attributes)
        with self._database.write() as connection:
            before = _attributes(connection, uid)
            if before is None:
                raise KeyError(f"UPS {uid} is not in the list")
            kept = {keyword: before[keyword] for keyword in before if keyword not in removed}
            after = _with_required({**kept, **changed})
            _write_attributes(connection, uid, after)
            matched = dict(_matching_globals(connection, before))
            subscribed = {row[0] for row in _states(connection, uid)}
            for ae_title, lock in _matching_globals(connection, after):
                if ae_title not in matched and ae_title not in subscribed:
                    _subscribe(connection, uid, ae_title, lock)
                    _add_initial_report(connection, uid, ae_title)
        return events_of_change(uid, before, after)

    def remove_instance(self, uid: str) -> None:
        """Remove a UPS and the subscriptions to it.

        Parameters
        ----------
        uid : str
            SOP Instance UID of the UPS.

        Raises
        ------
        KeyError
            If the UPS was not added.
        SubscriptionsError
            If the subscriptions cannot be written.
        ValueError
            If the UPS has a deletion lock: it must be kept until the lock is removed (PS3.4
            CC.2.1.3).
        """
        uid = str(uid)
        with self._database.write() as connection:
            if _attributes(connection, uid) is None:
                raise KeyError(f"UPS {uid} is not in the list")
            locks = [ae_title for ae_title, lock in _states(connection, uid) if lock]
            if locks:
                raise ValueError(f"UPS {uid} has deletion locks of {', '.join(locks)}")
            for table in ("instances", "subscriptions", "initial_reports"):
                connection.execute(f"DELETE FROM {table} WHERE uid = ?", (uid,))

    def __contains__(self, uid: object) -> bool:
        """Return whether a UPS was added."""
        with self._database.read() as connection:
            return _attributes(connection, str(uid)) is not None

    def deletion_locked(self, uid: str) -> bool:
        """Return whether a UPS has a deletion lock, so that the SCP must not delete it.

        Parameters
        ----------
        uid : str
            SOP Instance UID of the UPS.
        """
        with self._database.read() as connection:
            return any(lock for _, lock in _states(connection, str(uid)))

    def remove_deletion_locks(self, ae_title: str) -> None:
        """Remove all deletion locks of an AE title, which stays subscribed.

        An SCP may do so if the AE does not remove its locks itself (PS3.4 CC.2.3.3).

        Parameters
        ----------
        ae_title : str
            AE title of the receiver of the events.
        """
        with self._database.write() as connection:
            connection.execute(
                "UPDATE subscriptions SET lock = 0, checksum = checksum(uid, ae_title, 0) "
                "WHERE ae_title = ? AND lock",
                (ae_title,),
            )
            connection.execute(
                "UPDATE global_subscriptions SET lock = 0, "
                "checksum = checksum(ae_title, 0, filter) WHERE ae_title = ? AND lock",
                (ae_title,),
            )

    # ----------------------------------------------------------------- events

    def subscribers(self, uid: str, attributes: Any = None) -> list[str]:
        """Return the AE titles that receive the events of a UPS, in alphabetical order.

        Parameters
        ----------
        uid : str
            SOP Instance UID of the UPS. With :data:`GLOBAL_SUBSCRIPTION`, the AE titles with any
            subscription are returned: these receive an SCP Status Change.
        attributes : Mapping or pydicom.Dataset, optional
            Attributes of a UPS that was not added: the AE titles are returned whose global
            subscription it matches.
        """
        uid = str(uid)
        with self._database.read() as connection:
            if uid in GLOBAL_INSTANCES:
                query = (
                    "SELECT ae_title FROM global_subscriptions "
                    "UNION SELECT ae_title FROM subscriptions ORDER BY 1"
                )
                return [row[0] for row in connection.execute(query)]
            if attributes is not None and _attributes(connection, uid) is None:
                given = attributes_of(attributes)
                return [ae_title for ae_title, _ in _matching_globals(connection, given)]
            return [ae_title for ae_title, _ in _states(connection, uid)]

    def put(self, delivery: Any, events: Any = (), **options: Any) -> dict[str, int]:
        """Give events to a delivery, each for the subscribers of its UPS.

        Before that, the initial UPS State Reports are put that new subscriptions require. Call
        this method after each request, and after each change of the worklist.

        Parameters
        ----------
        delivery : fastdimse.Delivery
            The delivery. It must have a peer for each AE title: a warning of the logger
            ``fastdimse`` names AE titles without a peer, and their events are not put.
        events : Arrow table, mapping, or iterable of mappings
            The events: a row, rows, or columns, as the functions of :mod:`fastdimse.events`
            return. The subscribers are those of the Affected SOP Instance UID; an SCP Status
            Change for :data:`GLOBAL_SUBSCRIPTION` is put for every AE title with a subscription.
        **options
            Other arguments of :meth:`fastdimse.Delivery.put`.

        Returns
        -------
        dict of str to int
            The number of events that were put for each AE title.

        Raises
        ------
        SubscriptionsError
            If the subscriptions cannot be read or written.
        OutboxError, DeliveryError, RuntimeError, ColumnError, TypeError, ValueError
            Same as :meth:`fastdimse.Delivery.put`.
        """
        with self._initial_reports_lock:
            due = self._initial_reports()
            counts = _put(delivery, {title: (rows, len(rows)) for title, rows in due.items()}, {})
            self._remove_initial_reports(due)
        for ae_title, count in _put(
            delivery, by_recipient(events, self.subscribers), options
        ).items():
            counts[ae_title] = counts.get(ae_title, 0) + count
        return counts

    def _initial_reports(self) -> dict[str, list[Row]]:
        """Return the initial UPS State Reports that are due, by AE title."""
        due: dict[str, list[Row]] = {}
        with self._database.read() as connection:
            query = (
                "SELECT ae_title, uid, attributes FROM initial_reports JOIN instances USING (uid)"
            )
            for ae_title, uid, attributes in connection.execute(query):
                row = state_report(uid, json.loads(attributes))
                due.setdefault(ae_title, []).append(row)
        return due

    def _remove_initial_reports(self, reports: dict[str, list[Row]]) -> None:
        if not reports:
            return
        with self._database.write() as connection:
            connection.executemany(
                "DELETE FROM initial_reports WHERE ae_title = ? AND uid = ?",
                (
                    (ae_title, row["AffectedSOPInstanceUID"])
                    for ae_title, rows in reports.items()
                    for row in rows
                ),
            )

    # -------------------------------------------------------------------- all

    def to_pydict(self) -> dict[str, list[Any]]:
        """Return all subscriptions as columns.

        Returns
        -------
        dict of str to list
            *ReceivingAE*; *SOPInstanceUID*, that of a UPS or of a global subscription;
            *DeletionLock*, a bool; and *Filter*, the matching keys of a filtered global
            subscription, or ``None``.
        """
        query = """
            SELECT ae_title, CASE WHEN filter IS NULL THEN ? ELSE ? END, lock, filter
            FROM global_subscriptions
            UNION ALL SELECT ae_title, uid, lock, NULL FROM subscriptions ORDER BY 1, 2
        """
        with self._database.read() as connection:
            rows = connection.execute(
                query, (GLOBAL_SUBSCRIPTION, FILTERED_GLOBAL_SUBSCRIPTION)
            ).fetchall()
        return {
            "ReceivingAE": [row[0] for row in rows],
            "SOPInstanceUID": [row[1] for row in rows],
            "DeletionLock": [bool(row[2]) for row in rows],
            "Filter": [None if row[3] is None else json.loads(row[3]) for row in rows],
        }

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        """Return the list."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


# The Action Information of a request that cannot be decoded: not a data set.
_UNDECODABLE = object()


def _keywords_of_none(attributes: Any) -> set[str]:
    if not isinstance(attributes, Mapping):
        return {one.keyword for one in attributes if one.is_empty}
    return {keyword for keyword, value in attributes.items() if value is None}


def _with_required(attributes: Attributes) -> Attributes:
    for keyword in REQUIRED:
        if not attributes.get(keyword):
            raise ValueError(f"a UPS must have a value for {keyword}")
    return attributes


def _attributes(connection: sqlite3.Connection, uid: str) -> Attributes | None:
    """Return the attributes of a UPS, or None if it is not in the list."""
    query = "SELECT attributes FROM instances WHERE uid = ?"
    found = connection.execute(query, (uid,)).fetchone()
    return None if found is None else json.loads(found[0])


def _write_attributes(connection: sqlite3.Connection, uid: str, attributes: Attributes) -> None:
    text = json.dumps(attributes)
    connection.execute(
        "INSERT OR REPLACE INTO instances VALUES (?1, ?2, checksum(?1, ?2))", (uid, text)
    )


def _states(connection: sqlite3.Connection, uid: str) -> list[tuple[str, bool]]:
    """Return the AE titles that are subscribed to a UPS, and whether they have a lock."""
    query = "SELECT ae_title, lock FROM subscriptions WHERE uid = ? ORDER BY 1"
    return [(ae_title, bool(lock)) for ae_title, lock in connection.execute(query, (uid,))]


def _matching_globals(
    connection: sqlite3.Connection, attributes: Attributes
) -> list[tuple[str, bool]]:
    """Return the AE titles whose global subscription includes a UPS, and whether with a lock."""
    query = "SELECT ae_title, lock, filter FROM global_subscriptions ORDER BY 1"
    return [
        (ae_title, bool(lock))
        for ae_title, lock, keys in connection.execute(query)
        if keys is None or matches_attributes(json.loads(keys), attributes)
    ]


# The transitions of PS3.4 Table CC.2.3-2.


def _subscribe(connection: sqlite3.Connection, uid: str, ae_title: str, lock: bool) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO subscriptions VALUES (?1, ?2, ?3, checksum(?1, ?2, ?3))",
        (uid, ae_title, int(lock)),
    )


def _unsubscribe(connection: sqlite3.Connection, uid: str, ae_title: str) -> None:
    for table in ("subscriptions", "initial_reports"):
        connection.execute(f"DELETE FROM {table} WHERE uid = ? AND ae_title = ?", (uid, ae_title))


def _subscribe_globally(connection: sqlite3.Connection, action: Action, lock: bool) -> None:
    keys = None if action.keys is None else json.dumps(action.keys)
    connection.execute(
        "INSERT OR REPLACE INTO global_subscriptions VALUES (?1, ?2, ?3, checksum(?1, ?2, ?3))",
        (action.ae_title, int(lock), keys),
    )
    query = """
        SELECT uid, attributes FROM instances
        WHERE uid NOT IN (SELECT uid FROM subscriptions WHERE ae_title = ?)
    """
    for uid, attributes in connection.execute(query, (action.ae_title,)).fetchall():
        if action.keys is None or matches_attributes(action.keys, json.loads(attributes)):
            _subscribe(connection, uid, action.ae_title, lock)
            if lock:
                _add_initial_report(connection, uid, action.ae_title)


def _end_global_subscription(connection: sqlite3.Connection, action: Action) -> None:
    tables = ["global_subscriptions"]
    if action.kind is ActionType.UNSUBSCRIBE:
        tables += ["subscriptions", "initial_reports"]
    for table in tables:
        connection.execute(f"DELETE FROM {table} WHERE ae_title = ?", (action.ae_title,))


def _add_initial_report(connection: sqlite3.Connection, uid: str, ae_title: str) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO initial_reports VALUES (?1, ?2, checksum(?1, ?2))",
        (uid, ae_title),
    )


def _put(
    delivery: Any, events: dict[str, tuple[Any, int]], options: dict[str, Any]
) -> dict[str, int]:
    """Put events for the AE titles that are peers of a delivery."""
    counts = {}
    for ae_title, (some, count) in events.items():
        try:
            peer = delivery.find_peer(ae_title)
        except ValueError as error:
            _LOG.warning("%d UPS events for %s were not put: %s", count, ae_title, error)
            continue
        delivery.put(some, peer=peer, **options)
        counts[ae_title] = count
    return counts
