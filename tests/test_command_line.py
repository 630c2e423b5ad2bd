"""The command line as a program."""

import base64
import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from fastdimse import decode_capture, decode_events, encode_capture, encode_events
from fastdimse.cli.row_files import read_ndjson
from fastdimse.cli.row_files.read import open_rows
from fastdimse.cli.row_files.row_file import RowFile
from oracle import decode_stream
from test_bulk_encode import EVENTS, SCHEMA, oracle_bytes, rows_of

EXAMPLES = Path(__file__).parent.parent / "examples"
REQUESTS = EXAMPLES / "orthanc-storage-commitment.requests.bin"
CAPTURE = EXAMPLES / "orthanc-storage-commitment.pcap"
STREAM = oracle_bytes(rows_of(EVENTS))
DATA_SETS = ("EventInformation", "EventReply")


def run(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the program, with a width in which no table is wrapped."""
    command = [sys.executable, "-m", "fastdimse", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "1000"}
    return subprocess.run(
        command, input=stdin, capture_output=True, timeout=60, check=False, env=environment
    )


def ndjson(columns: dict[str, list[Any]]) -> bytes:
    """Return events as NDJSON, with data sets in base64."""
    lines = []
    for row in rows_of(columns):
        shown = {
            name: base64.b64encode(value).decode() if name in DATA_SETS else value
            for name, value in row.items()
            if value is not None
        }
        lines.append(json.dumps(shown) + "\n")
    return "".join(lines).encode()


def write(path: Path) -> Path:
    """Write the events in the format of the suffix."""
    table = pa.table(EVENTS, schema=SCHEMA)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".arrow":
        pyarrow.feather.write_feather(table, path)
    elif path.suffix == ".ndjson":
        path.write_bytes(ndjson(EVENTS))
    else:
        for name in DATA_SETS:
            text = [value and base64.b64encode(value).decode() for value in EVENTS[name]]
            table = table.set_column(table.column_names.index(name), name, pa.array(text))
        pyarrow.csv.write_csv(table, path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".ndjson", ".csv"])
def test_every_input_and_output_format(tmp_path, suffix):
    stream, back, again = (tmp_path / name for name in ("out.bin", f"back{suffix}", "again.bin"))
    for arguments in (
        ("encode", write(tmp_path / f"in{suffix}"), "-o", stream),
        ("decode", stream, "-o", back),
        ("encode", back, "-o", again),
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr.decode()
    assert stream.read_bytes() == STREAM
    assert again.read_bytes() == STREAM


def test_pipes():
    encoded = run("encode", "-", "--format", "ndjson", "-o", "-", stdin=ndjson(EVENTS))
    assert (encoded.returncode, encoded.stdout) == (0, STREAM)
    decoded = run("decode", "-", "--json", stdin=STREAM)
    assert decoded.returncode == 0
    rows = [json.loads(line) for line in decoded.stdout.splitlines()]
    assert [row.get("MessageID") for row in rows] == EVENTS["MessageID"]
    assert base64.b64decode(rows[0]["EventInformation"]) == b"information"


def test_the_real_stream_as_a_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    done = run("decode", REQUESTS, "--full")
    assert done.returncode == 0
    text = done.stdout.decode()
    assert text.count("request ") >= 24
    assert "24" in text.splitlines()[-1]


def test_the_real_capture_as_a_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    done = run("decode", CAPTURE, "--full")
    assert (done.returncode, done.stderr) == (0, b"")
    *_, summary = lines = done.stdout.decode().splitlines()
    shown = [line for line in lines if "ORTHANC → PEER" in line and line.startswith("│")]
    expected = json.loads((EXAMPLES / "orthanc-storage-commitment.expected.json").read_text())
    assert len(shown) == len(expected["requests"]) == 24
    for line, request in zip(shown, expected["requests"], strict=True):
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        assert cells[5:9] == [
            str(request["MessageID"]),
            "Storage Commitment Push Model SOP Class",
            [
                "1 Storage Commitment Request Successful",
                "2 Storage Commitment Request Complete - Failures Exist",
            ][request["EventTypeID"] - 1],
            "0x0000 Success",
        ]
        assert cells[9].endswith(" ms")
    assert summary.startswith(
        "24 events, 0 without a response; 24 actions, 0 without a response; "
        "25 associations in 25 TCP streams of 614 "
    )
    assert "N-ACTION-RQ" not in summary


def test_actions_of_the_real_capture_in_the_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    lines = run("decode", CAPTURE, "--full").stdout.decode().splitlines()
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    rows = [cells for cells in rows if len(cells) == 11 and "→" in cells[1] and cells[0]]
    actions = [cells for cells in rows if cells[2] == "PEER → ORTHANC"]
    assert [cells[7] for cells in actions] == ["N-ACTION 1"] * 24
    assert [cells[0] for cells in rows] == sorted(cells[0] for cells in rows)
    # Each request for storage commitment has the transaction UID of its report.
    uids = [cells[10] for cells in rows]
    requested, reported = (
        sorted(uid for uid, cells in zip(uids, rows, strict=True) if (cells in actions) is one)
        for one in (True, False)
    )
    assert requested == reported
    assert all(uid.startswith("TransactionUID: ") for uid in uids)


def test_actions_of_a_capture_as_rows(tmp_path):
    out = tmp_path / "actions.parquet"
    done = run("decode", CAPTURE, "-o", out, "--actions")
    assert (done.returncode, done.stdout) == (0, b"")
    captured = decode_capture(CAPTURE.read_bytes())
    assert pyarrow.parquet.read_table(out).to_pylist() == pa.table(captured.actions).to_pylist()
    rows = [
        json.loads(line)
        for line in run("decode", CAPTURE, "--actions", "--json").stdout.splitlines()
    ]
    assert [row["ActionTypeID"] for row in rows] == [1] * 24


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([CAPTURE, "--actions"], b"--actions requires --out or --json"),
        ([REQUESTS, "--json", "--actions"], b"only be used for a capture"),
        ([CAPTURE, "--json", "--actions", "--names"], b"cannot be used with --names"),
        ([CAPTURE, "--json", "--actions", "--data-sets", "structured"], b"--data-sets bytes"),
    ],
)
def test_options_of_actions(options, reason):
    done = run("decode", *options)
    assert done.returncode == 2
    assert reason in b" ".join(done.stderr.split())


NAMED = {
    "MessageIDBeingRespondedTo": [None, 1, 2, 3, None, None],
    "AffectedSOPClassUID": [
        "1.2.840.10008.5.1.1.16",
        "1.2.840.10008.5.1.1.16",
        None,
        "1.2.840.10008.5.1.4.34.6.4",
        "1.2.3",
        "1.2.840.10008.5.1.1.16",
    ],
    "AffectedSOPInstanceUID": "1.2.840.10008.5.1.1.17",
    "EventTypeID": [2, 2, 2, 5, 1, 9],
    "Status": [None, 0x0112, 0xC001, 0x0003, None, None],
}


def test_names_in_the_table_and_in_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    stream = tmp_path / "in.bin"
    stream.write_bytes(encode_events(NAMED))
    done = run("decode", stream, "--full")
    cells = [
        [cell.strip() for cell in line.strip("│").split("│")][4:6]
        for line in done.stdout.decode().splitlines()
        if line.startswith("│")
    ]
    assert cells == [
        ["2 Warning", ""],
        ["2 Warning", "0x0112 No such SOP Instance"],
        ["2", "0xC001 Failure"],
        ["5 UPS Assigned", "0x0003"],
        ["1", ""],
        ["9", ""],
    ]
    types = ["Warning", "Warning", None, "UPS Assigned", None, None]
    statuses = [None, "No such SOP Instance", None, None, None, None]
    done = run("decode", stream, "--json", "--names")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row.get("EventTypeName") for row in rows] == types
    assert [row.get("StatusName") for row in rows] == statuses
    for suffix in (".parquet", ".csv", ".arrow"):
        out = tmp_path / f"out{suffix}"
        assert run("decode", stream, "-o", out, "--names").returncode == 0
        if suffix == ".parquet":
            table = pyarrow.parquet.read_table(out)
            assert table.column("EventTypeName").to_pylist() == types
            assert table.column("StatusName").to_pylist() == statuses
    done = run("decode", stream, "--json")
    assert b"Name" not in done.stdout
    # Names are always printed.
    assert run("decode", stream, "--names").stdout == run("decode", stream).stdout


def test_names_of_a_stream_without_events(tmp_path):
    stream = tmp_path / "in.bin"
    stream.write_bytes(b"")
    done = run("decode", stream, "--json", "--names")
    assert (done.returncode, done.stdout) == (0, b"")


def test_standard_check(tmp_path):
    rows = tmp_path / "rows.ndjson"
    table = {
        "AffectedSOPClassUID": ["1.2.840.10008.5.1.1.16"] * 2,
        "AffectedSOPInstanceUID": ["1.2.840.10008.5.1.1.17"] * 2,
        "EventTypeID": [1, 4],
    }
    rows.write_bytes(ndjson(table))
    assert run("validate", rows).returncode == 0
    done = run("validate", rows, "--standard", "--json")
    [rejection] = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, rejection["row"], rejection["code"]) == (1, 1, "event-type")
    done = run("validate", rows, "--standard")
    assert b"3 Failure" in done.stdout


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows", ".ndjson", ".csv"])
def test_captures_in_every_format(tmp_path, suffix):
    rows, first = tmp_path / f"rows{suffix}", tmp_path / "first.pcapng"
    first.write_bytes(encode_capture(decode_capture(CAPTURE.read_bytes()), format="pcapng"))
    for out, begins in (("again.pcapng", b"\x0a\x0d\x0d\x0a"), ("again.pcap", b"\x4d\x3c\xb2\xa1")):
        for arguments in (("decode", first, "-o", rows), ("encode", rows, "-o", tmp_path / out)):
            done = run(*arguments)
            assert done.returncode == 0, done.stderr.decode()
        assert (tmp_path / out).read_bytes().startswith(begins)
    assert (tmp_path / "again.pcapng").read_bytes() == first.read_bytes()
    # A stream has the requests: the columns of the capture, and the responses, are ignored.
    done = run("encode", rows, "-o", tmp_path / "events.bin")
    assert done.returncode == 0, done.stderr.decode()
    requests = [request for request, _ in decode_capture(CAPTURE.read_bytes()) if request]
    sent = decode_events((tmp_path / "events.bin").read_bytes())
    ids = [event.MessageID for event in sent if event.MessageID is not None]
    assert ids == [request.MessageID for request in requests]
    assert run("validate", rows).returncode == 0


@pytest.mark.parametrize("form", ["bytes", "structured"])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".ndjson", ".csv"])
def test_rows_with_names_are_read(tmp_path, suffix, form):
    if (suffix, form) == (".csv", "structured"):
        return
    rows, out = tmp_path / f"rows{suffix}", tmp_path / "events.bin"
    for arguments in (
        ("decode", CAPTURE, "-o", rows, "--names", "--data-sets", form),
        ("encode", rows, "-o", out),
        ("decode", out, "-o", rows, "--names", "--data-sets", form),
        ("validate", rows),
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".ndjson", ".csv"])
def test_other_columns_of_files(tmp_path, suffix):
    events = {
        "AffectedSOPClassUID": ["1.2.840.10008.1.20.1"] * 2,
        "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1"] * 2,
        "EventTypeID": [1, 2],
    }
    table = pa.table({"Site": ["a", "b"], **events, "key": [1.5, 2.5]})
    rows, out = tmp_path / f"rows{suffix}", tmp_path / "events.bin"
    if suffix == ".parquet":
        pa.parquet.write_table(table, rows)
    elif suffix == ".arrow":
        pa.feather.write_feather(table, rows, compression="uncompressed")
    elif suffix == ".csv":
        pa.csv.write_csv(table, rows)
    else:
        rows.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    # NDJSON has no header: each row is rejected.
    code = 1 if suffix == ".ndjson" else 2
    done = run("encode", rows, "-o", out)
    assert done.returncode == code
    assert b"Site" in done.stderr
    # A table of rejections has lines in its cells.
    words = b" ".join(done.stderr.replace("│".encode(), b" ").split())
    assert b"--ignore-columns" in words
    assert run("validate", rows).returncode == code
    assert run("encode", rows, "-o", out, "--ignore-columns").returncode == 0
    assert out.read_bytes() == bytes(encode_events(events))
    assert run("encode", rows, "-o", tmp_path / "x.pcap", "--ignore-columns").returncode == 0
    assert run("validate", rows, "--ignore-columns").returncode == 0


def test_a_status_of_a_request_is_not_ignored(tmp_path):
    """Only rows of captures also have their responses."""
    rows = tmp_path / "rows.ndjson"
    row = {
        "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
        "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
        "EventTypeID": 1,
        "Status": 0,
    }
    rows.write_text(json.dumps(row) + "\n")
    assert run("validate", rows).returncode == 1


def test_captures_through_pipes():
    done = run("decode", "-", "--json", stdin=CAPTURE.read_bytes())
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["Frame"] for row in rows[:2]] == [26, 51]
    assert rows[0]["Time"] == "2026-11-24T08:43:15.768083000Z"
    assert rows[0]["Latency"] == 1_342_000


def test_options_of_captures(tmp_path):
    source, out = tmp_path / "in.ndjson", tmp_path / "out.pcap"
    source.write_bytes(ndjson(EVENTS))
    options = {
        "--calling-ae": "PACS",
        "--called-ae": "MODALITY",
        "--source": "2001:db8::1",
        "--destination": "2001:db8::2",
        "--transfer-syntax": "1.2.840.10008.1.2.1",
        "--max-pdu-length": "100",
    }
    done = run("encode", source, "-o", out, *(word for pair in options.items() for word in pair))
    assert done.returncode == 0, done.stderr.decode()
    assert b"3 rows, " in done.stderr
    row = pa.table(decode_capture(out.read_bytes())).to_pylist()[0]
    assert [
        row[name]
        for name in (
            "CallingAETitle",
            "CalledAETitle",
            "SourceAddress",
            "DestinationAddress",
            "TransferSyntaxUID",
        )
    ] == list(options.values())[:5]
    for wrong in (("--framing", "command-set"), ("--source", "nowhere"), ("--calling-ae", "")):
        done = run("encode", source, "-o", tmp_path / "not.pcap", *wrong)
        assert (done.returncode, b"Traceback" in done.stderr) == (2, False)
        assert not (tmp_path / "not.pcap").exists()


def test_rejected_rows_of_captures(tmp_path):
    columns = {**EVENTS, "AffectedSOPInstanceUID": ["1.02", None, "1.2.3.4"]}
    source, out, rejects = (tmp_path / name for name in ("in.ndjson", "out.pcap", "bad.csv"))
    source.write_bytes(ndjson(columns))
    done = run("encode", source, "-o", out, "--rejects", rejects)
    assert done.returncode == 1
    [rejected] = pyarrow.csv.read_csv(rejects).to_pylist()
    assert (rejected["row"], rejected["code"]) == (0, "uid")
    assert len(decode_capture(out.read_bytes())) == 2


def test_damaged_capture(tmp_path):
    path, rows, faults = (tmp_path / name for name in ("cut", "rows.parquet", "faults.ndjson"))
    path.write_bytes(CAPTURE.read_bytes()[:60_000])
    expected = decode_capture(path.read_bytes())
    done = run("decode", path)
    assert done.returncode == 1
    for fault in expected.faults:
        assert fault.code in done.stdout.decode()
    done = run("decode", path, "-o", rows, "--rejects", faults)
    assert done.returncode == 1
    assert pyarrow.parquet.read_table(rows).num_rows == len(expected)
    printed = [json.loads(line) for line in faults.read_text().splitlines()]
    assert [(one.get("stream"), one["frame"], one["reason"]) for one in printed] == [
        (fault.stream, fault.frame, fault.reason) for fault in expected.faults
    ]
    # A capture without DICOM.
    path.write_bytes(CAPTURE.read_bytes()[:24])
    done = run("decode", path)
    assert (done.returncode, b"no-association" in done.stdout) == (1, True)


def test_rejected_rows(tmp_path):
    columns = {**EVENTS, "AffectedSOPInstanceUID": ["1.02", None, "1.2.3.4"]}
    source, stream, rejects = (tmp_path / name for name in ("in.ndjson", "out.bin", "rejects.csv"))
    source.write_bytes(ndjson(columns))
    done = run("encode", source, "-o", stream, "--rejects", rejects)
    assert done.returncode == 1
    assert stream.read_bytes() == oracle_bytes(rows_of(columns)[1:])
    [rejected] = pyarrow.csv.read_csv(rejects).to_pylist()
    assert (rejected["row"], rejected["field"]) == (0, "AffectedSOPInstanceUID")

    done = run("validate", source, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == "uid"
    assert run("validate", source, "--lenient-uids").returncode == 0
    source.write_bytes(ndjson(EVENTS))
    assert run("validate", source).returncode == 0


def test_truncated_stream(tmp_path):
    path, rows = tmp_path / "broken.bin", tmp_path / "rows.parquet"
    path.write_bytes(STREAM + STREAM[:50])
    done = run("decode", path, "-o", rows)
    assert done.returncode == 1
    assert str(len(STREAM)) in done.stderr.decode()
    assert pyarrow.parquet.read_table(rows).num_rows == len(EVENTS["MessageID"])


@pytest.mark.parametrize(
    ("name", "content", "arguments"),
    [
        ("missing.parquet", None, ()),
        ("in.parquet", b"no parquet", ()),
        ("in.unknown", b"", ()),
        ("in.csv", b"Eventtype\n1\n", ()),
        ("in.ndjson", ndjson(EVENTS), ("--max-pdu-length", 3)),
        ("in.ndjson", ndjson(EVENTS), ("--framing", "none")),
    ],
)
def test_unreadable_inputs(tmp_path, name, content, arguments):
    source, stream = tmp_path / name, tmp_path / "out.bin"
    stream.write_bytes(b"what was there")
    if content is not None:
        source.write_bytes(content)
    done = run("encode", source, "-o", stream, *arguments)
    error = done.stderr.decode()
    assert (done.returncode, "Traceback" in error) == (2, False), error
    assert error.strip()
    # No incomplete file is left.
    assert stream.read_bytes() == b"what was there"
    assert {path.name for path in tmp_path.iterdir()} <= {name, "out.bin"}


def test_bench_and_version():
    done = run("bench", "--rows", 1000, "--repeat", 1, "--json")
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)
    assert run("--version").stdout.decode().split()[-1].count(".") == 2
    assert run("nonsense").returncode == 2
    assert io.BytesIO(run("--help").stdout).read().count(b"encode") >= 1


def test_blocks_of_lines(tmp_path, monkeypatch):
    source = tmp_path / "in.ndjson"
    lines = ndjson({name: values * 50 for name, values in EVENTS.items()})
    source.write_bytes(lines.rstrip(b"\n"))
    with open_rows(RowFile(str(source))) as rows:
        whole = pa.table(rows)
    monkeypatch.setattr(read_ndjson, "_BLOCK_BYTES", 700)
    with open_rows(RowFile(str(source))) as rows:
        assert pa.table(rows).equals(whole)


REPORTS = """\
{"MessageID": 1, "AffectedSOPClassUID": "1.2.840.10008.1.20.1", \
"AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1", "EventTypeID": 1, "EventInformation": \
{"TransactionUID": "1.2.3", "ReferencedSOPSequence": [\
{"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "ReferencedSOPInstanceUID": "1.2.3.4"}, \
{"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "ReferencedSOPInstanceUID": "1.2.3.5"}]}}

{"MessageID": 2, "AffectedSOPClassUID": "1.2.840.10008.1.20.1", \
"AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1", "EventTypeID": 2, "EventInformation": \
{"TransactionUID": "1.2.4", "FailedSOPSequence": [\
{"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "ReferencedSOPInstanceUID": "1.2.3.6", \
"FailureReason": 274}]}}
{"MessageIDBeingRespondedTo": 2, "Status": 0}
"""
"""Rows as people write them."""


def reports(stream: bytes, *, implicit: bool = True) -> list[Dataset | None]:
    """Return the event information of a stream, decoded with pynetdicom and pydicom."""
    # Responses have an empty data set in pynetdicom.
    data_sets = [
        (event.EventInformation or io.BytesIO()).getvalue() for event in decode_stream(stream)
    ]
    return [
        read_dataset(io.BytesIO(one), implicit, is_little_endian=True) if one else None
        for one in data_sets
    ]


def check_reports(first: Dataset | None, second: Dataset | None) -> None:
    """Check the data sets of `REPORTS`."""
    assert first is not None
    assert second is not None
    assert (first.TransactionUID, second.TransactionUID) == ("1.2.3", "1.2.4")
    referenced = [(one[0x0008, 0x1150].value, one[0x0008, 0x1155].value) for one in first[0x81199]]
    assert referenced == [
        ("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"),
        ("1.2.840.10008.5.1.4.1.1.4", "1.2.3.5"),
    ]
    [failed] = second.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.3.6", 0x0112)
    assert (len(first), len(second), len(failed)) == (2, 2, 3)


@pytest.mark.parametrize(
    ("options", "implicit"), [((), True), (("--transfer-syntax", "1.2.840.10008.1.2.1"), False)]
)
def test_reports_written_by_hand(tmp_path, options, implicit):
    source, stream = tmp_path / "reports.ndjson", tmp_path / "reports.bin"
    source.write_text(REPORTS)
    done = run("encode", source, "-o", stream, *options)
    assert (done.returncode, b"3 messages" in done.stderr) == (0, True)
    first, second, none = reports(stream.read_bytes(), implicit=implicit)
    check_reports(first, second)
    assert none is None
    piped = run("encode", "-", "-f", "ndjson", "-o", "-", *options, stdin=REPORTS.encode())
    assert piped.stdout == stream.read_bytes()
    done = run("validate", source, "--standard")
    assert (done.returncode, b"3 rows, 0 rejected" in done.stderr) == (0, True)
    done = run("decode", stream, "--full", *options)
    shown = done.stdout.decode()
    for text in (
        "1 Storage Commitment Request Successful",
        "TransactionUID: 1.2.3",
        "ReferencedSOPSequence: 2 items",
        "- ReferencedSOPClassUID: 1.2.840.10008.5.1.4.1.1.4 MR Image Storage",
        "  ReferencedSOPInstanceUID: 1.2.3.5",
        "FailureReason: 0x0112",
    ):
        assert text in shown


@pytest.mark.parametrize("suffix", ["bin", "pcap"])
@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ("rows.ndjson", "structured"),
        ("rows.ndjson", "dicom-json"),
        ("rows.parquet", "structured"),
        ("rows.arrow", "structured"),
        ("rows.parquet", "bytes"),
    ],
)
def test_attributes_in_rows(tmp_path, suffix, rows, kind):
    source = REQUESTS if suffix == "bin" else CAPTURE
    rows, plain = tmp_path / rows, tmp_path / "plain.parquet"
    done = run("decode", source, "-o", rows, "--data-sets", kind)
    assert done.returncode == 0, done.stderr.decode()
    assert run("decode", source, "-o", plain).returncode == 0
    outs = [tmp_path / f"{name}.{suffix}" for name in ("out", "expected")]
    for given, out in zip((rows, plain), outs, strict=True):
        done = run("encode", given, "-o", out)
        assert done.returncode == 0, done.stderr.decode()
    # Orthanc writes no other padding or lengths than fastdimse, so the bytes are equal.
    assert outs[0].read_bytes() == outs[1].read_bytes()
    if rows.suffix == ".ndjson":
        expected = json.loads((EXAMPLES / "orthanc-storage-commitment.expected.json").read_text())
        data_set = bytes.fromhex(expected["requests"][0]["data_set_hex"])
        dataset = read_dataset(io.BytesIO(data_set), True, True)
        information = json.loads(rows.read_text().splitlines()[0])["EventInformation"]
        if kind == "dicom-json":
            assert information == dataset.to_json_dict()
        else:
            assert information["TransactionUID"] == dataset.TransactionUID
            assert len(information["ReferencedSOPSequence"]) == len(dataset.ReferencedSOPSequence)


def test_bytes_in_attributes(tmp_path):
    event = {
        "AffectedSOPClassUID": "1.2.3",
        "AffectedSOPInstanceUID": "1.2.3",
        "EventTypeID": 1,
        "EventInformation": {"EncapsulatedDocument": {"InlineBinary": "AAECAw=="}},
    }
    encoded = base64.b64encode(b"\x08\0\x95\x11\x04\0\0\x001.2\0").decode()
    lines = [json.dumps(event), json.dumps({**event, "EventInformation": None})]
    source, stream = tmp_path / "in.ndjson", tmp_path / "out.bin"
    source.write_text("\n".join(lines))
    assert run("encode", source, "-o", stream).returncode == 0
    first, none = reports(stream.read_bytes())
    assert first is not None
    assert (first.EncapsulatedDocument, none) == (b"\0\1\2\3", None)
    done = run("decode", stream, "--json", "--data-sets", "structured")
    assert json.loads(done.stdout.splitlines()[0])["EventInformation"] == event["EventInformation"]
    assert "EncapsulatedDocument: 4 bytes" in run("decode", stream, "--full").stdout.decode()
    source.write_text("\n".join([*lines, json.dumps({**event, "EventInformation": encoded})]))
    done = run("encode", source, "-o", stream)
    assert (done.returncode, b"2 messages" in done.stderr) == (1, True)
    assert (
        b"base64, but an object in earlier rows" in " ".join(done.stderr.decode().split()).encode()
    )


def test_invalid_attribute_is_a_rejected_row(tmp_path):
    source, stream, rejects = (tmp_path / name for name in ("in.ndjson", "out.bin", "bad.csv"))
    source.write_text(REPORTS.replace('"1.2.3.5"', '"1.02"').replace("274", "70000"))
    done = run("encode", source, "-o", stream, "--rejects", rejects)
    assert done.returncode == 1
    assert [(one["row"], one["field"]) for one in pyarrow.csv.read_csv(rejects).to_pylist()] == [
        (0, "EventInformation.ReferencedSOPSequence[1].ReferencedSOPInstanceUID"),
        (1, "EventInformation.FailedSOPSequence[0].FailureReason"),
    ]
    assert len(reports(stream.read_bytes())) == 1


def test_unreadable_data_sets(tmp_path):
    whole = b"\x08\0\x95\x11\x04\0\0\x001.2\0"
    columns = {
        "AffectedSOPClassUID": "1.2.3",
        "AffectedSOPInstanceUID": "1.2.3",
        "EventTypeID": 1,
        "EventInformation": [whole, whole[:-1], whole],
    }
    stream, capture, rows = (tmp_path / name for name in ("in.bin", "in.pcap", "out.ndjson"))
    stream.write_bytes(encode_events(columns))
    capture.write_bytes(
        encode_capture({**columns, "TransferSyntaxUID": [None, None, "1.2.840.10008.1.2.2"]})
    )
    printed = "EventInformation.TransactionUID"
    done = run("decode", stream, "--full")
    assert done.returncode == 0
    assert "11 bytes that cannot be read: TransactionUID: " in done.stdout.decode()
    for kind in ("structured", "dicom-json"):
        done = run("decode", stream, "-o", rows, "--data-sets", kind)
        assert (done.returncode, printed in done.stderr.decode()) == (1, True)
        assert len(rows.read_text().splitlines()) == 2
        done = run("decode", capture, "-o", rows, "--data-sets", kind)
        assert (done.returncode, printed in done.stderr.decode()) == (1, True)
        assert "1.2.840.10008.1.2.2" in done.stderr.decode()
        there = ["EventInformation" in json.loads(line) for line in rows.read_text().splitlines()]
        assert there == [True, False, False]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--data-sets", "structured"), "--data-sets requires --out or --json"),
        (
            ("-o", "out.parquet", "--data-sets", "dicom-json"),
            "dicom-json requires NDJSON",
        ),
        (("-o", "out.csv", "--data-sets", "structured"), "use NDJSON"),
        (("--json", "--transfer-syntax", "1.2.840.10008.1.2.2"), "1.2.840.10008.1.2.2"),
        (("--transfer-syntax", "1.2.840.10008.1.2.2"), "1.2.840.10008.1.2.2"),
    ],
)
def test_options_of_data_sets(tmp_path, arguments, error):
    words = [tmp_path / one if one.startswith("out.") else one for one in arguments]
    done = run("decode", REQUESTS, *words)
    assert (done.returncode, error in done.stderr.decode()) == (2, True), done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_transfer_syntaxes_of_a_capture():
    done = run("decode", CAPTURE, "--transfer-syntax", "1.2.840.10008.1.2")
    assert (done.returncode, b"cannot be used for a capture" in done.stderr) == (
        2,
        True,
    )


# ------------------------------------------------------------ files without rows


ROW = json.dumps(
    {
        "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
        "AffectedSOPInstanceUID": "1.2.3",
        "EventTypeID": 1,
    }
)
HEADER = "AffectedSOPClassUID,AffectedSOPInstanceUID,EventTypeID"


def assert_one_line(done: subprocess.CompletedProcess[bytes], text: str) -> None:
    """Check that a program ended with one line about its input and no traceback."""
    lines = done.stderr.decode(errors="replace").splitlines()
    assert done.returncode == 2, lines[-1:]
    assert len(lines) == 1
    assert lines[0].startswith("fastdimse: error: ")
    assert text in lines[0]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows"])
def test_truncated_files(tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    table = pa.table(EVENTS, schema=SCHEMA)
    if suffix == ".arrows":
        with pa.OSFile(str(whole), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
            writer.write_table(table)
    else:
        write(whole)
    data = whole.read_bytes()
    # The end marker of an Arrow stream is optional.
    for length in (0, 4, 8, len(data) // 4, len(data) // 2, len(data) - 9):
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(data[:length])
        assert_one_line(run("validate", path), "cannot be read as")


def test_arrow_files_with_wrong_offsets(tmp_path):
    """pyarrow does not check the offsets in an Arrow file."""
    offsets, wrong = struct.pack("<3i", 0, 20, 40), struct.pack("<3i", 0, 20, 0)
    uids = pa.array(["1.2.840.10008.1.20.1"] * 2)
    table = pa.table([uids, pa.array(["1.2", "1.3"]), pa.array([1, 2])], names=HEADER.split(","))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    assert data.count(offsets) == 1
    path = tmp_path / "events.arrow"
    path.write_bytes(data.replace(offsets, wrong))
    for command in (("validate", path), ("encode", path, "-o", tmp_path / "events.bin")):
        assert_one_line(run(*command), "the column 'AffectedSOPClassUID' is not valid Arrow data")
