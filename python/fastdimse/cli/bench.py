"""``fastdimse bench``: speed of bulk encoding and decoding, compared with pynetdicom."""

import importlib.util
import platform
import struct
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from io import BytesIO
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
import typer
from rich.table import Table

from fastdimse import __version__, decode_events, encode_events

from .errors import InputError
from .options import flag, in_range
from .terminal import note, print_json, print_table

# Storage Commitment Push Model, and its well-known instance (PS3.4 J.3.5).
_SOP_CLASS_UID = "1.2.840.10008.1.20.1"
_SOP_INSTANCE_UID = "1.2.840.10008.1.20.1.1"
# Transaction UID, Referenced SOP Sequence, Referenced SOP Class and Instance UID.
_TRANSACTION_UID = (0x0008, 0x1195)
_REFERENCED_SOP_SEQUENCE = (0x0008, 0x1199)
_REFERENCED_SOP_CLASS_UID = (0x0008, 0x1150)
_REFERENCED_SOP_INSTANCE_UID = (0x0008, 0x1155)
_ITEM = (0xFFFE, 0xE000)
_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"

_CONTEXT_ID = 1
_MAX_PDU_LENGTH = 16382
# pynetdicom takes about half a millisecond per event.
_PYNETDICOM_ROWS = 500


class Figure(NamedTuple):
    """A measurement."""

    operation: str
    library: str
    version: str
    events: int
    seconds: float

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


def bench(
    rows: Annotated[
        int,
        typer.Option(
            metavar="N", callback=in_range(1), help="Number of events to encode and decode."
        ),
    ] = 100_000,
    repeat: Annotated[
        int,
        typer.Option(
            metavar="N", callback=in_range(1), help="Number of rounds. The fastest is reported."
        ),
    ] = 5,
    as_json: Annotated[bool, flag("--json", "Print a JSON object instead of a table.")] = False,
) -> None:
    """Measure bulk encoding and decoding of storage commitment events on this machine.

    If pynetdicom is installed, it is measured in the same rounds, with fewer events.

    Example: fastdimse bench --rows 1000000 --json
    """
    events = _events(rows)
    steps = _fastdimse_steps(events)
    if importlib.util.find_spec("pynetdicom") is not None:
        steps.update(_pynetdicom_steps(events.slice(0, _PYNETDICOM_ROWS)))
    elif not as_json:
        note("pynetdicom is not installed: no comparison")
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(repeat):
        for step, (_, run) in steps.items():
            start = time.perf_counter()
            run()
            best[step] = min(best[step], time.perf_counter() - start)
    figures = [Figure(*step, _version(step[1]), steps[step][0], best[step]) for step in steps]
    if as_json:
        print_json(_report(figures, repeat))
    else:
        print_table(_table(figures), sys.stdout)


_Steps = dict[tuple[str, str], tuple[int, Callable[[], object]]]


def _element(tag: tuple[int, int], value: bytes) -> bytes:
    """Return a data element in Implicit VR Little Endian (PS3.5 7.1.3)."""
    return struct.pack("<HHI", *tag, len(value)) + value


def _uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def _event_information(number: int) -> bytes:
    """Return a report that one instance is committed (PS3.4 Table J.3-2)."""
    item = _element(_REFERENCED_SOP_CLASS_UID, _uid(_CT_IMAGE_STORAGE)) + _element(
        _REFERENCED_SOP_INSTANCE_UID, _uid(f"2.25.{number + (1 << 100)}")
    )
    return _element(_TRANSACTION_UID, _uid(f"2.25.{number + (1 << 101)}")) + _element(
        _REFERENCED_SOP_SEQUENCE, _element(_ITEM, item)
    )


def _events(rows: int) -> Any:
    return pa.table(
        {
            "MessageID": pa.array([row % 65535 + 1 for row in range(rows)], pa.uint16()),
            "AffectedSOPClassUID": pa.array([_SOP_CLASS_UID] * rows),
            "AffectedSOPInstanceUID": pa.array([_SOP_INSTANCE_UID] * rows),
            "EventTypeID": pa.array([1] * rows, pa.uint16()),
            "EventInformation": pa.array(map(_event_information, range(rows)), pa.binary()),
        }
    )


def _fastdimse_steps(events: Any) -> _Steps:
    stream = bytes(encode_events(events))
    return {
        ("encode", "fastdimse"): (events.num_rows, lambda: encode_events(events)),
        ("decode", "fastdimse"): (events.num_rows, lambda: decode_events(stream)),
    }


def _pynetdicom_steps(events: Any) -> _Steps:
    rows = events.to_pylist()
    stream = _pynetdicom_encode(rows)
    if b"".join(stream) != bytes(encode_events(events)):
        raise InputError("pynetdicom encodes these events differently: no comparison")
    return {
        ("encode", "pynetdicom"): (len(rows), lambda: _pynetdicom_encode(rows)),
        ("decode", "pynetdicom"): (len(rows), lambda: _pynetdicom_decode(stream)),
    }


def _pynetdicom_encode(rows: list[dict[str, Any]]) -> list[bytes]:
    """Return the PDUs that pynetdicom sends for `rows`."""
    from pynetdicom.dimse_messages import N_EVENT_REPORT_RQ
    from pynetdicom.dimse_primitives import N_EVENT_REPORT
    from pynetdicom.pdu import P_DATA_TF

    stream = []
    for row in rows:
        primitive = N_EVENT_REPORT()
        for keyword, value in row.items():
            setattr(primitive, keyword, BytesIO(value) if isinstance(value, bytes) else value)
        message = N_EVENT_REPORT_RQ()
        message.primitive_to_message(primitive)
        for p_data in message.encode_msg(_CONTEXT_ID, _MAX_PDU_LENGTH):
            pdu = P_DATA_TF()
            pdu.from_primitive(p_data)
            stream.append(pdu.encode())
    return stream


def _pynetdicom_decode(stream: list[bytes]) -> list[Any]:
    """Return the primitives that pynetdicom decodes from PDUs."""
    from pynetdicom.dimse_messages import DIMSEMessage
    from pynetdicom.pdu import P_DATA_TF

    primitives = []
    message = DIMSEMessage()
    for encoded in stream:
        pdu = P_DATA_TF()
        pdu.decode(encoded)
        if message.decode_msg(pdu.to_primitive()):
            primitives.append(message.message_to_primitive())
            message = DIMSEMessage()
    return primitives


def _version(library: str) -> str:
    return __version__ if library == "fastdimse" else version(library)


def _report(figures: list[Figure], repeat: int) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "repeat": repeat,
        "figures": [{**f._asdict(), "events_per_second": round(f.rate)} for f in figures],
    }


def _table(figures: list[Figure]) -> Table:
    table = Table("operation", "library")
    for heading in ("events/s", "ns/event", "times pynetdicom"):
        table.add_column(heading, justify="right")
    rivals = {f.operation: f.rate for f in figures if f.library == "pynetdicom"}
    for figure in sorted(figures, key=lambda f: f.operation, reverse=True):
        rival = rivals.get(figure.operation)
        table.add_row(
            figure.operation,
            f"{figure.library} {figure.version}",
            f"{figure.rate:,.0f}",
            f"{1e9 / figure.rate:,.0f}",
            "" if rival is None else f"{figure.rate / rival:,.0f}",
        )
    return table
