"""The SCP: responds to requests, looks the instances up, and reports."""

import json
import logging
import operator
import os
import queue
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, NamedTuple, Self

from fastdimse._core import Listener, Peer, describe_status, listen, status_category
from fastdimse._delivery import Delivery, Progress

from ._failure_reasons import NO_SUCH_INSTANCE, PROCESSING_FAILURE
from ._information import information_of
from ._peers import load_peers
from ._references import SOP_CLASS, SOP_INSTANCE
from ._standard import (
    EVENT_TYPES,
    REQUEST_ACTION,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STATUS_INVALID_ARGUMENT,
    STATUS_NO_SUCH_ACTION,
    STATUS_NO_SUCH_ARGUMENT,
    STATUS_NO_SUCH_CLASS,
    STATUS_NO_SUCH_INSTANCE,
    STATUS_NOT_AUTHORIZED,
    SUCCESS,
)
from ._transactions import Transaction, Transactions

Lookup = Callable[[Mapping[str, Sequence[Any]]], Any]
"""Returns the result of each reference."""

log = logging.getLogger("fastdimse.storage_commitment")

# UIDs, each with a backslash after it.
_UIDS = re.compile(r"(?:[0-9.]{1,64}\\)+")
# References to look up in one call, if requests arrive faster than they are looked up.
_REFERENCES_AT_ONCE = 10_000
# Seconds to wait for further requests, if several arrived at the last time.
_BUSY_DELAY = 0.01
# Seconds between attempts to put a report in the outbox, and to delete old transactions.
_RETRY_INTERVAL = 10.0
# Seconds after which an association without a request receives the open results of its requester.
_REQUEST_DELAY = 1.0
# Seconds between two reads of the number of open transactions.
_WAIT_INTERVAL = 0.02
# Seconds between attempts to reach a peer that refused the association.
_REFUSED_INTERVAL = 300.0
_NANOSECONDS = 1_000_000_000

_ROLE_ADVICE = (
    "; the requester must accept this role to receive reports. If it is Orthanc: add the AE title, "
    "host and port of this provider to its DicomModalities"
)


class _Request(NamedTuple):
    """A transaction, and the association on which it can be reported."""

    transaction: Transaction
    association: Any = None


class _Associated(NamedTuple):
    """A requester that has an association again."""

    calling_ae: str
    association: Any


class _SentReports(NamedTuple):
    """Reports that were sent on an association, and the future of their outcomes."""

    transactions: list[Transaction]
    outcomes: Any


class CommitmentProvider:
    """An SCP of storage commitment, made by :func:`provide`.

    As a context manager, it closes at the end of the block.

    Attributes
    ----------
    port : int
        The TCP port.
    """

    def __init__(
        self,
        lookup: Lookup,
        peers: Mapping[str, Peer],
        database: str | os.PathLike[str] | None,
        *,
        same_association: bool,
        retrieve_ae_title: str | None,
        sync: bool,
        forget_after: float | None,
        longest_delay: float,
    ) -> None:
        self._lookup = lookup
        self._peers = peers
        self._same_association = same_association
        self._retrieve_ae_title = retrieve_ae_title
        self._forget_after = forget_after
        self._listener: Listener | None = None
        self._is_closed = False
        self._work: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._is_busy = False
        self._failed: list[Any] = []
        self._last_refused = time.monotonic()
        # Reports without a peer, or that the outbox did not accept, by AE title of the requester.
        self._waiting: dict[str, dict[int, Transaction]] = defaultdict(dict)
        # Those that the current step has taken from there.
        self._taken: list[tuple[str, dict[int, Transaction]]] = []
        # Held while reports are put in the outbox and their numbers are recorded.
        self._putting = threading.Lock()
        self._worker = threading.Thread(
            target=self._run, name="fastdimse-storage-commitment", daemon=True
        )
        self._transactions = Transactions(database, sync=sync)
        try:
            # Locks the outbox, so that two processes do not report the same transactions.
            self._delivery = Delivery(
                {peer.name: peer for peer in peers.values()}.values(),
                outbox=None if database is None else f"{os.fsdecode(database)}.outbox",
                longest_delay=longest_delay,
                on_outcomes=self._on_delivered,
            )
        except BaseException:
            self._transactions.close()
            raise

    @property
    def port(self) -> int:
        """The TCP port."""
        assert self._listener is not None
        return self._listener.port

    def start(self, port: int, **listen_options: Any) -> None:
        """Look up and report what an earlier run left, and begin to listen."""
        in_outbox: set[int] = set()
        for peer in self._delivery.peers:
            in_outbox.update(self._delivery.outcomes(peer)["Event"])
        for one in self._transactions.open():
            if one.event not in in_outbox:
                one = one._replace(event=None)
            self._work.put(_Request(one))
        self._listener = listen(
            port,
            action_handler=self._on_action,
            association_handler=self._on_association if self._same_association else None,
            **listen_options,
        )
        self._worker.start()

    def transactions(self) -> dict[str, list[Any]]:
        """Return the state of each transaction, as columns.

        Returns
        -------
        dict of str to list
            *TransactionUID*; *State*: ``received``, ``looked up``, ``queued`` (the report is in the
            outbox), ``reported``, or ``not reported``; *CallingAE*, *CalledAE* and *Address* of the
            request; *Instances*, *Committed* and *Failed*, which are numbers; *Received* and
            *Reported*, in nanoseconds since 1970-01-01 UTC; *Status* and *StatusName* of the
            response to the report; *Reason* of a report without a response.
        """
        columns = self._transactions.columns()
        failures = {one.peer.name: one.failure for one in self._delivery.progress()}
        reasons = columns["Reason"]
        for row, (state, calling_ae) in enumerate(
            zip(columns["State"], columns["CallingAE"], strict=True)
        ):
            peer = self._peers.get(calling_ae)
            if state == "queued" and peer is not None:
                reasons[row] = _with_advice(failures.get(peer.name))
            elif state == "looked up" and peer is None:
                reasons[row] = "the requester is not in the peers, and has no association"
        return columns

    def progress(self) -> list[Progress]:
        """Return the progress of the delivery of reports to each peer."""
        return self._delivery.progress()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all transactions are reported.

        Parameters
        ----------
        timeout : float, optional
            Maximum time to wait, in seconds. By default there is no limit.

        Returns
        -------
        bool
            ``False`` if transactions are still open after `timeout`.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self._transactions.count_open():
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(_WAIT_INTERVAL)
        return True

    def close(self) -> None:
        """Stop, and wait for the responses to reports.

        Transactions that are not reported remain in the files for the next run.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._listener is not None:
            self._listener.close()
        if self._worker.is_alive():
            self._work.put(None)
            self._worker.join()
        self._delivery.close()
        self._transactions.close()

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    # ------------------------------------------------------------------ requests

    def _on_action(self, received: Any) -> int:
        """Store a request, and return the Status of its response (PS3.7 10.1.4.1.10)."""
        action = received.request
        if action.RequestedSOPClassUID != SOP_CLASS_UID:
            return STATUS_NO_SUCH_CLASS
        if action.RequestedSOPInstanceUID != SOP_INSTANCE_UID:
            return STATUS_NO_SUCH_INSTANCE
        if action.ActionTypeID != REQUEST_ACTION:
            return STATUS_NO_SUCH_ACTION
        calling_ae = received.calling_ae
        if not self._same_association and calling_ae not in self._peers:
            log.warning("%s is not in the peers: its request is refused", calling_ae)
            return STATUS_NOT_AUTHORIZED
        information = information_of(received, action.ActionInformation)
        transaction_uid = information.get("TransactionUID")
        items = information.get("ReferencedSOPSequence")
        if not transaction_uid or not items:
            return STATUS_NO_SUCH_ARGUMENT
        pairs = [(item.get(SOP_CLASS), item.get(SOP_INSTANCE)) for item in items]
        uids = [transaction_uid, *chain.from_iterable(pairs), ""]
        if not all(isinstance(uid, str) for uid in uids) or not _UIDS.fullmatch("\\".join(uids)):
            return STATUS_INVALID_ARGUMENT
        titles = calling_ae, received.called_ae
        address = ":".join(map(str, received.address))
        association = received.association if self._same_association else None
        transaction = self._transactions.add(transaction_uid, titles, address, pairs)
        if transaction is not None:
            self._work.put(_Request(transaction, association))
        else:
            log.info("%s: the request %s is already open", calling_ae, transaction_uid)
            if association is not None:
                self._work.put(_Associated(calling_ae, association))
        return SUCCESS

    def _on_association(self, association: Any) -> None:
        """Report open results on an association that the requester opens later (PS3.4 J.3.3).

        A requester that requests at once gets them after the response: many requesters cannot
        receive a report while they wait for a response.
        """
        if association.calling_ae in self._waiting:
            item = _Associated(association.calling_ae, association)
            timer = threading.Timer(_REQUEST_DELAY, self._work.put, [item])
            timer.daemon = True
            timer.start()

    # ------------------------------------------------------------------ the worker

    def _run(self) -> None:
        last = time.monotonic()
        while (items := self._next_items()) is not None:
            if not self._succeeds(f"{len(items)} steps", self._handle, items):
                self._failed += items
            if time.monotonic() > last + _RETRY_INTERVAL:
                last = time.monotonic()
                self._succeeds("the periodic steps", self._retry)

    def _succeeds(self, what: str, step: Callable[..., None], *arguments: Any) -> bool:
        """Run a step, and return whether it succeeds. Otherwise its reports wait again."""
        self._taken = []
        try:
            step(*arguments)
        except Exception:
            log.exception("%s failed, and are repeated", what)
            for ae_title, transactions in self._taken:
                self._waiting[ae_title] |= transactions
            return False
        return True

    def _take_waiting(self, ae_title: str) -> Iterable[Transaction]:
        """Take the reports that wait for a requester. They wait again if the step fails."""
        transactions = self._waiting.pop(ae_title, {})
        self._taken.append((ae_title, transactions))
        return transactions.values()

    def _next_items(self) -> list[Any] | None:
        """Wait for work, and return what has arrived; None at the end."""
        items: list[Any] = []
        requests = references = 0
        try:
            item = self._work.get(timeout=_RETRY_INTERVAL)
            if self._is_busy:
                # Many requests in one lookup, write and report cost less than each alone.
                time.sleep(_BUSY_DELAY)
            while item is not None:
                items.append(item)
                if isinstance(item, _Request):
                    requests += 1
                    references += len(item.transaction.instances)
                    if references >= _REFERENCES_AT_ONCE:
                        break
                item = self._work.get_nowait()
        except queue.Empty:
            pass
        else:
            if item is None:
                if not items:
                    return None
                self._work.put(None)
        self._is_busy = requests > 1
        return items

    def _handle(self, items: Iterable[Any]) -> None:
        requests = []
        reported: list[tuple[Transaction, int]] = []
        for item in items:
            if isinstance(item, _Request):
                requests.append(item)
            elif isinstance(item, _Associated):
                waiting = self._take_waiting(item.calling_ae)
                requests += [_Request(one, item.association) for one in waiting]
            else:
                reported += self._outcomes_of(item)
        if reported:
            self._transactions.set_reported(reported)
        if requests:
            self._report(self._looked_up(requests))

    def _looked_up(self, requests: Iterable[_Request]) -> list[_Request]:
        """Return the requests with results."""
        new = [one.transaction for one in requests if one.transaction.results is None]
        results = dict(zip((one.id for one in new), self._results(new), strict=True))
        found = []
        for request in requests:
            one = request.transaction
            if one.id in results:
                request = request._replace(transaction=one._replace(results=results[one.id]))
            found.append(request)
        return found

    def _results(self, transactions: list[Transaction]) -> Iterator[list[int]]:
        if not transactions:
            return
        try:
            flat = self._call_lookup(transactions)
        except BaseException:
            # Also SystemExit: the thread must not end, since requests are still answered.
            if len(transactions) > 1:
                # The request that the lookup cannot handle must not fail those of others.
                for one in transactions:
                    yield from self._results([one])
                return
            [one] = transactions
            log.exception(
                "%s: the lookup for %s failed: its instances get Processing failure",
                one.calling_ae,
                one.transaction_uid,
            )
            flat = [PROCESSING_FAILURE] * len(one.instances)
        at = 0
        for one in transactions:
            yield flat[at : at + len(one.instances)]
            at += len(one.instances)

    def _call_lookup(self, transactions: Sequence[Transaction]) -> list[int]:
        """Look up the instances of transactions, and return a Failure Reason or 0 for each."""
        columns: dict[str, list[str]] = {
            name: [] for name in ("TransactionUID", "CallingAE", SOP_CLASS, SOP_INSTANCE)
        }
        for one in transactions:
            count = len(one.instances)
            columns["TransactionUID"] += [one.transaction_uid] * count
            columns["CallingAE"] += [one.calling_ae] * count
            columns[SOP_CLASS] += [sop_class for sop_class, _ in one.instances]
            columns[SOP_INSTANCE] += [instance for _, instance in one.instances]
        found = self._lookup(columns)
        for method in ("to_pylist", "to_list", "tolist"):
            if hasattr(found, method):
                found = getattr(found, method)()
                break
        results = list(map(_result, found))
        if len(results) != len(columns[SOP_INSTANCE]):
            raise ValueError(
                f"lookup returned {len(results)} results for {len(columns[SOP_INSTANCE])} instances"
            )
        return results

    # ------------------------------------------------------------------ reports

    def _report(self, requests: Iterable[_Request]) -> None:
        """Report on open associations, and put the other reports in the outbox."""
        on_association: dict[int, tuple[Any, list[Transaction]]] = {}
        of_requester: dict[str, list[Transaction]] = {}
        without = []
        for request in requests:
            one, association = request.transaction, request.association
            if association is None or not association.is_open:
                without.append(one)
                continue
            _, group = on_association.setdefault(association.number, (association, []))
            group.append(one)
            of_requester[one.calling_ae] = group
        # Results that have waited for an association of the requester.
        for ae_title, group in of_requester.items():
            group += self._take_waiting(ae_title)
        others = []
        for one in without:
            if one.calling_ae in of_requester and one.calling_ae not in self._peers:
                of_requester[one.calling_ae].append(one)
            else:
                others.append(one)
        for association, transactions in on_association.values():
            try:
                future = association.report(
                    self._events(transactions), enforce_uid_conformance=False
                )
            except Exception as error:
                log.info("%s: no report on its association: %s", transactions[0].calling_ae, error)
                others += transactions
            else:
                sent = _SentReports(transactions, future)
                future.add_done_callback(lambda _, sent=sent: self._work.put(sent))
        if others:
            self._queue(others)

    def _events(self, transactions: Sequence[Transaction]) -> dict[str, Any]:
        """Return the reports, as columns."""
        information, types = [], []
        for one in transactions:
            assert one.results is not None
            committed, failed = [], []
            for (sop_class, instance), result in zip(one.instances, one.results, strict=True):
                item: dict[str, Any] = {SOP_CLASS: sop_class, SOP_INSTANCE: instance}
                if result:
                    item["FailureReason"] = result
                    failed.append(item)
                else:
                    committed.append(item)
            attributes: dict[str, Any] = {"TransactionUID": one.transaction_uid}
            if committed:
                attributes["ReferencedSOPSequence"] = committed
                if self._retrieve_ae_title is not None:
                    attributes["RetrieveAETitle"] = self._retrieve_ae_title
            if failed:
                attributes["FailedSOPSequence"] = failed
            information.append(attributes)
            types.append(EVENT_TYPES[bool(failed)])
        return {
            "AffectedSOPClassUID": SOP_CLASS_UID,
            "AffectedSOPInstanceUID": SOP_INSTANCE_UID,
            "EventTypeID": types,
            "EventInformation": information,
        }

    def _outcomes_of(self, sent: _SentReports) -> list[tuple[Transaction, int]]:
        """Return the Statuses of reports on an association. The others go to the outbox."""
        try:
            columns = sent.outcomes.result().to_pydict()
        except BaseException as error:
            log.info("%s: no report on its association: %s", sent.transactions[0].calling_ae, error)
            self._queue(sent.transactions)
            return []
        done, others = [], []
        for one, status, reason in zip(
            sent.transactions, columns["Status"], columns["Reason"], strict=True
        ):
            if status is not None and status_category(status) in ("Success", "Warning"):
                done.append((one, status))
                if log.isEnabledFor(logging.INFO):
                    results = one.results or []
                    where = "on its association"
                    _log_report(one.calling_ae, one.transaction_uid, results, where)
                continue
            why = reason if status is None else f"Status {describe_status(status)}"
            log.info("%s: %s: not reported on its association: %s", *one[2:0:-1], why)
            if status is not None and one.calling_ae not in self._peers:
                done.append((one, status))
            else:
                others.append(one)
        if others:
            self._queue(others)
        return done

    def _queue(self, transactions: Iterable[Transaction]) -> None:
        """Put reports in the outbox. Those of a requester without a peer wait for it."""
        transactions = list(transactions)
        self._transactions.set_results(transactions)
        of_peer: dict[str, list[Transaction]] = defaultdict(list)
        for one in transactions:
            if one.calling_ae in self._peers:
                of_peer[one.calling_ae].append(one)
            else:
                if one.id not in self._waiting[one.calling_ae]:
                    log.warning(
                        "%s: %s cannot be reported: the association has ended, and the requester "
                        "is not in the peers",
                        one.calling_ae,
                        one.transaction_uid,
                    )
                self._waiting[one.calling_ae][one.id] = one
        for ae_title, group in of_peer.items():
            peer = self._peers[ae_title]
            try:
                self._put(peer, group)
            except Exception as error:
                log.error("%s: reports cannot be put in the outbox: %s", ae_title, error)
                self._waiting[ae_title].update({one.id: one for one in group})

    def _put(self, peer: Peer, transactions: list[Transaction]) -> None:
        # The outbox has the reports that an earlier run put in it.
        new = [one for one in transactions if one.event is None or one.peer != peer.name]
        if not new:
            return
        with self._putting:
            numbers = self._delivery.put(
                self._events(new), peer=peer, enforce_uid_conformance=False
            )
            self._transactions.set_events(
                [(number, peer.name, one.id) for number, one in zip(numbers, new, strict=True)]
            )

    def _on_delivered(self, columns: Mapping[str, list[Any]]) -> None:
        """Record outcomes of the delivery, which then removes them from the outbox."""
        outcomes = []
        for event, status, failure, reason in zip(
            *(columns[name] for name in ("Event", "Status", "Failure", "Reason")), strict=True
        ):
            why = None if status is not None else _with_advice(f"{failure}: {reason}")
            outcomes.append((event, status, why))
        with self._putting:
            recorded = self._transactions.set_delivered(outcomes)
        for calling_ae, transaction_uid, results, status in recorded:
            if log.isEnabledFor(logging.INFO):
                response = "without a response"
                if status is not None:
                    response = f"Status {describe_status(status)}"
                how = f"to its peer, {response}"
                _log_report(calling_ae, transaction_uid, json.loads(results), how)

    def _retry(self) -> None:
        """Repeat failed steps, and delete old transactions."""
        for item in self._failed:
            self._work.put(item)
        self._failed = []
        for ae_title in list(self._waiting):
            if ae_title in self._peers:
                self._queue(self._take_waiting(ae_title))
        if time.monotonic() > self._last_refused + _REFUSED_INTERVAL:
            self._last_refused = time.monotonic()
            for one in self._delivery.progress():
                if one.state in ("refused", "failed") and one.due:
                    # The configuration of the peer may have changed, or the outbox be repaired.
                    self._delivery.remove_peer(one.peer)
                    self._delivery.add_peer(one.peer)
        if self._forget_after is not None:
            before = time.time_ns() - int(self._forget_after * _NANOSECONDS)
            self._transactions.forget(before)


def provide(
    port: int,
    *,
    lookup: Lookup,
    peers: Mapping[str, Peer] | Iterable[Peer] | str | os.PathLike[str] | None = None,
    database: str | os.PathLike[str] | None = None,
    host: str = "0.0.0.0",
    ae_title: str | None = None,
    same_association: bool = True,
    retrieve_ae_title: str | None = None,
    sync: bool = True,
    forget_after: float | None = None,
    longest_delay: float = 30.0,
    **listen_options: Any,
) -> CommitmentProvider:
    """Run an SCP of storage commitment (PS3.4 J.3.2 and J.3.3).

    A request is on disk before it gets a response. Then its instances are looked up, and the result
    is reported: on the association of the request if it is still open, and otherwise on an
    association with the peer of that AE title, until the peer responds. If the process is killed,
    the next run with the same `database` looks up and reports what is open. A report can therefore
    be repeated.

    Parameters
    ----------
    port : int
        The TCP port; 0 for any free port.
    lookup : callable
        Called with references as columns: a dictionary of lists with *ReferencedSOPClassUID*,
        *ReferencedSOPInstanceUID*, *TransactionUID* and *CallingAE* (of the requester). A call can
        have the references of several requests. It returns a list or an array with the result of
        each reference: ``True`` or 0 if the instance is stored safely, ``False`` for the Failure
        Reason 0x0112 (*No such object instance*), or a Failure Reason (PS3.3 C.14.1.1). If it
        raises an exception or returns anything else, such as ``None``, that is logged, and the
        instances of the request get the Failure Reason 0x0110 (*Processing failure*). It is called
        in one thread, and `close` waits for its end.
    peers : mapping of str to Peer, iterable of Peer, or path, optional
        The peers to which results are reported, by the AE title of the requester, which is the
        called AE title of a peer without one; or a file for :func:`load_peers`.
    database : str or os.PathLike, optional
        The file of the transactions, a SQLite database. The outbox of the reports is beside it,
        with the suffix ``.outbox``. By default both are in memory.
    host : str, default "0.0.0.0"
        The address to listen on.
    ae_title : str, optional
        The local AE title, which requesters must call. The default accepts any.
    same_association : bool, default True
        Whether to report on the association of the request while it is open, and the results that
        are open on the next association of the same requester. If ``False``, requesters that are
        not in `peers` get the Status 0x0124 (*Not authorized*).
    retrieve_ae_title : str, optional
        AE title from which committed instances can be retrieved, for the reports.
    sync : bool, default True
        Whether a request is on disk before its response. With ``False`` it survives the end of the
        process, but a power failure can lose the last requests.
    forget_after : float, optional
        Time in seconds after which reported transactions are deleted. By default they are kept.
    longest_delay : float, default 30.0
        Same as for :class:`fastdimse.Delivery`.
    **listen_options
        Other parameters of :func:`fastdimse.listen`, for example *calling_aes* and *tls*.

    Returns
    -------
    CommitmentProvider
        The SCP, which runs until it is closed.

    Raises
    ------
    OSError
        If the port cannot be bound, a file cannot be opened, or another process uses it.
    ValueError, TypeError
        If an option has an unsupported value or type.

    Examples
    --------
    >>> from fastdimse.storage_commitment import commit, provide
    >>> stored = {"1.2.3.1"}
    >>> def lookup(references):
    ...     return [uid in stored for uid in references["ReferencedSOPInstanceUID"]]
    >>> ct = "1.2.840.10008.5.1.4.1.1.2"
    >>> with provide(0, host="localhost", lookup=lookup) as provider:
    ...     results = commit(("localhost", provider.port), [(ct, "1.2.3.1")], timeout=10)
    >>> results["State"]
    ['committed']
    """
    if not callable(lookup):
        found = type(lookup).__name__
        raise TypeError(
            f"lookup must be a function, as index_lookup(path) returns one, not {found}"
        )
    if "called_ae" in listen_options:
        raise TypeError("called_ae is the parameter ae_title of provide")
    provider = CommitmentProvider(
        lookup,
        _by_ae_title(peers, ae_title),
        database,
        same_association=same_association,
        retrieve_ae_title=retrieve_ae_title,
        sync=sync,
        forget_after=forget_after,
        longest_delay=longest_delay,
    )
    try:
        provider.start(
            port, host=host, called_ae=ae_title, sop_classes=[SOP_CLASS_UID], **listen_options
        )
    except BaseException:
        provider.close()
        raise
    return provider


def _by_ae_title(
    peers: Mapping[str, Peer] | Iterable[Peer] | str | os.PathLike[str] | None,
    calling_ae: str | None,
) -> dict[str, Peer]:
    """Return the peers by the AE title of the requester."""
    if isinstance(peers, (str, os.PathLike)):
        return load_peers(peers, calling_ae=calling_ae)
    if isinstance(peers, Mapping):
        by_title = dict(peers)
    else:
        given = [peers] if isinstance(peers, Peer) else list(peers or ())
        by_title = {getattr(peer, "called_ae", place): peer for place, peer in enumerate(given)}
        if len(by_title) < len(given):
            raise ValueError("two of the peers have the same called AE title")
    for title, peer in by_title.items():
        if not isinstance(peer, Peer):
            raise TypeError(f"peers[{title!r}] must be a Peer, not {type(peer).__name__}")
    return by_title


def _log_report(calling_ae: str, transaction_uid: str, results: list[int], how: str) -> None:
    log.info(
        "%s: %s: %d of %d instances committed, reported %s",
        *(calling_ae, transaction_uid, results.count(0), len(results), how),
    )


def _with_advice(failure: str | None) -> str | None:
    """Return a failure, with what a requester must accept if it rejected the role."""
    is_about_role = failure is not None and "role selection" in failure
    return f"{failure}{_ROLE_ADVICE}" if is_about_role else failure


def _result(found: Any) -> int:
    """Return the result of an instance: 0, or a Failure Reason."""
    if hasattr(found, "item"):
        # A scalar of NumPy.
        found = found.item()
    if found is True:
        return 0
    if found is False:
        return NO_SUCH_INSTANCE
    # Not `int`: a missing value, 0.5 or "0" must not commit an instance, which its requester may
    # then delete.
    reason = operator.index(found)
    if not 0 <= reason <= 0xFFFF:
        raise ValueError(f"a Failure Reason must be 0 to 65535, not {reason}")
    return reason
