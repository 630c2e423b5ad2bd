"""The captured streams of Orthanc and of pynetdicom in examples/."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from fastdimse import N_EVENT_REPORT, DecodedEvents, decode_events, encode_events
from oracle import P_DATA_TF_TYPE, decode_stream, encode_p_data, split_pdus

DIRECTIONS = ["requests", "responses"]
FIELDS = [
    "MessageID",
    "MessageIDBeingRespondedTo",
    "AffectedSOPClassUID",
    "AffectedSOPInstanceUID",
    "EventTypeID",
    "Status",
]
CONTROL_HEADER = 11
"""Position of the message control header of a PDU's first PDV (PS3.8 E.2)."""
COMMAND_FIELDS = [b"\x00\x00\x00\x01\x02\x00\x00\x00\x00" + high for high in (b"\x01", b"\x81")]
"""The element Command Field of N-EVENT-REPORT-RQ and of -RSP."""


@pytest.fixture(params=DIRECTIONS)
def direction(request: pytest.FixtureRequest) -> str:
    """One of the two directions of the association."""
    name: str = request.param
    return name


@pytest.fixture
def stream(examples: Path, direction: str) -> bytes:
    """The bytes of the direction."""
    return (examples / f"orthanc-storage-commitment.{direction}.bin").read_bytes()


@pytest.fixture
def expected(examples: Path, direction: str) -> list[dict[str, Any]]:
    """The events that pynetdicom decodes."""
    text = (examples / "orthanc-storage-commitment.expected.json").read_text()
    messages: list[dict[str, Any]] = json.loads(text)[direction]
    return messages


@pytest.fixture
def decoded(stream: bytes) -> DecodedEvents:
    """The events that fastdimse decodes."""
    return decode_events(stream)


def data_set_of(event: N_EVENT_REPORT) -> bytes:
    """The bytes of the event's data set, or None."""
    stream: io.BytesIO | None = event.EventInformation
    return b"" if stream is None else stream.getvalue()


def test_events(decoded: DecodedEvents, expected: list[dict[str, Any]], direction: str) -> None:
    assert len(decoded) == len(expected) == 24
    for event, message in zip(decoded, expected, strict=True):
        assert {name: getattr(event, name) for name in FIELDS} == {
            name: message[name] for name in FIELDS
        }
        assert data_set_of(event).hex() == message["data_set_hex"]
        assert len(data_set_of(event)) == message["data_set_bytes"]
        assert (event.MessageIDBeingRespondedTo is None) == (direction == "requests")


def test_columns(decoded: DecodedEvents, expected: list[dict[str, Any]], direction: str) -> None:
    table = pa.table(decoded)
    for name in FIELDS:
        assert table[name].to_pylist() == [message[name] for message in expected]
    contexts = [message["context_id"] for message in expected]
    assert table["PresentationContextID"].to_pylist() == contexts
    name = "EventInformation" if direction == "requests" else "EventReply"
    data_sets = [(data_set or b"").hex() for data_set in table[name].to_pylist()]
    assert data_sets == [message["data_set_hex"] for message in expected]


def event_pdus(stream: bytes) -> bytes:
    """The PDUs of N-EVENT-REPORT: each PDU of a command, with those of its data set."""
    kept, event = b"", False
    for pdu in split_pdus(stream):
        if pdu[0] != P_DATA_TF_TYPE:
            continue
        if pdu[CONTROL_HEADER] & 1:
            # Each of these command sets has one PDU.
            event = any(command_field in pdu for command_field in COMMAND_FIELDS)
        kept += pdu if event else b""
    return kept


def test_encode_again(decoded: DecodedEvents, stream: bytes) -> None:
    sent = event_pdus(stream)
    assert sent
    for events in (decoded, pa.table(decoded), list(decoded)):
        assert bytes(encode_events(events, max_pdu_length=16382)) == sent


@pytest.fixture
def structured(stream: bytes) -> DecodedEvents:
    """The events that fastdimse decodes, with structured data sets."""
    return decode_events(stream, event_information="structured", event_reply="structured")


def values_of(dataset: Dataset) -> dict[str, Any]:
    """The values that pydicom decodes, in the types of a table."""
    return {
        element.keyword: [values_of(item) for item in element.value]
        if element.VR == "SQ"
        else element.value
        for element in dataset
    }


def without_nulls(value: Any) -> Any:
    """A structure without nulls, which stand for attributes of other rows."""
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: without_nulls(one) for name, one in value.items() if one is not None}


def test_structured_data_sets(
    structured: DecodedEvents, expected: list[dict[str, Any]], direction: str
) -> None:
    assert not structured.rejected
    name = "EventInformation" if direction == "requests" else "EventReply"
    found = pa.table(structured)[name].to_pylist()
    for attributes, message in zip(found, expected, strict=True):
        encoded = io.BytesIO(bytes.fromhex(message["data_set_hex"]))
        dataset = read_dataset(encoded, is_implicit_VR=True, is_little_endian=True)
        assert without_nulls(attributes or {}) == values_of(dataset)
    # Events of stored and of missing instances, each with references.
    if direction == "requests":
        references = [len(one["ReferencedSOPSequence"] or []) for one in found]
        failures = [len(one["FailedSOPSequence"] or []) for one in found]
        assert all(map(sum, zip(references, failures, strict=True)))
        assert any(references)
        assert any(failures)


def test_encode_structured_data_sets_again(structured: DecodedEvents, stream: bytes) -> None:
    """Orthanc writes sequences and items with explicit lengths, as fastdimse does."""
    sent = event_pdus(stream)
    table = pa.table(structured)
    for events in (structured, table, table.to_pylist()):
        assert bytes(encode_events(events, max_pdu_length=16382)) == sent


def test_encode_with_pynetdicom(stream: bytes) -> None:
    reports = [
        message for message in decode_stream(stream) if type(message).__name__ == "N_EVENT_REPORT"
    ]
    for report in reports:
        # pynetdicom decodes a missing data set as an empty stream.
        report.EventInformation = report.EventInformation if data_set_of(report) else None
    assert bytes(encode_events(reports)) == b"".join(encode_p_data(report) for report in reports)


def test_skipped_pdus_and_messages(decoded: DecodedEvents, stream: bytes) -> None:
    names = {
        1: "A-ASSOCIATE-RQ",
        2: "A-ASSOCIATE-AC",
        3: "A-ASSOCIATE-RJ",
        5: "A-RELEASE-RQ",
        6: "A-RELEASE-RP",
        7: "A-ABORT",
    }
    counted: dict[str, int] = {}
    for pdu in split_pdus(stream):
        if pdu[0] != P_DATA_TF_TYPE:
            counted[names[pdu[0]]] = counted.get(names[pdu[0]], 0) + 1
    skipped = {name: count for name, count in decoded.skipped.items() if name.startswith("A-")}
    assert skipped == counted
    messages = [m for m in decode_stream(stream) if type(m).__name__ != "N_EVENT_REPORT"]
    assert sum(decoded.skipped.values()) - sum(counted.values()) == len(messages)
