"""Storage commitment (PS3.4 Annex J) with pynetdicom alone: a provider, and a requester."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from turns import TURNS

HOST = "127.0.0.1"
SECONDS = 30.0
NO_SUCH_INSTANCE = 0x0112

Reference = tuple[str, str]
"""A SOP Class UID and a SOP Instance UID."""


def item(reference: Reference, reason: int | None = None) -> Dataset:
    """Return an item of a Referenced, or a Failed, SOP Sequence."""
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = reference
    if reason is not None:
        made.FailureReason = reason
    return made


def references_in(data_set: Dataset) -> list[Reference]:
    """Return the references of a Referenced SOP Sequence."""
    return [
        (found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID)
        for found in data_set.get("ReferencedSOPSequence", [])
    ]


def failures_in(data_set: Dataset) -> dict[Reference, int]:
    """Return the references of a Failed SOP Sequence, and the Failure Reasons."""
    return {
        (found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID): found.FailureReason
        for found in data_set.get("FailedSOPSequence", [])
    }


def listens(port: int) -> bool:
    """Return whether a program listens on a port."""
    try:
        socket.create_connection((HOST, port)).close()
    except OSError:
        return False
    return True


def await_reactor(association: Any) -> None:
    """Wait until the reactor of an association runs again after a request.

    pynetdicom takes a reactor that wakes up for a paused one, and it can consume the next response.
    """
    while association._is_paused and association.is_established:
        time.sleep(0.001)


def send_report(association: Any, event_type: int, information: Dataset) -> int | None:
    """Send a report, and return the Status of its response."""
    status, _ = association.send_n_event_report(
        information, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return status.Status if "Status" in status else None


class Provider:
    """A provider that reports when it is told to.

    Attributes
    ----------
    port : int
        Its port.
    requests : list of Dataset
        The Action Information of the requests.
    statuses : Queue
        The Statuses of the responses to reports.
    """

    def __init__(self, stored: set[Reference], way: str, **roles: Any) -> None:
        self.requests: list[Dataset] = []
        self.statuses: Queue[int | None] = Queue()
        self.answer = 0x0000
        self._stored, self._way = stored, way
        self._due: list[Dataset] = []
        self._answered: set[Any] = set()
        self._ae = AE("PROVIDER")
        self._ae.acse_timeout = self._ae.dimse_timeout = SECONDS
        self._ae.add_supported_context(StorageCommitmentPushModel, **roles)
        self._ae.add_requested_context(StorageCommitmentPushModel)
        handlers = [
            (evt.EVT_N_ACTION, self._on_action),
            (evt.EVT_PDU_SENT, self._on_pdu_sent),
            (evt.EVT_ESTABLISHED, self._on_established),
        ]
        self._server = self._ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
        self.port: int = self._server.socket.getsockname()[1]

    def result(self, request: Dataset) -> tuple[int, Dataset]:
        """Return the event type and the event information of the report."""
        information = Dataset()
        information.TransactionUID = request.TransactionUID
        asked = references_in(request)
        good = [found for found in asked if found in self._stored]
        failed = [found for found in asked if found not in self._stored]
        if good:
            information.ReferencedSOPSequence = [item(found) for found in good]
        if failed:
            information.FailedSOPSequence = [item(found, NO_SUCH_INSTANCE) for found in failed]
        return (2 if failed else 1), information

    def _on_action(self, event: Any) -> tuple[int, None]:
        request = event.action_information
        self.requests.append(request)
        if self._way == "before":
            self.statuses.put(send_report(event.assoc, *self.result(request)))
        elif self._way == "after":
            self._answered.add(event.assoc)
        self._due.append(request)
        return self.answer, None

    def _on_pdu_sent(self, event: Any) -> None:
        if event.assoc in self._answered:
            self._answered.discard(event.assoc)
            self._report_in_thread(event.assoc)

    def _on_established(self, event: Any) -> None:
        if self._way == "later" and self._due:
            self._report_in_thread(event.assoc)

    def _report_in_thread(self, association: Any) -> None:
        def report() -> None:
            while self._due:
                self.statuses.put(send_report(association, *self.result(self._due.pop())))

        threading.Thread(target=report).start()

    def report_on_own(self, port: int, role: bool = True, ae_title: str = "REQUESTER") -> None:
        """Open an association, and report what is due on it."""
        roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if role else []
        association = self._ae.associate(HOST, port, ae_title=ae_title, ext_neg=roles)
        assert association.is_established
        while self._due:
            await_reactor(association)
            self.statuses.put(send_report(association, *self.result(self._due.pop(0))))
        association.release()

    def close(self) -> None:
        """End."""
        self._server.shutdown()


@contextmanager
def providing(stored: set[Reference], way: str, **roles: Any) -> Iterator[Provider]:
    """Run a provider."""
    provider = Provider(stored, way, **roles)
    try:
        yield provider
    finally:
        provider.close()


class Requester:
    """A requester with a server for reports.

    Attributes
    ----------
    port : int
        Port of its server.
    reports : Queue
        Event type and event information of each report, and whether it came on an association that
        the provider opened.
    """

    def __init__(self, ae_title: str = "REQUESTER", answer: int = 0x0000, **roles: Any) -> None:
        self.reports: Queue[tuple[int, Dataset, bool]] = Queue()
        self.answer = answer
        self._title = ae_title
        self._ae = AE(ae_title)
        self._ae.acse_timeout = self._ae.dimse_timeout = SECONDS
        self._ae.add_supported_context(
            StorageCommitmentPushModel, **(roles or {"scu_role": True, "scp_role": True})
        )
        self._ae.add_requested_context(StorageCommitmentPushModel)
        self._server: Any = None
        self.port = 0

    def listen(self, port: int = 0) -> None:
        """Start the server."""
        handlers = [(evt.EVT_N_EVENT_REPORT, self._on_report, [True])]
        self._server = self._ae.start_server((HOST, port), block=False, evt_handlers=handlers)
        self.port = self._server.socket.getsockname()[1]

    def _on_report(self, event: Any, is_own: bool) -> tuple[int, None]:
        self.reports.put((event.event_type, event.event_information, is_own))
        return self.answer, None

    @contextmanager
    def associated(self, port: int, ae_title: str = "PROVIDER", role: Any = None) -> Iterator[Any]:
        """Open an association with a provider; `role` has the arguments of `build_role`."""
        roles = [] if role is None else [build_role(StorageCommitmentPushModel, **role)]
        association = self._ae.associate(
            HOST,
            port,
            ae_title=ae_title,
            ext_neg=roles,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._on_report, [False]), TURNS],
        )
        assert association.is_established
        try:
            yield association
        finally:
            association.release()

    def ask(
        self,
        association: Any,
        transaction: str | None,
        references: list[Reference] | None,
        action_type: int = 1,
        instance: str = StorageCommitmentPushModelInstance,
    ) -> int:
        """Send a request, and return the Status of its response."""
        request = Dataset()
        if transaction is not None:
            request.TransactionUID = transaction
        if references is not None:
            request.ReferencedSOPSequence = [item(found) for found in references]
        await_reactor(association)
        status, _ = association.send_n_action(
            request or None, action_type, StorageCommitmentPushModel, instance
        )
        assert "Status" in status
        return int(status.Status)

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None


@contextmanager
def requesting(*, listens: bool = False, **options: Any) -> Iterator[Requester]:
    """Run a requester."""
    requester = Requester(**options)
    try:
        if listens:
            requester.listen()
        yield requester
    finally:
        requester.close()
