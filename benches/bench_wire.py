"""Events over loopback: each is created, encoded, sent and responded to before the next."""

import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

import fastdimse
import fastdimse.pynetdicom
from conftest import SOP_INSTANCE

LISTENER = Path(__file__).parent / "listener.py"
PLAIN, INSTALLED, LISTEN = "plain", "installed", "listen"
# Seconds.
DEADLINE = 30

# Group, rival, sender, listener, events in a round.
WAYS = [
    ("wire", "pynetdicom", PLAIN, PLAIN, 30),
    ("wire", "fastdimse, both ends", INSTALLED, INSTALLED, 1000),
    ("wire", "fastdimse, only the sender", INSTALLED, PLAIN, 300),
    ("wire", "fastdimse, only the listener", PLAIN, INSTALLED, 30),
    ("wire", "fastdimse, pynetdicom to listen", PLAIN, LISTEN, 30),
    ("wire, TCP_NODELAY", "pynetdicom", PLAIN, PLAIN, 150),
    ("wire, TCP_NODELAY", "fastdimse, both ends", INSTALLED, INSTALLED, 1000),
]


# The sender is fastdimse.connect.
CONNECTED = [
    ("wire", "fastdimse, connect to pynetdicom", PLAIN, 1, 300),
    ("wire", "fastdimse, connect to listen", LISTEN, 1, 10_000),
    ("wire", "fastdimse, connect to listen, a window of 64", LISTEN, 64, 100_000),
]


@contextmanager
def listener(kind: str) -> Iterator[int]:
    """Run a listener in another process, and yield its port."""
    command = [sys.executable, str(LISTENER), kind]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], DEADLINE)[0], (
                "the listener printed no port"
            )
            yield int(process.stdout.readline())
        finally:
            process.kill()


def set_no_delay(event: Any) -> None:
    """Set TCP_NODELAY, as an application can."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def report(association: Any, message_id: int) -> None:
    """Send the result of a storage commitment, as an application does."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = f"1.2.826.0.1.{message_id}"
    information = Dataset()
    information.TransactionUID = "1.2.826.0.1.1"
    information.ReferencedSOPSequence = [reference]
    status, _ = association.send_n_event_report(
        information, 1, StorageCommitmentPushModel, SOP_INSTANCE, message_id
    )
    if "Status" not in status:
        raise LostResponseError
    assert status.Status == 0x0000


class LostResponseError(Exception):
    """pynetdicom's reactor consumed a response that arrived immediately."""


@pytest.mark.parametrize(("group", "rival", "sender", "other", "events"), WAYS)
def test_wire(measure, group, rival, sender, other, events):
    with ExitStack() as stack:
        if sender == INSTALLED:
            stack.enter_context(fastdimse.pynetdicom.installed())
        ae = AE()
        ae.acse_timeout = ae.connection_timeout = DEADLINE
        ae.dimse_timeout = 2
        ae.add_requested_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_CONN_OPEN, set_no_delay)] if "NODELAY" in group else []
        port = stack.enter_context(listener(other))
        association: Any = None

        def associate() -> None:
            nonlocal association
            association = ae.associate("127.0.0.1", port, evt_handlers=handlers)
            assert association.is_established

        def report_all() -> None:
            # A lost response makes this round slow, and the fastest round counts.
            for _ in range(10):
                with suppress(LostResponseError):
                    for message_id in range(1, events + 1):
                        report(association, message_id)
                    return
                association.abort()
                associate()
            raise LostResponseError

        associate()
        stack.callback(lambda: association.abort())
        measure(group, rival, report_all, events)
        association.release()


def row(number: int) -> dict[str, Any]:
    """Return the same event as a row."""
    return {
        "AffectedSOPClassUID": StorageCommitmentPushModel,
        "AffectedSOPInstanceUID": SOP_INSTANCE,
        "EventTypeID": 1,
        "EventInformation": {
            "TransactionUID": "1.2.826.0.1.1",
            "ReferencedSOPSequence": [
                {
                    "ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
                    "ReferencedSOPInstanceUID": f"1.2.826.0.1.{number}",
                }
            ],
        },
    }


@pytest.mark.parametrize(("group", "rival", "other", "window", "events"), CONNECTED)
def test_connected(measure, group, rival, other, window, events):
    table = pa.Table.from_pylist([row(number) for number in range(1, events + 1)])
    with (
        listener(other) as port,
        fastdimse.connect("127.0.0.1", port, window=window) as association,
    ):

        def report_all() -> None:
            assert association.send(table).answered == events

        measure(group, rival, report_all, events)
