"""Decoding of streams to columns and primitives, also of invalid streams."""

import io
import mmap
import struct

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastdimse import DecodeError, decode_events, encode_events
from oracle import decode_stream, encode_p_data, primitive, split_pdus
from strategies import COLUMNS, max_pdu_lengths, rows
from test_bulk_encode import EVENTS, oracle_bytes, rows_of, to_oracle

RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
STREAM = oracle_bytes(rows_of(EVENTS))
STREAMS = ("EventInformation", "EventReply")


def p_data(*pdvs: tuple[int, int, bytes]) -> bytes:
    """Return a P-DATA-TF PDU of PDVs: context ID, control header, fragment (PS3.8 9.3.5)."""
    items = b"".join(
        struct.pack(">IBB", len(fragment) + 2, context_id, control) + fragment
        for context_id, control, fragment in pdvs
    )
    return struct.pack(">BBI", 4, 0, len(items)) + items


def parts(stream: bytes) -> list[tuple[int, int, bytes]]:
    """Return the PDVs of a stream whose PDUs have one each."""
    return [(pdu[10], pdu[11], pdu[12:]) for pdu in split_pdus(stream)]


@given(events=st.lists(rows, max_size=8), max_pdu_length=max_pdu_lengths)
def test_decoding_undoes_encoding(events, max_pdu_length):
    stream = oracle_bytes(events, 5, max_pdu_length)
    decoded = decode_events(stream)
    table = pa.table(decoded)
    expected = [{**event, "PresentationContextID": 5} for event in events]
    assert table.to_pylist() == expected
    assert bytes(encode_events(decoded, max_pdu_length=max_pdu_length)) == stream
    assert len(decoded) == len(events)
    assert not decoded.rejected
    assert not decoded.skipped


@given(events=st.lists(rows, min_size=1, max_size=5), max_pdu_length=max_pdu_lengths)
def test_primitives_as_pynetdicom(events, max_pdu_length):
    stream = oracle_bytes(events, 1, max_pdu_length)
    for ours, oracle in zip(decode_events(stream), decode_stream(stream), strict=True):
        for name in COLUMNS:
            one, other = getattr(ours, name), getattr(oracle, name)
            if name in STREAMS:
                assert (one.getvalue() if one else b"") == other.getvalue()
            else:
                assert (type(one), one) == (type(other), other)


@given(data=st.data(), framing=st.sampled_from(["p-data", "command-set"]))
def test_any_bytes(data, framing):
    stream = bytearray(oracle_bytes(rows_of(EVENTS), 1, data.draw(max_pdu_lengths)))
    for _ in range(data.draw(st.integers(1, 6))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(stream)))
    decoded = decode_events(bytes(stream[:cut]), framing=framing, on_invalid="skip")
    assert all(0 <= rejection.offset <= cut for rejection in decoded.rejected)
    assert len(list(pa.table(decoded).to_pylist())) == len(decoded)


def test_truncated_at_every_byte():
    ends = [
        0,
        *np.cumsum(
            [len(part) for part in (encode_p_data(to_oracle(row)) for row in rows_of(EVENTS))]
        ),
    ]
    for cut in range(len(STREAM)):
        complete = sum(end <= cut for end in ends) - 1
        if cut in ends:
            assert len(decode_events(STREAM[:cut])) == complete
            continue
        with pytest.raises(DecodeError) as caught:
            decode_events(STREAM[:cut])
        error = caught.value
        assert len(error.events) == complete
        pdus = list(np.cumsum([0, *(len(pdu) for pdu in split_pdus(STREAM))]))
        broken = max(begin for begin in pdus if begin <= cut)
        # Between two PDUs of a message, the error is at the start of the message.
        assert error.offset == (ends[complete] if broken == cut else broken)
        assert f"byte {error.offset}, " in str(error)
        skipped = decode_events(STREAM[:cut], on_invalid="skip")
        assert (len(skipped), len(skipped.rejected)) == (complete, 1)


def test_several_pdvs_in_a_pdu():
    together = p_data(*parts(STREAM))
    assert pa.table(decode_events(together)) == pa.table(decode_events(STREAM))
    fragments = parts(oracle_bytes(rows_of(EVENTS), 1, 20))
    pairs = b"".join(p_data(*fragments[at : at + 2]) for at in range(0, len(fragments), 2))
    assert pa.table(decode_events(pairs)) == pa.table(decode_events(STREAM))


def test_other_pdus_and_messages():
    from pynetdicom.dimse_messages import C_ECHO_RQ
    from pynetdicom.dimse_primitives import C_ECHO
    from pynetdicom.pdu import P_DATA_TF

    echo = C_ECHO()
    echo.MessageID, echo.AffectedSOPClassUID = 1, "1.2.840.10008.1.1"
    message = C_ECHO_RQ()
    message.primitive_to_message(echo)
    pdu = P_DATA_TF()
    pdu.from_primitive(next(message.encode_msg(1, 0)))
    decoded = decode_events(RELEASE + STREAM + pdu.encode() + RELEASE)
    assert len(decoded) == 3
    assert decoded.skipped == {"A-RELEASE-RQ": 2, "C-ECHO-RQ": 1}
    assert decoded.offsets[0] == len(RELEASE)


COMMAND, DATA = parts(oracle_bytes(rows_of(EVENTS)[:1]))
BROKEN = [
    (b"\x00" + STREAM, "pdu-type", 0, 0),
    (p_data(DATA) + STREAM, "orphan-data-set", 6, 3),
    (p_data(COMMAND) + STREAM, "missing-data-set", len(p_data(COMMAND)) + 6, 3),
    (p_data(COMMAND) + RELEASE + STREAM, "association-ends", 0, 3),
    (p_data((1, 1, COMMAND[2][:20])) + RELEASE + STREAM, "association-ends", 0, 3),
    (b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x09\x01\x03" + STREAM, "pdv-length", 6, 3),
    (p_data((1, 3, COMMAND[2][:-1])) + STREAM, "element-length", 12 + len(COMMAND[2]) - 10, 3),
    (p_data((1, 3, b"")) + STREAM, "missing-element", 12, 3),
]


@pytest.mark.parametrize(
    ("stream", "code", "offset", "after"), BROKEN, ids=lambda value: str(value)[:20]
)
def test_errors_and_the_events_after_them(stream, code, offset, after):
    with pytest.raises(DecodeError) as caught:
        decode_events(stream)
    assert (caught.value.code, caught.value.offset, caught.value.row) == (code, offset, 0)
    decoded = decode_events(stream, on_invalid="skip")
    assert len(decoded) == after
    assert (decoded.rejected[0].code, decoded.rejected[0].offset) == (code, offset)


def test_command_sets_alone():
    columns = {**EVENTS, "EventInformation": [None] * 3, "EventReply": [None] * 3}
    encoded = encode_events(columns, framing="command-set")
    decoded = decode_events(encoded, framing="command-set")
    expected = [{**row, "PresentationContextID": 0} for row in rows_of(columns)]
    assert pa.table(decoded).to_pylist() == expected
    with pytest.raises(DecodeError, match="Command Group Length"):
        decode_events(b"\x00\x00\x10\x01\x02\x00\x00\x00\x07\x00", framing="command-set")
    with pytest.raises(DecodeError) as caught:
        decode_events(bytes(encoded)[:-1], framing="command-set")
    assert (caught.value.code, len(caught.value.events)) == ("truncated", 2)


def test_any_buffer(tmp_path):
    expected = pa.table(decode_events(STREAM))
    path = tmp_path / "stream.bin"
    path.write_bytes(STREAM)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        decoded = decode_events(mapped)
        assert pa.table(decoded) == expected
        del decoded
    for buffer in (
        bytearray(STREAM),
        memoryview(b"?" + STREAM)[1:],
        np.frombuffer(STREAM, dtype=np.uint8),
        encode_events(EVENTS),
        io.BytesIO(STREAM).getbuffer(),
    ):
        assert pa.table(decode_events(buffer)) == expected
    for other in ("text", 7, None, memoryview(STREAM)[::2]):
        with pytest.raises((TypeError, BufferError)):
            decode_events(other)


def test_read_only_views_of_memory_that_changes(tmp_path):
    """A read-only buffer only prevents writes through this view."""
    expected = pa.table(decode_events(STREAM))
    other = bytes(len(STREAM))

    def decoded_before(view, change):
        decoded = decode_events(view)
        change()
        return decoded

    memory, array = bytearray(STREAM), np.frombuffer(STREAM, dtype=np.uint8).copy()
    view = array.view()
    view.flags.writeable = False
    path = tmp_path / "stream.bin"
    path.write_bytes(STREAM)
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        for decoded in (
            decoded_before(
                memoryview(memory).toreadonly(), lambda: memory.__setitem__(slice(None), other)
            ),
            decoded_before(view, lambda: array.fill(0)),
            decoded_before(mapped, lambda: file.truncate(0)),
        ):
            assert pa.table(decoded) == expected
            assert bytes(encode_events(decoded)) == bytes(encode_events(expected))


def test_columns_outlive_the_stream():
    stream = bytearray(STREAM)
    table = pa.table(decode_events(stream))
    stream[:] = bytes(len(stream))
    assert table["EventInformation"].to_pylist() == EVENTS["EventInformation"]
    frame = pl.DataFrame(decode_events(bytes(bytearray(STREAM))))
    assert frame["EventReply"].to_list() == EVENTS["EventReply"]


def test_columns_in_other_types():
    decoded = decode_events(STREAM)
    plain = pa.schema(
        [
            (name, pa.string() if "UID" in name or name == "ErrorComment" else field.type)
            for name, field in ((field.name, field) for field in pa.schema(decoded))
        ]
    )
    plain = plain.set(5, pa.field("EventInformation", pa.binary()))
    table = pa.RecordBatchReader.from_stream(
        decoded, schema=plain.set(10, pa.field("PresentationContextID", pa.uint8()))
    ).read_all()
    assert table["EventInformation"].to_pylist() == EVENTS["EventInformation"]


def test_latin_1_text_and_nonconformant_uids():
    event = primitive(MessageIDBeingRespondedTo=1, Status=0, ErrorComment="café")
    event.AffectedSOPInstanceUID = "1.02.x"
    decoded = decode_events(encode_p_data(event))
    assert pa.table(decoded)["ErrorComment"].to_pylist() == ["café"]
    assert decoded[0].ErrorComment == "café"
    assert decoded[0].AffectedSOPInstanceUID == "1.02.x"


def test_sequence_of_primitives():
    decoded = decode_events(STREAM)
    assert decoded[-1].MessageID == 65535
    with pytest.raises(IndexError):
        decoded[3]
    assert decoded[0].EventInformation is not decoded[0].EventInformation
    assert [event.MessageID for event in decoded] == EVENTS["MessageID"]
    with pytest.raises(ValueError, match="'raise' or 'skip'"):
        decode_events(STREAM, on_invalid="stop")


def everything(decoded):
    """Return everything that was decoded."""
    rejected = [(one.row, one.offset, one.code) for one in decoded.rejected]
    table = pa.table(decoded).to_pylist()
    return table, decoded.offsets.tolist(), rejected, decoded.skipped


# More than 128 KiB of the stream for each thread, by repeating drawn events.
LONG = 700_000
odd_pieces = st.sampled_from(
    [
        RELEASE,
        p_data((1, 2, b"no command")),
        p_data((1, 3, b"no command set")),
        # A message as data set of another message.
        oracle_bytes([{**rows_of(EVENTS)[0], "EventInformation": STREAM}]),
    ]
)


@settings(max_examples=30)
@given(
    events=st.lists(rows, min_size=1, max_size=12),
    odd=st.lists(odd_pieces, max_size=3),
    max_pdu_length=max_pdu_lengths,
    threads=st.sampled_from([2, 3, 7]),
)
def test_results_do_not_depend_on_threads(events, odd, max_pdu_length, threads):
    piece = oracle_bytes(events, 3, max_pdu_length) + b"".join(odd)
    stream = piece * (LONG // len(piece))
    one = decode_events(stream, on_invalid="skip")
    several = decode_events(stream, on_invalid="skip", threads=threads)
    assert everything(several) == everything(one)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_first_error_with_any_number_of_threads(threads):
    good = STREAM * (LONG // len(STREAM))
    broken = good + p_data((1, 2, b"no command")) + good
    with pytest.raises(DecodeError) as raised:
        decode_events(broken, threads=threads)
    assert raised.value.offset == len(good) + 6
    assert len(raised.value.events) == len(rows_of(EVENTS)) * (LONG // len(STREAM))


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one(threads):
    with pytest.raises(ValueError, match=f"threads must be at least 1, not {threads}"):
        decode_events(STREAM, threads=threads)
