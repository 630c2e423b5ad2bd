"""Properties of every stream: decoding inverts encoding, and both agree with pynetdicom."""

import itertools
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu import P_DATA_TF

from fastdimse import (
    EncodedEvents,
    EncodeError,
    decode_events,
    encode_batches,
    encode_events,
    validate_events,
)
from oracle import decode_stream, encode_command_set, encode_p_data
from strategies import COLUMNS, context_ids, max_pdu_lengths, rows, wide_rows
from test_bulk_decode import RELEASE, STREAMS, p_data, parts
from test_bulk_encode import SOP_CLASS, even, oracle_bytes, to_oracle, to_ours

MOST_FRAGMENTS = 3000
"""Limit of fragments, because pynetdicom is slow for more."""
PDV_OVERHEAD = 6
"""Bytes of the PDV length, context ID and control header in a PDU (PS3.8 D.1)."""

INTEGERS = pa.int64()
SCHEMA = pa.schema(
    [
        ("MessageID", INTEGERS),
        ("MessageIDBeingRespondedTo", INTEGERS),
        ("AffectedSOPClassUID", pa.string()),
        ("AffectedSOPInstanceUID", pa.string()),
        ("EventTypeID", INTEGERS),
        ("EventInformation", pa.binary()),
        ("EventReply", pa.binary()),
        ("Status", INTEGERS),
        ("ErrorComment", pa.string()),
        ("ErrorID", INTEGERS),
        ("PresentationContextID", INTEGERS),
    ]
)


def table_of(events: list[dict[str, Any]]) -> pa.Table:
    """Return rows as a table, with their contexts."""
    return pa.Table.from_pylist(events, schema=SCHEMA)


def chunked(table: pa.Table, cuts: list[int]) -> pa.Table:
    """Return the table in chunks, which can be empty."""
    bounds = itertools.pairwise([0, *sorted(cut % (len(table) + 1) for cut in cuts), len(table)])
    return pa.concat_tables([table.slice(begin, end - begin) for begin, end in bounds])


def as_sent(event: dict[str, Any]) -> dict[str, Any]:
    """Return the row as its receiver decodes it: a data set of zero bytes is no data set."""
    return {**event, **{name: event[name] or None for name in STREAMS}}


def assert_same(ours: Iterable[Any], oracle: Iterable[Any]) -> None:
    """Compare decoded primitives with pynetdicom's."""
    for one, other in zip(ours, oracle, strict=True):
        for name in COLUMNS:
            mine, theirs = getattr(one, name), getattr(other, name)
            if name in STREAMS:
                # pynetdicom has an empty stream for a missing data set.
                assert (mine.getvalue() if mine else b"") == theirs.getvalue()
            else:
                assert (type(mine), mine) == (type(theirs), theirs)


@st.composite
def limits(draw: st.DrawFn, events: list[dict[str, Any]]) -> int:
    """Maximum PDU lengths near the lengths of command sets and data sets."""
    data_sets = [len(event[name] or b"") for event in events for name in STREAMS]
    command_sets = [len(encode_command_set(to_oracle(event))) for event in events]
    near = {
        length + overhead + change
        for length in {*data_sets, *command_sets}
        for overhead in (0, PDV_OVERHEAD)
        for change in (-1, 0, 1)
    }
    total = sum(data_sets) + sum(command_sets)
    least = PDV_OVERHEAD + 1 + total // MOST_FRAGMENTS
    edges = {7, 8, 9, 16382, 2**31, 2**32 - 1, least} | near
    return draw(
        st.sampled_from([0, *sorted(edge for edge in edges if edge >= least)])
        | st.integers(least, least + 300)
    )


@given(events=st.lists(wide_rows, max_size=6), context_id=context_ids, data=st.data())
def test_decoding_inverts_encoding_as_in_pynetdicom(events, context_id, data):
    events = [as_sent(event) for event in events]
    limit = data.draw(limits(events), "max_pdu_length")
    messages = [encode_p_data(to_oracle(event), context_id, even(limit)) for event in events]
    encoded = encode_events(table_of(events), context_id=context_id, max_pdu_length=limit)
    assert list(encoded) == messages
    assert bytes(encoded) == b"".join(messages)
    starts = list(itertools.accumulate(map(len, messages), initial=0))
    assert encoded.offsets.tolist() == starts

    decoded = decode_events(encoded)
    assert pa.table(decoded).to_pylist() == [
        {**event, "PresentationContextID": context_id} for event in events
    ]
    assert decoded.offsets.tolist() == starts[:-1]
    assert (len(decoded.rejected), decoded.skipped) == (0, {})
    assert bytes(encode_events(decoded, max_pdu_length=limit)) == b"".join(messages)
    assert_same(decoded, decode_stream(bytes(encoded)))


@given(events=st.lists(wide_rows, max_size=6))
def test_decoding_inverts_encoding_of_command_sets(events):
    events = [as_sent(event) for event in events]
    command_sets = [encode_command_set(to_oracle(event)) for event in events]
    encoded = encode_events(table_of(events), framing="command-set")
    assert list(encoded) == command_sets
    decoded = decode_events(encoded, framing="command-set")
    bare = [{**event, **dict.fromkeys(STREAMS)} for event in events]
    assert pa.table(decoded).to_pylist() == [
        {**event, "PresentationContextID": 0} for event in bare
    ]
    starts = list(itertools.accumulate(map(len, command_sets), initial=0))
    assert decoded.offsets.tolist() == starts[:-1] == encoded.offsets.tolist()[:-1]
    again = pa.table(decoded).drop_columns("PresentationContextID")
    assert list(encode_events(again, framing="command-set")) == [
        encode_command_set(to_oracle(event)) for event in bare
    ]


REQUEST = {
    **dict.fromkeys(COLUMNS),
    "MessageID": 7,
    "AffectedSOPClassUID": SOP_CLASS,
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": 1,
    "EventInformation": bytes(range(150)),
}
RESPONSE = {**dict.fromkeys(COLUMNS), "MessageIDBeingRespondedTo": 7, "Status": 0x0110}
OPTIONAL = {
    "AffectedSOPClassUID": SOP_CLASS,
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": 2,
    "EventReply": b"reply",
    "ErrorComment": "no such event",
    "ErrorID": 3,
}


def test_every_max_pdu_length_up_to_a_complete_message():
    events = [REQUEST, {**RESPONSE, **OPTIONAL}, RESPONSE]
    table = table_of(events)
    whole = max(len(message) for message in encode_events(table))
    for limit in range(7, whole + 20):
        assert bytes(encode_events(table, max_pdu_length=limit)) == oracle_bytes(events, 1, limit)


@pytest.mark.parametrize("limit", [0, 262, 16382])
def test_every_length_of_data_set_and_comment(limit):
    text = bytes(range(256)) * 3
    events = [{**REQUEST, "EventInformation": text[:length] or None} for length in range(600)]
    events += [
        {**RESPONSE, "ErrorComment": "comment." * 8, "EventReply": text[:length] or None}
        for length in range(130)
    ]
    events += [{**RESPONSE, "ErrorComment": "x" * length} for length in range(1, 65)]
    table = table_of(events)
    encoded = encode_events(table, max_pdu_length=limit)
    assert bytes(encoded) == oracle_bytes(events, 1, limit)
    assert pa.table(decode_events(encoded)).select(COLUMNS).to_pylist() == events


def test_every_pair_of_shapes():
    shapes = [
        {**RESPONSE, **{name: OPTIONAL[name] for name in names}}
        for count in range(len(OPTIONAL) + 1)
        for names in itertools.combinations(OPTIONAL, count)
    ]
    shapes += [REQUEST, {**REQUEST, "EventInformation": None}]
    messages = [encode_p_data(to_oracle(shape)) for shape in shapes]
    # Each pair of shapes occurs once, in order.
    order = [one for pair in itertools.product(range(len(shapes)), repeat=2) for one in pair]
    encoded = encode_events(table_of([shapes[one] for one in order]))
    assert bytes(encoded) == b"".join(messages[one] for one in order)
    assert pa.table(decode_events(encoded)).select(COLUMNS).to_pylist() == [
        shapes[one] for one in order
    ]


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64])
def test_similar_sop_classes(length):
    uid = ("1.34567." * 8)[: length - 1] + "9"
    places = [place for place in range(length) if uid[place] not in ".1"]
    near = [uid[:place] + "2" + uid[place + 1 :] for place in places]
    near += [uid[:-1] + "8", uid, uid[: length // 2].rstrip(".") or "1", uid]
    events = [
        {**REQUEST, "AffectedSOPClassUID": sop_class, "AffectedSOPInstanceUID": instance}
        for sop_class in [*near, *near[::-1], uid]
        for instance in (uid, near[0])
    ]
    table = table_of(events)
    expected = oracle_bytes(events)
    assert bytes(encode_events(table)) == expected
    for name in ("AffectedSOPClassUID", "AffectedSOPInstanceUID"):
        column = table[name].cast(pa.string_view())
        table = table.set_column(table.column_names.index(name), name, column)
    assert bytes(encode_events(table)) == expected
    assert pa.table(decode_events(expected)).select(COLUMNS).to_pylist() == events


batch_sizes = st.integers(1, 12) | st.sampled_from([2**16, 2**31, 2**32, 2**63 - 1])
cut_lists = st.lists(st.integers(0, 30), max_size=6)


@given(
    events=st.lists(rows, max_size=10),
    batch_size=batch_sizes,
    cuts=cut_lists,
    numbered=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "context_id": context_ids,
            "max_pdu_length": max_pdu_lengths,
            "framing": st.sampled_from(["p-data", "command-set"]),
        }
    ),
)
def test_stream_does_not_depend_on_batch_size(events, batch_size, cuts, numbered, options):
    table = table_of(events)
    if numbered:
        table = table.drop_columns("MessageID")
    expected = encode_events(table, **options)
    ways = [chunked(table, cuts), chunked(table, cuts).to_reader(), table.to_pydict()]
    if not numbered:
        ways.append(to_ours(event) for event in events)
    for way in ways:
        batches = list(encode_batches(way, batch_size=batch_size, **options))
        assert all(0 < len(batch) <= batch_size for batch in batches)
        assert b"".join(map(bytes, batches)) == bytes(expected)
        assert [bytes(message) for batch in batches for message in batch] == list(expected)


# Faults, with their field and code, in requests and responses.

LONG = 2**40
FAULTS: dict[str, list[tuple[str, Any, str]]] = {
    "request": [
        ("MessageID", None, "missing"),
        ("MessageID", 65536, "out-of-range"),
        ("MessageID", -1, "out-of-range"),
        ("AffectedSOPClassUID", None, "missing"),
        ("AffectedSOPClassUID", "1.02", "uid"),
        ("AffectedSOPClassUID", "", "uid"),
        ("AffectedSOPInstanceUID", None, "missing"),
        ("AffectedSOPInstanceUID", "1..2", "uid"),
        ("AffectedSOPInstanceUID", "1" * 65, "uid"),
        ("AffectedSOPInstanceUID", "1.2.é", "uid"),
        ("EventTypeID", None, "missing"),
        ("EventTypeID", LONG, "out-of-range"),
        ("EventReply", b"reply", "not-carried"),
        ("Status", 0, "not-carried"),
        ("ErrorComment", "comment", "not-carried"),
        ("ErrorID", 1, "not-carried"),
        ("PresentationContextID", 2, "context-id"),
        ("PresentationContextID", 257, "context-id"),
    ],
    "response": [
        ("MessageID", 7, "not-carried"),
        ("MessageIDBeingRespondedTo", 65536, "out-of-range"),
        ("MessageIDBeingRespondedTo", -LONG, "out-of-range"),
        ("AffectedSOPClassUID", ".1", "uid"),
        ("AffectedSOPInstanceUID", "1.", "uid"),
        ("EventTypeID", -1, "out-of-range"),
        ("EventInformation", b"information", "not-carried"),
        ("Status", None, "missing"),
        ("Status", 65536, "out-of-range"),
        ("ErrorComment", "x" * 65, "text"),
        ("ErrorComment", "two\\values", "text"),
        ("ErrorComment", "é", "text"),
        ("ErrorID", LONG, "out-of-range"),
        ("PresentationContextID", 0, "context-id"),
        ("PresentationContextID", -1, "context-id"),
    ],
}


def kind_of(event: dict[str, Any]) -> str:
    """Return whether a row is a request or a response."""
    return "request" if event["MessageIDBeingRespondedTo"] is None else "response"


def with_fault(event: dict[str, Any], fault: tuple[str, Any, str] | None) -> dict[str, Any]:
    """Return the row with a fault."""
    return event if fault is None else {**event, fault[0]: fault[1]}


faulty_rows = rows.flatmap(
    lambda event: st.tuples(
        st.just(event), st.none() | st.sampled_from(FAULTS[kind_of(event)]) | st.none()
    )
)


@given(
    drawn=st.lists(faulty_rows, max_size=12),
    cuts=cut_lists,
    batch_size=batch_sizes,
    framing=st.sampled_from(["p-data", "command-set"]),
)
@example(  # valid rows with a rejected row at the end, and only rejected rows
    drawn=[(REQUEST, None)] * 9 + [(RESPONSE, FAULTS["response"][0])],
    cuts=[9],
    batch_size=3,
    framing="p-data",
)
@example(drawn=[(REQUEST, FAULTS["request"][0])] * 5, cuts=[2], batch_size=2, framing="command-set")
def test_valid_rows_do_not_depend_on_rejected_ones(drawn, cuts, batch_size, framing):
    events = [with_fault(*one) for one in drawn]
    good = [event for event, fault in drawn if fault is None]
    bad = [(row, fault) for row, (_, fault) in enumerate(drawn) if fault is not None]
    expected = b"".join(
        encode_p_data(to_oracle(event))
        if framing == "p-data"
        else encode_command_set(to_oracle(event))
        for event in good
    )
    table = chunked(table_of(events), cuts)

    encoded = encode_events(table, on_invalid="skip", framing=framing)
    assert (bytes(encoded), len(encoded)) == (expected, len(good))
    assert bytes(encode_events(table_of(good), framing=framing)) == expected
    rejected = list(encoded.rejected)
    assert [(one.row, one.field, one.code) for one in rejected] == [
        (row, field, code) for row, (field, _, code) in bad
    ]
    assert list(validate_events(table)) == rejected
    assert list(validate_events(table.to_pydict())) == rejected
    assert pa.table(encoded.rejected).to_pylist() == [
        {name: getattr(one, name) for name in ("row", "field", "code", "reason", "offset")}
        for one in rejected
    ]

    batches = list(encode_batches(table, batch_size=batch_size, on_invalid="skip", framing=framing))
    assert b"".join(map(bytes, batches)) == expected
    assert [one for batch in batches for one in batch.rejected] == rejected

    if bad:
        with pytest.raises(EncodeError) as caught:
            encode_events(table, framing=framing)
        error, first = caught.value, rejected[0]
        assert (error.row, error.field, error.code) == (first.row, first.field, first.code)
        assert error.reason == first.reason


@given(events=st.lists(rows, min_size=1, max_size=8), row=st.integers(0, 7), cuts=cut_lists)
def test_batches_before_a_rejected_row_are_returned(events, row, cuts):
    row %= len(events)
    broken = [
        {**event, **({"PresentationContextID": 4} if at == row else {})}
        for at, event in enumerate(events)
    ]
    batches = encode_batches(chunked(table_of(broken), cuts), batch_size=1)
    done = [bytes(next(batches)) for _ in range(row)]
    assert b"".join(done) == oracle_bytes(events[:row])
    with pytest.raises(EncodeError) as caught:
        next(batches)
    assert (caught.value.row, caught.value.code) == (row, "context-id")


def test_row_numbers_across_chunks():
    count, every = 70_000, 1000
    uids = ["1.2.3"] * count
    uids[::every] = ["1.02"] * len(uids[::every])
    columns = {
        "AffectedSOPClassUID": pa.array([SOP_CLASS] * count),
        "AffectedSOPInstanceUID": pa.array(uids),
        "EventTypeID": pa.array([1] * count, pa.uint8()),
    }
    table = chunked(pa.table(columns), [1, 999, 1000, 1001, 65535, 65536])
    encoded = encode_events(table, on_invalid="skip")
    assert [one.row for one in encoded.rejected] == list(range(0, count, every))
    numbers = pa.table(decode_events(encoded))["MessageID"].to_pylist()
    assert numbers == [row % 65535 + 1 for row in range(count) if row % every]


# Several threads.

THREADS = [2, 3, 7]
ENOUGH = 9 * 2**20
"""A stream of this length is divided among threads."""


def repeated(events: list[dict[str, Any]], shuffled: bool, options: dict[str, Any]) -> pa.Table:
    """Repeat rows until several threads have work, in runs or shuffled."""
    table = table_of(events)
    size = encode_events(table, on_invalid="skip", **options).nbytes
    times = ENOUGH // max(size, 100 * len(events)) + 1
    order = np.repeat(np.arange(len(events)), times)
    if shuffled:
        np.random.default_rng(times).shuffle(order)
    return table.take(order)


def outcome(call: Callable[..., EncodedEvents], *args: Any, **options: Any) -> Any:
    """Return everything observable of encoded events, or of the error."""
    try:
        encoded = call(*args, **options)
    except EncodeError as error:
        return str(error), error.row, error.field, error.code
    return bytes(encoded), encoded.offsets.tolist(), list(encoded.rejected)


options_of_streams = st.fixed_dictionaries(
    {
        "context_id": context_ids,
        "max_pdu_length": max_pdu_lengths,
        "framing": st.sampled_from(["p-data", "command-set"]),
        "enforce_uid_conformance": st.booleans(),
    }
)


@settings(max_examples=settings.default.max_examples // 5)
@given(
    drawn=st.lists(faulty_rows, min_size=1, max_size=8),
    shuffled=st.booleans(),
    numbered=st.booleans(),
    cuts=st.lists(st.integers(0, 2**16), max_size=6),
    options=options_of_streams,
)
@example(  # no gap between parts; then rejected rows only in the last part, and only in the first
    drawn=[(REQUEST, None), (RESPONSE, None)],
    shuffled=True,
    numbered=False,
    cuts=[],
    options={},
)
@example(
    drawn=[(REQUEST, None)] * 7 + [(RESPONSE, FAULTS["response"][0])],
    shuffled=False,
    numbered=False,
    cuts=[9000, 9000],
    options={"framing": "command-set"},
)
@example(
    drawn=[(REQUEST, FAULTS["request"][7])] + [(REQUEST, None), (RESPONSE, None)] * 3,
    shuffled=False,
    numbered=True,
    cuts=[1, 2, 3],
    options={"max_pdu_length": 7},
)
def test_stream_does_not_depend_on_threads(drawn, shuffled, numbered, cuts, options):
    table = repeated([with_fault(*one) for one in drawn], shuffled, options)
    table = chunked(table.drop_columns("MessageID") if numbered else table, cuts)
    for way in ({**options, "on_invalid": "raise"}, {**options, "on_invalid": "skip"}):
        one = outcome(encode_events, table, **way)
        for threads in THREADS:
            assert outcome(encode_events, table, threads=threads, **way) == one
    rejected = list(encode_events(table, on_invalid="skip", **options).rejected)
    conformance = {"enforce_uid_conformance": options.get("enforce_uid_conformance", True)}
    for threads in (1, *THREADS):
        assert list(validate_events(table, threads=threads, **conformance)) == rejected


def outcomes(batches: Iterator[EncodedEvents]) -> list[Any]:
    """Return the outcomes of all batches, also after errors."""
    found: list[Any] = []
    while True:
        try:
            found.append(outcome(next, batches))
        except StopIteration:
            return found
        except ValueError as error:
            found.append(str(error))


@given(
    drawn=st.lists(faulty_rows, max_size=12),
    cuts=cut_lists,
    breaks=st.integers(0, 9),
    batch_size=batch_sizes,
    on_invalid=st.sampled_from(["raise", "skip"]),
    options=options_of_streams,
)
def test_batches_do_not_depend_on_threads(drawn, cuts, breaks, batch_size, on_invalid, options):
    table = chunked(table_of([with_fault(*one) for one in drawn]), cuts)

    def parts() -> Iterator[pa.RecordBatch]:
        for place, batch in enumerate(table.to_batches()):
            if place == breaks:
                raise OSError("the reader broke")
            yield batch

    def found(threads: int) -> list[Any]:
        reader = pa.RecordBatchReader.from_batches(table.schema, parts())
        options_ = {"batch_size": batch_size, "on_invalid": on_invalid, **options}
        return outcomes(encode_batches(reader, threads=threads, **options_))

    one = found(1)
    broke = any(isinstance(seen, str) and "the reader broke" in seen for seen in one)
    assert broke == (breaks < len(table.to_batches()))
    for threads in THREADS:
        assert found(threads) == one


# Other framings of the same messages.

Pdv = tuple[int, int, bytes]
LAST = 0b10
"""Bit of the last fragment in the message control header (PS3.8 E.2)."""


def dimse(message: DIMSEMessage, primitive: Any, limit: int) -> list[Pdv]:
    """Return the PDVs of another DIMSE message, encoded by pynetdicom."""
    message.primitive_to_message(primitive)
    stream = b""
    for fragment in message.encode_msg(5, limit):
        pdu = P_DATA_TF()
        pdu.from_primitive(fragment)
        stream += pdu.encode()
    return parts(stream)


def others(limit: int) -> dict[str, list[Pdv]]:
    """Return a C-ECHO-RQ, and a C-STORE-RQ with a data set."""
    echo = C_ECHO()
    echo.MessageID, echo.AffectedSOPClassUID = 1, "1.2.840.10008.1.1"
    store = C_STORE()
    store.MessageID, store.Priority = 2, 0
    store.AffectedSOPClassUID, store.AffectedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    store.DataSet = BytesIO(b"\x00" * 100)
    return {
        "C-ECHO-RQ": dimse(C_ECHO_RQ(), echo, limit),
        "C-STORE-RQ": dimse(C_STORE_RQ(), store, limit),
    }


OTHER_PDUS = {
    "A-ASSOCIATE-AC": struct.pack(">BBI", 2, 0, 68) + bytes(68),
    "A-RELEASE-RQ": RELEASE,
    "A-ABORT": struct.pack(">BBI4x", 7, 0, 4),
}


@dataclass
class Reframed:
    """A stream as a peer can send it, and its events."""

    stream: bytes
    offsets: list[int]
    skipped: Counter[str]


def cut(draw: st.DrawFn, pdv: Pdv) -> list[Pdv]:
    """Divide a fragment into several, which can be empty."""
    context_id, control, fragment = pdv
    cuts = sorted(draw(st.lists(st.integers(0, len(fragment)), max_size=3)))
    pieces = [fragment[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(fragment)])]
    *before, last = pieces
    return [
        *((context_id, control & ~LAST, piece) for piece in before),
        (context_id, control, last),
    ]


@st.composite
def reframed(draw: st.DrawFn, messages: list[list[Pdv]], limit: int) -> Reframed:
    """Divide fragments, insert other messages, and join PDVs of all messages in PDUs."""
    known = others(limit)
    skipped: Counter[str] = Counter()
    items: list[tuple[Pdv | bytes, bool]] = []  # and whether it is the first PDV of an event
    for message in messages:
        for name in draw(st.lists(st.sampled_from([*known, *OTHER_PDUS]), max_size=2)):
            skipped[name] += 1
            items += [(other, False) for other in known.get(name) or [OTHER_PDUS[name]]]
        fragments = [fragment for pdv in message for fragment in cut(draw, pdv)]
        items += [(fragment, at == 0) for at, fragment in enumerate(fragments)]
    stream, offsets, together = b"", [], []
    for item, begins in items:
        if together and (isinstance(item, bytes) or draw(st.booleans())):
            stream += p_data(*together)
            together = []
        if begins:
            offsets.append(len(stream))
        if isinstance(item, bytes):
            stream += item
        else:
            together.append(item)
    return Reframed(stream + (p_data(*together) if together else b""), offsets, skipped)


def shortened(event: dict[str, Any]) -> dict[str, Any]:
    """Return the row with data sets of few fragments."""
    return {**event, **{name: (event[name] or b"")[:3000] for name in STREAMS}}


@given(
    events=st.lists(wide_rows, max_size=5),
    limit=st.sampled_from([0, 30, 100, 16382]),
    framed=st.data(),
)
def test_events_do_not_depend_on_framing(events, limit, framed):
    events = [as_sent(shortened(event)) for event in events]
    messages = [parts(encode_p_data(to_oracle(event), 3, limit)) for event in events]
    sent = framed.draw(reframed(messages, limit))
    decoded = decode_events(sent.stream)
    assert pa.table(decoded).to_pylist() == [
        {**event, "PresentationContextID": 3} for event in events
    ]
    assert decoded.offsets.tolist() == sent.offsets
    assert decoded.skipped == sent.skipped
    assert len(decoded.rejected) == 0
    assert bytes(encode_events(decoded)) == oracle_bytes(events, 3)


@given(event=wide_rows, limit=st.sampled_from([0, 100]), data=st.data())
def test_fragments_as_pynetdicom(event, limit, data):
    pdvs = parts(encode_p_data(to_oracle(as_sent(shortened(event))), 1, limit))
    fragments = [fragment for pdv in pdvs for fragment in cut(data.draw, pdv)]
    stream = b"".join(p_data(fragment) for fragment in fragments)
    assert_same(decode_events(stream), decode_stream(stream))
