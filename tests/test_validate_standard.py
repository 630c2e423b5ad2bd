"""`validate_events(check="standard")`: events that can be encoded, but deviate from PS3.4."""

import polars
import pyarrow as pa
import pytest

from fastdimse import N_EVENT_REPORT, decode_capture, decode_events, events, validate_events
from test_events import ROOT

COMMITMENT = ("1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1")
PRINTER = ("1.2.840.10008.5.1.1.16", "1.2.840.10008.5.1.1.17")
MPPS = "1.2.840.10008.3.1.2.3.5"
CT = "1.2.840.10008.5.1.4.1.1.2"


def columns(*rows: tuple[str, str, int | None, bytes | None]) -> dict[str, list]:
    """Return rows of class, instance, event type and event information as columns."""
    names = ("AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID", "EventInformation")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def found(table: object) -> list[tuple[int | None, str | None, str]]:
    """Return the row, path and code of each error."""
    rejections = validate_events(table, check="standard")
    return [(one.row, one.field, one.code) for one in rejections]


def test_events_of_orthanc_are_valid():
    for direction in ("requests", "responses"):
        path = ROOT / "examples" / f"orthanc-storage-commitment.{direction}.bin"
        decoded = decode_events(path.read_bytes())
        assert (len(decoded), found(decoded)) == (24, [])
        assert found(list(decoded)) == []


def test_event_types_and_instances():
    table = columns(
        (*COMMITMENT, 1, b"?"),
        (*COMMITMENT, 3, b"?"),
        (*PRINTER, 0, None),
        (PRINTER[0], "1.2.3", 1, None),
        (MPPS, "1.2.3", 5, None),
        (MPPS, "1.2.3", 6, None),
        # SOP classes outside of the table are not checked.
        (CT, "1.2.3", 999, None),
    )
    assert not validate_events(table)
    assert not validate_events(table, check="form")
    assert found(table) == [
        (1, "EventTypeID", "event-type"),
        (2, "EventTypeID", "event-type"),
        (3, "AffectedSOPInstanceUID", "sop-instance"),
        (5, "EventTypeID", "event-type"),
    ]
    # Both SOP class UIDs of procedure steps are accepted.
    table = columns(*((f"1.2.840.10008.5.1.4.34.6.{n}", "1.2", 9, None) for n in (1, 2, 3, 4)))
    assert found(table) == [(0, "EventTypeID", "event-type"), (3, "EventTypeID", "event-type")]


def test_missing_event_information():
    table = columns(
        (*COMMITMENT, 2, None),
        (*COMMITMENT, 2, b""),
        (*PRINTER, 2, None),
        (*PRINTER, 1, None),
        # Only attributes of type 1C and 3: all can be missing.
        ("1.2.840.10008.5.1.4.34.6.1", "1.2.3", 5, None),
    )
    assert found(table) == [
        (0, "EventInformation.TransactionUID", "attribute"),
        (1, "EventInformation.TransactionUID", "attribute"),
        (2, "EventInformation.PrinterStatusInfo", "attribute"),
    ]
    del table["EventInformation"]
    assert [row for row, *_ in found(table)] == [0, 1, 2]


def test_rejected_rows_are_in_order():
    table = columns(
        (*PRINTER, 9, None),
        (PRINTER[0], "1.02", 9, None),
        (*PRINTER, None, None),
        (*PRINTER, 70000, None),
        (*PRINTER, 9, None),
    )
    assert [(row, code) for row, _, code in found(table)] == [
        (0, "event-type"),
        (1, "uid"),
        (2, "missing"),
        (3, "out-of-range"),
        (4, "event-type"),
    ]


def report(reasons: list[int | None], **more: object) -> dict[str, object]:
    """Return an event of storage commitment with failures for these reasons."""
    failed = [
        {"ReferencedSOPClassUID": CT, "ReferencedSOPInstanceUID": "1.2", "FailureReason": reason}
        for reason in reasons
    ]
    return {"TransactionUID": "1.2.3", "FailedSOPSequence": failed, **more}


STRUCTURED = columns(
    (*COMMITMENT, 2, report([0x0112, 0x0110])),
    (*COMMITMENT, 2, report([0x0112, None])),
    (*COMMITMENT, 2, report([])),
    (*COMMITMENT, 2, report([0x0112], TransactionUID=None)),
    (*COMMITMENT, 2, report([0x0112], TransactionUID="")),
    (*COMMITMENT, 2, report([0x0112], TransactionUID="1.02")),
    (*COMMITMENT, 2, None),
    (*COMMITMENT, 9, report([])),
    (*COMMITMENT, 2, report([70000])),
    (*COMMITMENT, 2, report([0x0112], RetrieveAETitle="PACS")),
)
DEVIATIONS = [
    (1, "EventInformation.FailedSOPSequence[1].FailureReason", "attribute"),
    (2, "EventInformation.FailedSOPSequence", "attribute"),
    (3, "EventInformation.TransactionUID", "attribute"),
    (4, "EventInformation.TransactionUID", "attribute"),
    (5, "EventInformation.TransactionUID", "uid"),
    (6, "EventInformation.TransactionUID", "attribute"),
    (7, "EventTypeID", "event-type"),
    (8, "EventInformation.FailedSOPSequence[0].FailureReason", "out-of-range"),
]


def structured_rows() -> list[dict[str, object]]:
    """Return the rows of the columns above."""
    return [
        dict(zip(STRUCTURED, row, strict=True)) for row in zip(*STRUCTURED.values(), strict=True)
    ]


def test_structured_event_information():
    assert found(structured_rows()) == DEVIATIONS
    table = pa.table(STRUCTURED)
    assert found(table) == DEVIATIONS
    # Rows of a slice, and of another list type.
    assert [row for row, *_ in found(table.slice(4))] == [0, 1, 2, 3, 4]
    assert found(polars.from_arrow(table)) == DEVIATIONS


def test_row_numbers_of_large_structured_tables():
    repeated = 5000
    table = pa.concat_tables([pa.table(STRUCTURED)] * repeated).combine_chunks()
    for threads in (1, 2):
        rejections = validate_events(table, check="standard", threads=threads)
        rows = [rejection.row for rejection in rejections]
        count = len(STRUCTURED["EventTypeID"])
        assert rows == [n * count + row for n in range(repeated) for row, *_ in DEVIATIONS]


def test_threads_find_the_same_as_one():
    rows = 5 * 2**15 + 77
    # Deviations and rejected rows, before, at and after the ends of the parts.
    event_types = [
        4 if row % 10_007 in (0, 3) or row % 2**15 in (0, 1) else 1 for row in range(rows)
    ]
    event_types[9] = event_types[2**15 - 1] = event_types[3 * 2**15] = None
    events = {
        "AffectedSOPClassUID": pa.repeat(PRINTER[0], rows),
        "AffectedSOPInstanceUID": pa.repeat(PRINTER[1], rows),
        "EventTypeID": pa.array(event_types, pa.int32()),
    }
    chunk = pa.table(events)
    # Several batches, of which one is longer than a part and one shorter.
    for table in (
        chunk,
        pa.concat_tables([chunk[:100_000], chunk[100_000:100_050], chunk[100_050:]]),
    ):
        one = validate_events(table, check="standard", first_row=7)
        expected = [row + 7 for row, kind in enumerate(event_types) if kind != 1]
        assert [rejection.row for rejection in one] == expected
        codes = {rejection.row: rejection.code for rejection in one}
        assert (codes[7 + 9], codes[7 + 2**15]) == ("missing", "event-type")
        for threads in (2, 3, 8):
            more = validate_events(table, check="standard", first_row=7, threads=threads)
            assert [str(rejection) for rejection in more] == [str(rejection) for rejection in one]


def test_responses_and_primitives():
    response = {
        "MessageIDBeingRespondedTo": [1, 2, 3],
        "AffectedSOPClassUID": [PRINTER[0], None, PRINTER[0]],
        "EventTypeID": [2, 9, 9],
        "Status": 0,
    }
    assert found(response) == [(2, "EventTypeID", "event-type")]
    event = N_EVENT_REPORT()
    event.MessageID = 1
    event.AffectedSOPClassUID, event.AffectedSOPInstanceUID = PRINTER
    event.EventTypeID = 4
    assert found([event]) == [(0, "EventTypeID", "event-type")]


def test_row_numbers_across_batches():
    good, bad = columns((*PRINTER, 1, None)), columns((*PRINTER, 4, None))
    table = pa.concat_tables([pa.table(good), pa.table(bad), pa.table(good), pa.table(bad)])
    assert table.column("EventTypeID").num_chunks == 4
    assert [row for row, *_ in found(table)] == [1, 3]
    assert pa.table(validate_events(table, check="standard")).to_pylist()[1] == {
        "row": 3,
        "field": "EventTypeID",
        "code": "event-type",
        "reason": "Printer SOP Class has no event type 4 (PS3.4 Table H.4-16): "
        "1 Normal, 2 Warning, 3 Failure",
        "offset": None,
    }


def test_events_of_the_table_are_valid():
    rows = [
        (one.affected_sop_class_uid, one.well_known_instance or "1.2.3", event_type.id, b"?")
        for one in events.SOP_CLASSES
        for event_type in one.event_types
    ]
    assert len(rows) > 20
    assert found(columns(*rows)) == []


def test_invalid_check():
    with pytest.raises(ValueError, match="check must be 'form' or 'standard', not 'strict'"):
        validate_events(columns((*PRINTER, 1, None)), check="strict")


def test_check_of_captures():
    captured = decode_capture((ROOT / "examples/orthanc-storage-commitment.pcap").read_bytes())
    requests = [request for request, _ in captured]
    assert found(requests) == []
