"""Columns that are not fields of events: those that fastdimse adds, and those of users."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from fastdimse import (
    ColumnError,
    Delivery,
    Peer,
    connect,
    decode_capture,
    decode_events,
    encode_batches,
    encode_capture,
    encode_events,
    listen,
    validate_events,
)
from fastdimse._core import event_batches
from fastdimse.cli.received_files.structured import structure_data_sets
from fastdimse.cli.row_files.formats import row_format
from fastdimse.cli.row_files.write import RowWriter
from scripted_peer import HOST
from test_command_line import CAPTURE, run

EVENTS: dict[str, Any] = {
    "AffectedSOPClassUID": ["1.2.840.10008.1.20.1"] * 3,
    "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1"] * 3,
    "EventTypeID": [1, 2, 1],
}
PLAIN = bytes(encode_events(EVENTS))
OTHERS = {"Site": ["a", None, "c"], "key": [{"x": 1}, None, {"x": 2}], "Part": [[1], [], None]}
ADDED = {
    "Time": [datetime(2026, 1, 1, tzinfo=UTC)] * 3,
    "SourceAddress": ["::1"] * 3,
    "SourcePort": [1, 2, 3],
    "DestinationAddress": ["::1"] * 3,
    "DestinationPort": [1, 2, 3],
    "CallingAETitle": ["A"] * 3,
    "CalledAETitle": ["B"] * 3,
    "Association": [0, 0, 1],
    "Frame": [1, 2, 3],
    "TransferSyntaxUID": ["1.2.840.10008.1.2"] * 3,
    "EventTypeName": [None, "x", "y"],
    "StatusName": ["x", None, "y"],
}


def columns_with(others: dict[str, Any]) -> dict[str, Any]:
    """Return the events between the other columns."""
    first, *rest = others
    return {first: others[first], **EVENTS, **{name: others[name] for name in rest}}


PRODUCERS = {
    "mapping": lambda columns: columns,
    "table": pa.table,
    "stream": lambda columns: pa.table(columns).to_reader(max_chunksize=2),
    "polars": lambda columns: pl.DataFrame(columns, strict=False),
    "pandas": lambda columns: pa.table(columns).to_pandas(),
    "rows": lambda columns: pa.table(columns).to_pylist(),
}


@pytest.fixture(params=PRODUCERS.values(), ids=PRODUCERS)
def produce(request):
    """Return a function that produces events from columns."""
    return request.param


def test_other_columns(produce):
    columns = columns_with(OTHERS)
    for function in (encode_events, validate_events, encode_capture):
        with pytest.raises(ColumnError, match=r'unknown column .*other_columns="ignore"') as raised:
            function(produce(columns))
        assert raised.value.column == "Site"
    assert bytes(encode_events(produce(columns), other_columns="ignore")) == PLAIN
    assert len(validate_events(produce(columns), other_columns="ignore")) == 0
    batches = encode_batches(produce(columns), batch_size=2, other_columns="ignore")
    assert b"".join(map(bytes, batches)) == PLAIN
    capture = encode_capture(produce(columns), other_columns="ignore")
    assert bytes(capture) == bytes(encode_capture(EVENTS))


def test_added_columns_are_known(produce):
    columns = columns_with(ADDED)
    assert bytes(encode_events(produce(columns))) == PLAIN
    assert len(validate_events(produce(columns), threads=2)) == 0
    assert b"".join(map(bytes, encode_batches(produce(columns)))) == PLAIN


def test_required_and_repeated_columns():
    columns = columns_with(OTHERS)
    del columns["EventTypeID"]
    with pytest.raises(ColumnError, match="no column 'EventTypeID'"):
        encode_events(columns, other_columns="ignore")
    with pytest.raises(ColumnError, match="no column"):
        encode_events({"Site": [1]}, other_columns="ignore")
    table = pa.table(columns_with({"Site": [1, 2, 3], "key": [1, 2, 3]}))
    twice = table.append_column("Site", table["key"])
    assert bytes(encode_events(twice, other_columns="ignore")) == PLAIN
    twice = table.append_column("EventTypeID", table["key"])
    with pytest.raises(ColumnError, match="two columns 'EventTypeID'"):
        encode_events(twice, other_columns="ignore")


@pytest.mark.parametrize("value", ["", "skip", "Raise"])
def test_the_option_has_two_values(value):
    for function in (encode_events, encode_batches, validate_events, encode_capture, event_batches):
        with pytest.raises(ValueError, match="other_columns must be 'raise' or 'ignore'"):
            function(EVENTS, other_columns=value)


def test_rows_and_threads_with_other_columns():
    count = 100_000
    columns = {
        "Site": pa.array(range(count)),
        "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
        "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
        "EventTypeID": [70_000 if row % 1000 == 7 else 1 for row in range(count)],
    }
    plain = {name: column for name, column in columns.items() if name != "Site"}
    one = encode_events(plain, on_invalid="skip")
    two = encode_events(columns, on_invalid="skip", other_columns="ignore", threads=2)
    assert bytes(one) == bytes(two)
    assert [each.row for each in one.rejected] == [each.row for each in two.rejected]


@pytest.mark.parametrize("form", ["binary", "structured"])
def test_captured_events(form):
    """The row of a request has its response too: the request is encoded."""
    data = CAPTURE.read_bytes()
    captured = decode_capture(data, event_information=form, event_reply=form)
    requests = [request for request, _ in decode_capture(data) if request is not None]
    assert any(response is not None for _, response in captured)
    encoded = encode_events(captured)
    found = list(decode_events(encoded))
    assert [event.MessageID for event in found if event.MessageIDBeingRespondedTo is None] == [
        request.MessageID for request in requests
    ]
    table = pa.table(captured)
    for way in (table, table.to_pylist(), table.to_pydict()):
        if form == "binary" or way is table:
            assert bytes(encode_events(way)) == bytes(encoded)
    assert len(validate_events(captured)) == 0
    # Without the mark of captured events, a request must not have a Status.
    with pytest.raises(ValueError, match="Status"):
        encode_events(table.drop_columns(["Latency"]))


def test_data_sets_that_could_not_be_decoded():
    columns = {
        **EVENTS,
        "EventInformation": pa.array([None, {"TransactionUID": "1.2"}, None]),
        "EventInformation:bytes": [b"ab", None, None],
    }
    for events in (
        columns,
        pa.table(columns),
        [
            dict(zip(columns, row, strict=True))
            for row in zip(*pa.table(columns).to_pydict().values(), strict=True)
        ],
    ):
        encoded = encode_events(events, on_invalid="skip")
        assert [one.row for one in encoded.rejected] == [0]
        assert "could not be decoded" in encoded.rejected[0].reason
        assert [one.row for one in validate_events(events)] == [0]


def test_sending():
    columns = columns_with(OTHERS)
    with listen(0, host=HOST) as listener, connect(HOST, listener.port) as association:
        with pytest.raises(ColumnError, match="unknown column 'Site'"):
            association.send(columns)
        assert association.send(columns, other_columns="ignore").answered == 3
        [batch] = association.send_batches(pa.table(columns), other_columns="ignore")
        assert batch.answered == 3
        received = listener.receive()
        assert association.send(received).answered == len(received)
        assert len(encode_events(received)) == len(received)


def test_the_transfer_syntax_of_a_row():
    """A data set is not sent as if it were encoded in the accepted transfer syntax."""
    for produce in (dict, pa.table):
        events = produce(
            {
                **EVENTS,
                "EventInformation": [b"\x08\x00\x16\x00\x02\x00\x00\x001\x00"] * 3,
                "TransferSyntaxUID": [None, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"],
            }
        )
        with listen(0, host=HOST) as listener, connect(HOST, listener.port) as association:
            accepted = set(association.transfer_syntaxes.values())
            outcomes = association.send(events, transfer_syntax=min(accepted))
        assert outcomes.answered in (1, 2)
        assert len(outcomes) == 3


@pytest.mark.parametrize("form", ["binary", "structured"])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".ndjson", ".csv"])
def test_files_of_received_events(tmp_path, suffix, form):
    """The files of ``fastdimse receive`` can be encoded, checked and sent."""
    if (suffix, form) == (".csv", "structured"):
        return
    events = {**EVENTS, "EventInformation": [{"TransactionUID": "1.2"}] * 3}
    rows, out = tmp_path / f"rows{suffix}", tmp_path / "events.bin"
    with listen(0, host=HOST) as listener:
        with connect(HOST, listener.port) as association:
            assert association.send(events).answered == 3
        table = pa.table(listener.receive())
        if form == "structured":
            table = structure_data_sets(table)
        with rows.open("wb") as sink:
            writer = RowWriter(sink, str(rows), row_format(str(rows)), table.schema)
            writer.write(table)
            writer.close()
        for arguments in (
            ("validate", rows),
            ("encode", rows, "-o", out),
            ("send", rows, HOST, listener.port),
        ):
            done = run(*arguments)
            assert done.returncode == 0, done.stderr.decode()
        assert len(decode_events(out.read_bytes())) == 3
        assert len(listener.receive()) == 3


@pytest.mark.parametrize("outbox", [None, "outbox.sqlite"])
def test_delivery(tmp_path, outbox):
    path = None if outbox is None else tmp_path / outbox
    with listen(0, host=HOST) as listener:
        peer = Peer(HOST, listener.port)
        with Delivery([peer], outbox=path) as delivery:
            with pytest.raises(ColumnError, match="unknown column 'Site'"):
                delivery.put(columns_with(OTHERS))
            delivery.put(columns_with(OTHERS), other_columns="ignore")
            delivery.put(pa.table(columns_with(ADDED)))
            assert delivery.wait(20)
            assert delivery.progress()[0].answered == 6


def test_stored_batches_have_no_other_columns():
    [batch] = event_batches(pa.table(columns_with({**OTHERS, **ADDED})), other_columns="ignore")
    names = pa.ipc.open_stream(batch.to_ipc()).schema.names
    assert set(names) == {*EVENTS, "TransferSyntaxUID"}
