"""NDJSON and CSV row by row: a line that cannot be read is a rejected row."""

import copy
import csv
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdimse import encode_batches, encode_events
from fastdimse.cli.row_files import read_csv, read_ndjson
from fastdimse.cli.row_files.read import open_rows
from fastdimse.cli.row_files.row_file import RowFile
from scripted_peer import HOST
from test_command_line import run
from test_delivery import listener

EVENT = {
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": 2,
}
FAILED = {
    "ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "ReferencedSOPInstanceUID": "1.2.3.5",
    "FailureReason": 274,
}
PATH = "EventInformation.FailedSOPSequence[0]"
ROW = json.dumps(EVENT)
HEADER = ",".join(EVENT)
CELLS = ",".join(map(str, EVENT.values()))
DEEP = 100_000
NESTED = '{"a":' * DEEP + "1" + "}" * DEEP


def report(number: int, **changes: Any) -> dict[str, Any]:
    """Return a report of storage commitment; `changes` are of its failed item."""
    information = {"TransactionUID": f"1.2.{number}", "FailedSOPSequence": [{**FAILED, **changes}]}
    return {"MessageID": number % 65536, **EVENT, "EventInformation": information}


def read(path: Path, content: str | bytes) -> tuple[bytes, list[Any]]:
    """Return the stream of a file, and the lines, fields and codes of rejected rows."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    stream = b""
    with open_rows(RowFile(str(path))) as rows:
        for encoded in encode_batches(rows, on_invalid="skip"):
            stream += bytes(encoded)
            for one in encoded.rejected:
                # The encoder rejects each row that could not be read.
                assert one.row is not None
                assert rows.unreadable(one.row) is not None, str(one)
        assert rows.text is not None
        return stream, [(one.line, one.field, one.code) for one in rows.text.rejected.values()]


def reason_of(path: Path, content: str | bytes) -> str:
    """Return the reason of the only row that is rejected."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with open_rows(RowFile(str(path))) as rows:
        for _ in encode_batches(rows, on_invalid="skip"):
            pass
        assert rows.text is not None
        [rejected] = rows.text.rejected.values()
        return rejected.reason


# --------------------------------------------------------------- seven mistakes


def test_seven_mistakes_in_a_thousand_lines(tmp_path):
    rows = [report(number + 1) for number in range(1000)]
    lines = [json.dumps(row) for row in rows]
    misspelt = copy.deepcopy(rows[399])
    misspelt["EventInformation"]["FailedSOPSequence"][0]["FailureReson"] = 274
    lines[99] = lines[99][:-3]
    lines[199] = json.dumps({**rows[199], "EventTypeID": True})
    lines[299] = json.dumps({"EventTypeId": 1, **rows[299]})
    lines[399] = json.dumps(misspelt)
    lines[499] = json.dumps(report(500, FailureReason="x"))
    lines[599] = json.dumps({**rows[599], "EventInformation": "AAA"})
    lines[699] = json.dumps(report(700, FailureReason=70000))
    # Not a mistake: a number in quotes.
    lines[799] = json.dumps(report(800, FailureReason="274"))
    expected = [
        (100, None, "not-json", "not JSON: Expecting ',' delimiter"),
        (200, "EventTypeID", "wrong-type", "must be an integer, not true"),
        (300, "EventTypeId", "unknown-column", "did you mean 'EventTypeID'?"),
        (400, f"{PATH}.FailureReson", "unknown-column", "did you mean 'FailureReason'?"),
        (500, f"{PATH}.FailureReason", "not-a-number", "must be an integer (VR US), not"),
        (600, "EventInformation", "base64", "3 characters: the length of base64 is a multiple"),
        (700, f"{PATH}.FailureReason", "out-of-range", "outside the range of VR US: 0 to 65535"),
    ]
    source, stream, rejects = (tmp_path / name for name in ("in.ndjson", "out.bin", "bad.csv"))
    source.write_text("\n".join(lines) + "\n")
    done = run("encode", source, "-o", stream, "--rejects", rejects)
    assert (done.returncode, b"993 messages" in done.stderr) == (1, True), done.stderr
    assert b"7 rows rejected" in done.stderr
    bad = {line for line, *_ in expected}
    good = [row for number, row in enumerate(rows, 1) if number not in bad]
    assert stream.read_bytes() == bytes(encode_events(good))
    written = pyarrow.csv.read_csv(rejects).to_pylist()
    assert len(written) == 7
    for row, (line, field, code, reason) in zip(written, expected, strict=True):
        found = (row["row"], row["line"], row["field"] or None, row["code"])
        assert found == (line - 1, line, field, code)
        assert reason in row["reason"]
    validated = run("validate", source, "--json", "--standard")
    assert validated.returncode == 1
    shown = [json.loads(line) for line in validated.stdout.splitlines()]
    assert [(one["line"], one["code"]) for one in shown] == [(one[0], one[2]) for one in expected]


# ----------------------------------------------------------------- single lines


JSON_LINES = [
    ("null", "not-an-object"),
    ("  null  ", "not-an-object"),
    (f"{ROW} null", "not-json"),
    (f"null {ROW}", "not-json"),
    (f"{ROW} {ROW}", "not-json"),
    (f"{ROW} null {ROW}", "not-json"),
    ("nullnull", "not-json"),
    ("\0", "not-json"),
    ("true", "not-an-object"),
    ("1", "not-an-object"),
    (f"[{ROW}]", "not-an-object"),
    ("[" * DEEP, "too-deep"),
    (f'{ROW[:-1]}, "ErrorComment": {NESTED}}}', "too-deep"),
    (f'{ROW[:-1]}, "EventInformation": {NESTED}}}', "too-deep"),
    (ROW[:-10], "not-json"),
    (ROW.replace(": 2}", f": {'9' * 400}}}"), "out-of-range"),
    (ROW.replace(": 2}", f": {'9' * 5000}}}"), "not-json"),
    (ROW.replace(": 2}", ": 1e999}"), "wrong-type"),
    (ROW.replace(": 2}", ": NaN}"), "not-json"),
    (ROW.replace(": 2}", ": 2.5}"), "wrong-type"),
    (ROW.replace(": 2}", ': "0110"}'), "not-a-number"),
    (ROW.replace(": 2}", ': "two"}'), "not-a-number"),
    (ROW.replace(": 2}", ": false}"), "wrong-type"),
    (ROW.replace(": 2}", ': 2, "EventTypeID": 2}'), "repeated-name"),
    (ROW.replace(": 2}", ': 2, "ErrorComment": 5}'), "wrong-type"),
    (ROW.replace(": 2}", ': 2, "ErrorComment": "\\ud800"}'), "not-json"),
    (ROW.replace(": 2}", ': 2, "ErrorComment": "\xff"}').encode("latin-1"), "not-utf-8"),
    (ROW.replace(": 2}", ': 2, "EventReply": "?"}'), "base64"),
    (ROW.replace(": 2}", ': 2, "Nonsense": 1}'), "unknown-column"),
]


@pytest.mark.parametrize("other", [ROW, json.dumps(report(1))])
@pytest.mark.parametrize(("line", "code"), JSON_LINES)
def test_wrong_lines_of_json(tmp_path, other, line, code):
    bad = line if isinstance(line, bytes) else line.encode()
    good = other.encode()
    content = b"\n".join([good, b"", bad, good])
    stream, rejected = read(tmp_path / "in.ndjson", content)
    assert [(one[0], one[2]) for one in rejected] == [(3, code)]
    row = json.loads(other)
    ids = [row.get("MessageID", number) for number in (1, 3)]
    expected = [{**row, "MessageID": number} for number in ids]
    assert stream == bytes(encode_events(expected))
    # Also as the only line.
    assert [one[2] for one in read(tmp_path / "in.ndjson", bad)[1]] == [code]


@pytest.mark.parametrize(
    "value", ['"2"', '" 2 "', '"+2"', '"0x2"', '"2.0"', "2.0", "2e0", '"\\u0032"']
)
def test_unambiguous_numbers(tmp_path, value):
    line = ROW.replace(": 2}", f": {value}}}")
    stream, rejected = read(tmp_path / "in.ndjson", f"{line}\n{ROW}")
    assert (stream, rejected) == (bytes(encode_events([EVENT, EVENT])), [])


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b"\r\n \r\n"])
@pytest.mark.parametrize("last", [b"", b"\n"])
def test_forms_of_files(tmp_path, mark, end, last):
    expected = bytes(encode_events([EVENT, EVENT, EVENT]))
    lines = [ROW.encode()] * 3
    assert read(tmp_path / "in.ndjson", mark + end.join(lines) + last) == (expected, [])
    if b" " not in end:
        rows = [HEADER.encode(), *[CELLS.encode()] * 3]
        assert read(tmp_path / "in.csv", mark + end.join(rows) + last) == (expected, [])


@pytest.mark.parametrize(
    ("attributes", "path", "code"),
    [
        ({"Nonsense": "1"}, ".Nonsense", "unknown-column"),
        ({"FailureReason": True}, ".FailureReason", "wrong-type"),
        ({"FailureReason": [1, {}]}, ".FailureReason[1]", "wrong-type"),
        ({"FailureReason": {"x": 1}}, ".FailureReason", "wrong-type"),
        ({"FailureReason": 10**30}, ".FailureReason", "out-of-range"),
        ({"TransactionUID": 1}, ".TransactionUID", "wrong-type"),
        ({"TransactionUID": [["1"]]}, ".TransactionUID[0]", "wrong-type"),
        ({"FailedSOPSequence": {"FailureReason": 1}}, ".FailedSOPSequence", "wrong-type"),
        ({"FailedSOPSequence": ["x"]}, ".FailedSOPSequence[0]", "wrong-type"),
        ({"FailedSOPSequence": [{}, {"FailureReson": 1}]}, ".FailedSOPSequence[1].FailureReson",
         "unknown-column"),
        ({"EncapsulatedDocument": "AAAA"}, ".EncapsulatedDocument", "wrong-type"),
        ({"EncapsulatedDocument": {"InlineBinary": "?"}}, ".EncapsulatedDocument", "base64"),
        ({"00081195": {"vr": "UI", "Value": "1"}}, ".00081195", "wrong-type"),
        ({"00081195": {"Value": ["1"]}}, ".00081195", "wrong-type"),
        ({"MessageID": 1}, ".MessageID", "wrong-type"),
    ],
)  # fmt: skip
def test_wrong_attributes(tmp_path, attributes, path, code):
    bad = {**report(2), "EventInformation": attributes}
    lines = [json.dumps(row) for row in (report(1), bad, report(3))]
    stream, rejected = read(tmp_path / "in.ndjson", "\n".join(lines))
    assert rejected == [(2, f"EventInformation{path}", code)]
    assert stream == bytes(encode_events([report(1), report(3)]))


CSV_ROWS = [
    ("1.2,1.3", "cells", None),
    ("1.2,1.3,1,x,y", "cells", None),
    ('1.2,1.3,1,"x', "quotes", None),
    ('1.2,1.3,1,"x"y', "quotes", None),
    ("1.2,1.3,x,", "not-a-number", "EventTypeID"),
    ("1.2,1.3,true,", "not-a-number", "EventTypeID"),
    ("1.2,1.3,99999999999999999999,", "out-of-range", "EventTypeID"),
    (b"1.2,1.3,1,\xff", "not-utf-8", "ErrorComment"),
    (f"1.2,1.3,1,{'x' * 3000}", "too-long", None),
]


@pytest.mark.parametrize(("row", "code", "field"), CSV_ROWS)
@pytest.mark.parametrize("is_last", [False, True])
def test_wrong_rows_of_csv(tmp_path, monkeypatch, row, code, field, is_last):
    monkeypatch.setattr(read_csv, "_MAX_ROW_BYTES", 2000)
    monkeypatch.setattr(read_csv, "_BLOCK_BYTES", 512)
    bad = row if isinstance(row, bytes) else row.encode()
    # A number in quotes, a line break and a comma in quotes, and a quote in a cell without quotes.
    good = [f'{CELLS},"a\n,b"', f'{",".join(CELLS.split(",")[:2])},"2",5" c'] * 40
    content = "\n".join([f"{HEADER},ErrorComment", *good]).encode() + b"\n" + bad
    if not is_last:
        content += ("\n" + "\n".join(good)).encode()
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    with open_rows(RowFile(str(path))) as rows:
        found = pa.table(rows).to_pylist()
        assert rows.text is not None
        rejected = [(one.line, one.field, one.code) for one in rows.text.rejected.values()]
    # Each pair of good rows has three lines.
    assert rejected == [(122, field, code)]
    names = [*EVENT, "ErrorComment"]
    expected = list(csv.DictReader("\n".join(good).splitlines(keepends=True), names))
    assert found[80] == dict.fromkeys(names)
    for part in (found[:80], *([] if is_last else [found[81:]])):
        assert [{**row, "EventTypeID": str(row["EventTypeID"])} for row in part] == expected


def test_a_wrong_header_is_an_error_of_the_file(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text(f"{HEADER},EventTypeId\n{CELLS},1\n")
    done = run("validate", source)
    assert done.returncode == 2
    assert b"unknown column 'EventTypeId': did you mean 'EventTypeID'?" in done.stderr


def test_a_line_longer_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(read_ndjson, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(read_ndjson, "_MAX_LINE_BYTES", 1000)
    content = f"{ROW}\n{' ' * 1500}{{}}\n{ROW}\n" + " " * 1500
    stream, rejected = read(tmp_path / "in.ndjson", content)
    assert rejected == [(2, None, "too-long"), (4, None, "too-long")]
    assert stream == bytes(encode_events([{**EVENT, "MessageID": one} for one in (1, 3)]))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_row_after_a_row_longer_than_the_limit(tmp_path, monkeypatch, end):
    monkeypatch.setattr(read_csv, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(read_csv, "_MAX_ROW_BYTES", 300)
    path = tmp_path / "in.csv"
    # Every position of the line break in the blocks that are read.
    for size in range(500, 601):
        path.write_bytes(end.join([HEADER, "x" * size, CELLS, ""]).encode())
        with open_rows(RowFile(str(path))) as rows:
            found = pa.table(rows).to_pylist()
            assert rows.text is not None
            rejected = [(row.line, row.code) for row in rows.text.rejected.values()]
        assert rejected == [(2, "too-long")], size
        assert found == [dict.fromkeys(EVENT), EVENT], size


def test_message_ids_of_a_bad_line_do_not_make_a_column(tmp_path):
    bad = f'{{"MessageID": 5, {ROW[1:-1]}'
    stream, rejected = read(tmp_path / "in.ndjson", f"{ROW}\n{bad}\n{ROW}\n")
    assert rejected == [(2, None, "not-json")]
    assert stream == bytes(encode_events([{**EVENT, "MessageID": one} for one in (1, 3)]))


# --------------------------------------------------------------------- damage


@given(data=st.data(), structured=st.booleans())
def test_only_damaged_lines_are_rejected(data, structured):
    count = data.draw(st.integers(1, 60))
    rows = [report(n) if structured else {"MessageID": n, **EVENT} for n in range(count)]
    lines = [json.dumps(row) for row in rows]
    for number in data.draw(st.sets(st.integers(0, count - 1))):
        line = lines[number]
        at = data.draw(st.integers(0, len(line) - 1))
        inserted = data.draw(
            st.sampled_from(['"', "{", "}", ",", "x", "1", "[", ":", " ", "", "\\"])
        )
        lines[number] = line[:at] + inserted + line[at + data.draw(st.integers(0, 2)) :]
    good, bad = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            encoded = bytes(encode_events([row]))
            if "MessageID" not in row:
                raise ValueError
            good.append(encoded)
        except (ValueError, TypeError, OverflowError, RecursionError):
            bad.append(number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.ndjson"
        path.write_text("\n".join(lines))
        found = []
        stream = b""
        with open_rows(RowFile(str(path))) as opened:
            for encoded in encode_batches(opened, on_invalid="skip"):
                stream += bytes(encoded)
                found += [opened.line(one.row) for one in encoded.rejected]
    assert found == bad
    assert stream == b"".join(good)


def test_many_bad_lines_take_seconds(tmp_path):
    lines = [ROW if number % 2 else ROW[:-4] for number in range(40_000)]
    begin = time.process_time()
    _, rejected = read(tmp_path / "in.ndjson", "\n".join(lines))
    assert len(rejected) == 20_000
    cells = [CELLS if number % 2 else CELLS + '"' for number in range(40_000)]
    _, rejected = read(tmp_path / "in.csv", "\n".join([HEADER, *cells]))
    assert len(rejected) == 20_000
    assert time.process_time() - begin < 20


# ----------------------------------------------------------------------- send


@pytest.mark.parametrize("suffix", [".ndjson", ".csv"])
def test_send_delivers_the_good_lines(tmp_path, suffix):
    source, outcomes = tmp_path / f"in{suffix}", tmp_path / "outcomes.csv"
    with listener() as (port, got):
        name = f"ANY-SCP@{HOST}:{port}"
        good, other = {**EVENT, "Peer": "ANY-SCP"}, {**EVENT, "Peer": "ANYSCP"}
        if suffix == ".csv":
            lines = [",".join(good), ",".join(map(str, good.values()))]
            lines += ["x", ",".join(map(str, other.values())), lines[1]]
        else:
            lines = [json.dumps(good), "x", json.dumps(other), json.dumps(good)]
        source.write_text("\n".join(lines))
        done = run("send", source, HOST, port, "--outcomes", outcomes)
    assert done.returncode == 1, done.stderr
    assert name.encode() in done.stdout
    assert len(got) == 2
    rows = pyarrow.csv.read_csv(outcomes).to_pylist()
    assert [row["Failure"] or None for row in rows][1:3] == [
        "not-json" if suffix == ".ndjson" else "cells",
        "peer",
    ]
    line = 3 if suffix == ".csv" else 2
    assert rows[1]["Reason"].startswith(f"line {line}: ")
    assert f"line {line + 1}, Peer: 'ANYSCP' is not a peer".encode() in done.stderr
    assert b"did you mean 'ANY-SCP'?" in done.stderr


# ------------------------------------------------------------------- interrupts


INTERRUPTED = """
import os, signal, sys, threading, time
import fastdimse.cli
delay = float(sys.argv[1])
def interrupt():
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
fastdimse.cli.main(["encode", "-", "-f", "csv", "-o", sys.argv[2]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_while_standard_input_is_read(tmp_path):
    out = tmp_path / "out.bin"
    processes = []
    for number in range(4):
        command = [sys.executable, "-c", INTERRUPTED, str(0.5 + 0.4 * number), str(out)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(f"{HEADER}\n{CELLS}\n".encode())
        process.stdin.flush()
        processes.append(process)
    for process in processes:
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
        _, error = process.communicate()
        # An abort would be -SIGABRT.
        assert process.returncode in (130, -signal.SIGINT), error
        assert b"terminate called" not in error
    assert list(tmp_path.iterdir()) == []
