"""``fastdimse decode`` for people: lines, filters, and captures with lost packets."""

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet
import pytest

import fastdimse.cli.decoded_input
import lost_packets
import pcap
import wireshark
from fastdimse import decode_capture, encode_capture, encode_events
from fastdimse.cli import main
from fastdimse.cli.event_filters import EventFilters, event_filters
from fastdimse.cli.event_rows import event_rows
from test_command_line import CAPTURE, EXAMPLES, REQUESTS

LOST = lost_packets.LOST_PACKETS
COMMITMENT, UPS = "1.2.840.10008.1.20.1", "1.2.840.10008.5.1.4.34.6.4"
EXPECTED = json.loads((EXAMPLES / "orthanc-storage-commitment.expected.json").read_text())


class Done(NamedTuple):
    """The exit code of a command, and what it printed."""

    code: int
    out: bytes
    error: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


def decode(*arguments: object, columns: int | None = 100, **environment: str) -> Done:
    """Run ``fastdimse decode`` in this process, which is faster than a new one."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERMINAL_WIDTH"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        if columns is not None:
            patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as end:
            main(["decode", *map(str, arguments)])
    signal.signal(signal.SIGTERM, handler)
    out, error = (stream.buffer.getvalue() for stream in streams)  # type: ignore[attr-defined]
    return Done(int(end.value.code or 0), out, error.decode())


def lines_of(*arguments: object, columns: int = 250) -> list[str]:
    """Return the lines of events that the command prints, without headings and summary."""
    done = decode(*arguments, columns=columns)
    assert done.code in (0, 1), done.error
    assert done.error == ""
    assert max(map(len, done.lines)) <= columns, max(done.lines, key=len)
    return [line for line in done.lines if re.match(r"\d\d:\d\d:\d\d", line)]


def table(capture: Path) -> Any:
    """Return the events and actions of a capture, with all columns that the command adds."""
    tables = event_rows(decode_capture(capture.read_bytes()), None)
    return pa.concat_tables(tables)


def rows_with(capture: Path, *options: object) -> list[dict[str, Any]]:
    """Return the rows that the command writes with some options."""
    done = decode(capture, "--json", *options)
    assert done.code in (0, 1), done.error
    return [json.loads(line) for line in done.lines]


# ------------------------------------------------------------------------------- lines


@wireshark.needed
def test_lines_have_the_times_and_latencies_of_wireshark():
    messages = wireshark.messages(CAPTURE)
    requests = {
        (one.stream, one.ports, one.command[0x00000110]): one
        for one in messages
        if one.command[0x00000100] in (0x0100, 0x0130)
    }
    expected = []
    for response in messages:
        if response.command[0x00000100] not in (0x8100, 0x8130):
            continue
        key = (response.stream, response.ports[::-1], response.command[0x00000120])
        # Orthanc uses Message ID 1 for each request of an association: the latest one counts.
        same = [
            one
            for one in messages
            if one.command[0x00000100] in (0x0100, 0x0130)
            and (one.stream, one.ports, one.command[0x00000110]) == key
            and one.time < response.time
        ]
        request = same[-1]
        moment = datetime.fromtimestamp(request.time // 10**9, UTC)
        expected.append(
            (
                f"{moment:%H:%M:%S}.{request.time % 10**9 // 10**6:03}",
                f"{(response.time - request.time) / 1e6:,.3f} ms",
                str(request.stream),
                str(request.frame),
            )
        )
    assert requests
    found = []
    for line in lines_of(CAPTURE, "--head", 0):
        cells = re.split(r"  +", line)
        found.append((cells[0], cells[-1], cells[3], cells[4]))
    assert len(found) == 48
    assert sorted(found) == sorted(expected)


def test_lines_count_committed_and_failed_instances():
    lines = lines_of(CAPTURE, "--event", "storage-commitment", "--peer", "PEER")
    reports = [line for line in lines if "ORTHANC → PEER" in line]
    assert len(reports) == len(EXPECTED["requests"]) == 24
    for line, request in zip(reports, EXPECTED["requests"], strict=True):
        # Counted in the encoded data set: items have a Referenced SOP Class UID and, if they
        # failed, a Failure Reason.
        data_set = bytes.fromhex(request["data_set_hex"])
        failed = data_set.count(b"\x08\x00\x97\x11")
        committed = data_set.count(b"\x08\x00\x50\x11") - failed
        assert f"  {committed} committed" in line
        assert (f", {failed} failed: 0x0112 No such object instance" in line) is bool(failed)
        assert ("Failures Exist" in line) is (request["EventTypeID"] == 2)


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
@pytest.mark.parametrize("capture", [CAPTURE, LOST], ids=["real", "lost"])
def test_each_event_is_one_line_that_fits(capture, columns):
    count = table(capture).num_rows
    lines = lines_of(capture, "--head", 0, columns=columns)
    assert len(lines) == count
    # What matters is on every line: the Status, and the latency if there is a response.
    for line in lines:
        assert re.search(r"Success|failed|no response", line), line
    words = " ".join(lines)
    assert ("no response" in words) is (capture is LOST)
    assert ("failed 0x0112" in words or "0x0112 No such SOP" in words) is (capture is LOST)


def test_columns_by_width():
    narrow, wide = (decode(CAPTURE, "--head", 1, columns=columns).lines[0] for columns in (40, 200))
    assert narrow.split() == ["time", "from", "→", "to", "Status", "latency"]
    for heading in ("time (UTC)", "addresses", "stream", "frame", "SOP class", "content"):
        assert heading in wide


def test_a_pipe_has_100_columns():
    lines = decode(CAPTURE, columns=None).lines
    assert 90 < max(map(len, lines)) <= 100


def test_dates_are_headings(tmp_path):
    path = tmp_path / "two-days.pcap"
    midnight = 20_000 * 86_400 * 10**9
    event = {"AffectedSOPClassUID": COMMITMENT, "AffectedSOPInstanceUID": "1.2.3", "EventTypeID": 1}
    times = [midnight + seconds * 10**9 for seconds in (-2, -1, 0, 1)]
    path.write_bytes(encode_capture({**event, "Time": times, "Status": [0] * 4}))
    printed = decode(path).lines
    dates = [n for n, line in enumerate(printed) if re.fullmatch(r"\d{4}-\d\d-\d\d", line)]
    assert [printed[n] for n in dates] == ["2024-10-03", "2024-10-04"]
    assert [line[:12] for line in printed[dates[0] + 1 : dates[1]]] == [
        "23:59:58.000",
        "23:59:59.000",
    ]


def test_head_limits_lines_and_not_the_summary():
    printed = decode(CAPTURE, "--head", 3).lines
    assert len([line for line in printed if re.match(r"\d\d:", line)]) == 3
    assert "45 more events; --head 0 prints all" in printed
    assert printed[-2].startswith("24 events, 0 without a response; 24 actions")


def test_head_of_the_summary():
    groups = ("PACS → MR-2", "WORKLIST → RIS")
    few = decode(LOST, "--summary", "--head", 1).lines
    assert [any(line.startswith(name) for line in few) for name in groups] == [True, False]
    lines = decode(LOST, "--head", 1).lines
    assert all(any(line.startswith(name) for line in lines) for name in groups)


def test_names_of_peers_and_texts_are_escaped(tmp_path):
    path = tmp_path / "in.pcap"
    event = {
        "AffectedSOPClassUID": UPS,
        "AffectedSOPInstanceUID": "1.2.3",
        "EventTypeID": 1,
        # Procedure Step State in Implicit VR Little Endian.
        "EventInformation": b"\x74\0\x00\x10\x06\0\0\0\x1b[31mX",
        "CallingAETitle": "EVIL",
        "CalledAETitle": "OTHER",
    }
    data = bytes(encode_capture({name: [value] for name, value in event.items()}))
    # A terminal would obey it.
    path.write_bytes(data.replace(b"EVIL ", b"E\x1b[2J"))
    for options in ((), ("--summary",), ("--full",), ("--unanswered",)):
        printed = decode(path, *options, columns=120).out.decode()
        assert "\x1b" not in printed, options
        assert "E\\x1b[2J" in printed
    # The VR of the state does not allow this character.
    assert "unreadable data set" in decode(path, columns=120).out.decode()


def test_lines_of_a_stream():
    printed = decode(REQUESTS).lines
    assert len([line for line in printed if line.startswith("request ")]) == 24
    assert any(line.startswith("24 requests, 0 responses") for line in printed)
    assert not any("no response" in line for line in printed)


def test_colours_of_a_terminal_and_none_elsewhere():
    arguments = (LOST, "--unanswered", "--failed")
    coloured = decode(*arguments, FORCE_COLOR="1", TERM="xterm").out.decode()
    for text, colour in (("no response", 35), ("failed 0x0112", 31), ("2 ok, 2 failed", 31)):
        assert re.search(rf"\x1b\[1;{colour}m{text}\x1b", coloured), text
    without = decode(*arguments, FORCE_COLOR="1", TERM="xterm", NO_COLOR="1").out.decode()
    assert not re.search(r"\x1b\[[0-9;]*3\dm", without)
    assert b"\x1b" not in decode(*arguments).out


# ----------------------------------------------------------------------------- filters


def kept(capture: Path, **options: Any) -> list[dict[str, Any]]:
    """Return the rows that the filters keep."""
    given: dict[str, Any] = dict.fromkeys(("peers", "statuses", "events"), ())
    given |= dict.fromkeys(("unanswered", "failed"), False)
    given |= dict.fromkeys(("slower_than", "since", "until"))
    filters = event_filters(**given | options)
    rows = table(capture).append_column("Row", pa.array(range(table(capture).num_rows)))
    times = {name: rows[name].cast(pa.int64()) for name in ("Time", "Latency")}
    found = rows.filter(filters.masks([rows])[0])
    for name in times:
        index = found.column_names.index(name)
        found = found.set_column(index, name, found[name].cast(pa.int64()))
    return list(found.to_pylist())


def all_rows(capture: Path) -> list[dict[str, Any]]:
    return kept(capture)


BEGIN = min(one["Time"] for one in all_rows(CAPTURE))
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "a title": ({"peers": ["MR-2"]}, lambda r: "MR-2" in (r["CallingAETitle"], r["CalledAETitle"])),
    "a title in another case": (
        {"peers": ["orthanc"]},
        lambda r: "ORTHANC" in (r["CallingAETitle"], r["CalledAETitle"]),
    ),
    "an address": (
        {"peers": ["10.0.0.40"]},
        lambda r: "10.0.0.40" in (r["SourceAddress"], r["DestinationAddress"]),
    ),
    "an address and a port": (
        {"peers": ["127.0.0.1:14343"]},
        lambda r: 14343 in (r["SourcePort"], r["DestinationPort"]),
    ),
    "two peers": (
        {"peers": ["RIS", "CT-1"]},
        lambda r: {"RIS", "CT-1"} & {r["CallingAETitle"], r["CalledAETitle"]},
    ),
    "a code": ({"statuses": ["0x0112"]}, lambda r: r["Status"] == 0x0112),
    "a code without 0x": ({"statuses": ["0213"]}, lambda r: r["Status"] == 0x0213),
    "a name": ({"statuses": ["processing failure"]}, lambda r: r["Status"] == 0x0110),
    "a category": (
        {"statuses": ["failure"]},
        lambda r: r["Status"] in (0x0110, 0x0112, 0x0213),
    ),
    "success": ({"statuses": ["Success"]}, lambda r: r["Status"] == 0),
    "two statuses": ({"statuses": ["0110", "0112"]}, lambda r: r["Status"] in (0x0110, 0x0112)),
    "a class": (
        {"events": ["storage-commitment"]},
        lambda r: r["AffectedSOPClassUID"] == COMMITMENT,
    ),
    "a UID": ({"events": [COMMITMENT]}, lambda r: r["AffectedSOPClassUID"] == COMMITMENT),
    "an Event Type ID": ({"events": ["2"]}, lambda r: r["EventTypeID"] == 2 and not r["IsAction"]),
    "an event type": (
        {"events": ["UPS State Report"]},
        lambda r: (
            str(r["AffectedSOPClassUID"]).startswith("1.2.840.10008.5.1.4.34.6")
            and r["EventTypeID"] == 1
        ),
    ),
    "actions": ({"events": ["n-action"]}, lambda r: r["IsAction"]),
    "unanswered": (
        {"unanswered": True},
        lambda r: r["Status"] is None and r["MessageIDBeingRespondedTo"] is None,
    ),
    "failed": (
        {"failed": True},
        lambda r: (r["Status"] or 0) != 0 or b"\x08\0\x97\x11" in (r["EventInformation"] or b""),
    ),
    "unanswered or failed": (
        {"unanswered": True, "statuses": ["failure"]},
        lambda r: (
            (r["Status"] != 0 and r["MessageIDBeingRespondedTo"] is None) or (r["Status"] or 0) != 0
        ),
    ),
    "slow": ({"slower_than": "50ms"}, lambda r: (r["Latency"] or 0) > 50_000_000),
    "slow without a unit": ({"slower_than": "1500"}, lambda r: (r["Latency"] or 0) > 1.5e9),
    "slow in seconds": ({"slower_than": "1.5 s"}, lambda r: (r["Latency"] or 0) > 1.5e9),
    "since": (
        {"since": "2026-11-24T08:44"},
        lambda r: (
            r["Time"] is not None and r["Time"] >= BEGIN // 10**9 // 60 * 60 * 10**9 + 60 * 10**9
        ),
    ),
    "an interval of the day": (
        {"since": "08:44:00", "until": "08:44:30.5"},
        lambda r: (
            r["Time"] is not None
            and 0 <= r["Time"] - (BEGIN // 10**9 // 60 * 60 + 60) * 10**9 <= 30.5e9
        ),
    ),
    "another offset": (
        {"until": "2026-11-24T10:44:00+02:00"},
        lambda r: r["Time"] is not None and r["Time"] <= (BEGIN // 10**9 // 60 * 60 + 60) * 10**9,
    ),
    "several": (
        {"peers": ["PACS"], "slower_than": "5ms", "events": ["commitment"]},
        lambda r: r["CallingAETitle"] == "PACS" and (r["Latency"] or 0) > 5_000_000,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_filters(name):
    options, expected = CASES[name]
    rows = all_rows(LOST)
    found = [one["Row"] for one in kept(LOST, **options)]
    assert found == [one["Row"] for one in rows if expected(one)]
    assert 0 < len(found) < len(rows)


def test_time_of_day_after_midnight():
    filters = event_filters(
        peers=(), statuses=(), events=(), unanswered=False, failed=False, slower_than=None,
        since="23:00", until="01:00",
    )  # fmt: skip
    hours = [22, 23, 24, 25, 26]
    times = pa.array([h * 3600 * 10**9 for h in hours], pa.timestamp("ns", "UTC"))
    assert filters.masks([pa.table({"Time": times})])[0].to_pylist() == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert not EventFilters()


def test_filters_apply_to_rows_lines_and_the_summary(tmp_path):
    out = tmp_path / "rows.parquet"
    options = ("--peer", "RIS", "--status", "failure")
    rows = rows_with(LOST, *options)
    assert {one["Status"] for one in rows} <= {0x0110, 0x0112, 0x0213}
    assert len(lines_of(LOST, *options)) == len(rows)
    assert decode(LOST, "-o", out, *options).code == 1
    assert pyarrow.parquet.read_table(out).num_rows == len(rows)
    done = decode(LOST, "--summary", *options)
    events = decode_capture(LOST.read_bytes())
    count = sum(request is not None for request, _ in events)
    assert f"{len(rows)} of {count} events" in done.out.decode()
    [structured] = {
        len(rows_with(LOST, *options, "--data-sets", form)) for form in ("structured", "dicom-json")
    }
    assert structured == len(rows)


def test_failed_with_structured_data_sets():
    assert [one["Frame"] for one in rows_with(CAPTURE, "--failed")] == [
        one["Frame"] for one in rows_with(CAPTURE, "--failed", "--data-sets", "structured")
    ]


@pytest.mark.parametrize("form", ["bytes", "structured", "dicom-json"])
def test_names_of_failure_reasons(form):
    rows = rows_with(LOST, "--failed", "--names", "--data-sets", form)
    names = {one["CallingAETitle"]: set() for one in rows}
    for one in rows:
        names[one["CallingAETitle"]].add(one.get("FailureReasonNames"))
    assert names == {
        "ORTHANC": {"No such object instance"},
        "PACS": {
            "No such object instance",
            "Processing failure",
            "Referenced SOP Class not supported",
        },
        "WORKLIST": {None},
    }


def test_filtered_actions():
    rows = rows_with(LOST, "--actions", "--until", "08:43:15.9")
    assert 0 < len(rows) < len(rows_with(LOST, "--actions"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--event", "storage comitment"), "the nearest is 'Storage Commitment"),
        (("--event", "UPS State Repport"), "the nearest is 'UPS State Report'"),
        (("--event", "xyzzy"), "'xyzzy' is not the name of a SOP class"),
        (("--status", "failur"), "the nearest is 'failure'"),
        (("--status", "No such SOP Instanc"), "the nearest is 'No such SOP Instance'"),
        (("--status", "99999"), "must be a hexadecimal Status"),
        (("--slower-than", "fast"), "for example 50ms"),
        (("--slower-than", "5h"), "ns, us, ms, s, min"),
        (("--since", "yesterday"), "must be a time of ISO 8601"),
        (("--full", "--json"), "--full cannot be used"),
        (("--picture", "latency.gif"), "must be .svg or .png"),
    ],
)
def test_errors_in_options(options, error):
    done = decode(CAPTURE, *options)
    assert (done.code, error in done.error) == (2, True), done.error
    assert len(done.error.splitlines()) == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--peer", "PEER"),
        ("--unanswered",),
        ("--slower-than", "1ms"),
        ("--since", "08:00"),
        ("--picture", "x.png"),
    ],
)
def test_options_that_need_a_capture(options):
    done = decode(REQUESTS, *options)
    assert done.code == 2
    assert done.error == f"fastdimse: error: {options[0]} can only be used for a capture\n"


def test_peer_without_events():
    done = decode(CAPTURE, "--peer", "ORTHANK", "--peer", "PEER")
    assert done.error == (
        "no events of the peer 'ORTHANK'; AE titles in the capture: ORTHANC, PEER\n"
    )
    assert len(re.findall(r"^\d\d:", done.out.decode(), re.MULTILINE)) == 48
    assert decode(CAPTURE, "--peer", "127.0.0.1").error == ""


def test_filters_of_a_stream(tmp_path):
    stream = tmp_path / "in.bin"
    events = {
        "AffectedSOPClassUID": [COMMITMENT, UPS, COMMITMENT],
        "AffectedSOPInstanceUID": ["1.2.3"] * 3,
        "EventTypeID": [1, 1, 2],
    }
    stream.write_bytes(encode_events(events))
    found = rows_with(stream, "--event", "commitment")
    assert [one["EventTypeID"] for one in found] == [1, 2]
    assert len(rows_with(stream, "--event", "2")) == 1


# ------------------------------------------------------------------- captures with lost packets


def test_the_example_is_what_the_script_makes():
    assert LOST.read_bytes() == lost_packets.capture()
    assert LOST.stat().st_size < 200_000


@wireshark.needed
def test_packets_of_the_example_are_lost():
    """Wireshark, too, sees that segments are missing."""
    lost = wireshark.fields(LOST, "tcp.analysis.lost_segment", "frame.number", "tcp.stream")
    streams = {int(stream) for _, stream in lost}
    faults = decode_capture(LOST.read_bytes()).faults
    found = {fault.stream for fault in faults if fault.code == "missing-bytes"}
    assert found
    assert found <= streams


def test_the_three_questions():
    """Which peer is slow, what was never answered, what failed and why: one screen each."""
    slow, unanswered, failed = (
        decode(LOST, *options).lines
        for options in (("--summary",), ("--unanswered",), ("--failed",))
    )
    assert slow[1].startswith("PACS → MR-2 ")
    assert sum("no response" in line for line in unanswered[2:]) == 7
    assert any("failed 0x0112" in line for line in failed)
    assert any("0x0122 Referenced SOP Class not supported" in line for line in failed)
    for lines in (slow, unanswered, failed):
        assert len(lines) <= 50


# ------------------------------------------------------------------------ growing captures


@pytest.fixture
def growing() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that decodes a capture from its standard input."""
    command = [sys.executable, "-m", "fastdimse", "decode", "-"]
    environment = os.environ | {"COLUMNS": "120", "PYTHONIOENCODING": "utf-8"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    ) as process:
        yield process
        process.kill()


def _lines_until(process: subprocess.Popen[bytes], count: int) -> list[str]:
    """Return the printed lines up to a number of events."""
    assert process.stdout is not None
    printed: list[str] = []
    while sum(bool(re.match(r"\d\d:", line)) for line in printed) < count:
        line = process.stdout.readline().decode()
        assert line
        printed.append(line.rstrip("\n"))
    return printed


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_events_of_a_growing_capture_appear_when_they_are_complete(growing):
    capture = CAPTURE.read_bytes()
    half = pcap.write(pcap.read(capture)[:300])
    captured = decode_capture(half)
    complete = sum(pair[1] is not None for pair in [*captured, *captured.actions])
    assert complete > 10
    growing.stdin.write(half[:1000])
    growing.stdin.flush()
    time.sleep(0.2)
    growing.stdin.write(half[1000:])
    growing.stdin.flush()
    # The input is still open.
    printed = _lines_until(growing, complete)
    assert all("Success" in line for line in printed[2:])
    growing.send_signal(signal.SIGINT)
    out, error = growing.communicate(timeout=20)
    assert (growing.returncode, error) == (130, b"")
    summary = out.decode().splitlines()
    assert summary[1].split()[:3] == ["from", "→", "to"]
    assert re.match(r"\d+ events, 0 without a response; \d+ actions", summary[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_before_the_first_event(growing):
    growing.stdin.write(CAPTURE.read_bytes()[:24])
    growing.stdin.flush()
    time.sleep(5)
    growing.send_signal(signal.SIGINT)
    out, error = growing.communicate(timeout=20)
    assert (growing.returncode, out, error) == (130, b"", b"")


def test_standard_input_has_no_limit_of_lines(growing):
    path = LOST.read_bytes()
    out, _ = growing.communicate(path, timeout=60)
    assert len(re.findall(r"^\d\d:", out.decode(), re.MULTILINE)) == table(LOST).num_rows > 100


@pytest.mark.parametrize("name", ["rows.parquet", "rows.ndjson", "rows.arrow", "rows.csv"])
@pytest.mark.parametrize("form", ["bytes", "structured"])
def test_rows_of_batches_are_those_of_the_capture(tmp_path, monkeypatch, name, form):
    if (name, form) == ("rows.csv", "structured"):
        return
    outs = [tmp_path / f"{number}-{name}" for number in range(2)]
    decode(LOST, "-o", outs[0], "--data-sets", form)
    original = fastdimse.cli.decoded_input._Input.read
    # As from a slow pipe.
    monkeypatch.setattr(
        fastdimse.cli.decoded_input._Input, "read1", lambda self, size: original(self, 5_000)
    )
    decode(LOST, "-o", outs[1], "--data-sets", form)
    if name.endswith(".parquet"):
        first, second = map(pyarrow.parquet.read_table, outs)
        order = [("Time", "ascending"), ("Frame", "ascending")]
        assert first.sort_by(order) == second.sort_by(order)
    elif name.endswith(".ndjson"):
        first, second = (sorted(out.read_text().splitlines()) for out in outs)
        assert first == second


@pytest.mark.parametrize("options", [("-o", "in.pcap", "-f", "csv"), ("--picture", "link.svg")])
def test_an_output_does_not_replace_the_input(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    file = CAPTURE.read_bytes()
    Path("in.pcap").write_bytes(file)
    Path("link.svg").symlink_to("in.pcap")
    done = decode("in.pcap", *options)
    assert done.code == 2
    assert "is also the input: name another file" in done.error
    done = decode("in.pcap", "-o", "out.csv", "--rejects", "out.csv")
    assert "is also the file of --out" in done.error
    assert Path("in.pcap").read_bytes() == file


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--slower-than", "99999999999999min"), 0),
        (("--since", "0001-01-01"), 24),
        (("--until", "0001-01-01"), 0),
        (("--until", "9999-12-31T23:59:59"), 24),
        (("--head", "99999999999999999999"), 24),
    ],
)
def test_values_beyond_those_of_captures(options, count):
    done = decode(CAPTURE, *options)
    assert done.code == 0, done.error
    events = re.search(rb"\n(\d+)( of 24)? events", done.out)
    assert events is not None
    assert int(events[1]) == count


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_the_rows_of_an_interrupted_pipe_are_kept(tmp_path, number, code):
    """A growing capture ends with an interrupt."""
    out = tmp_path / "out.parquet"
    process = subprocess.Popen(
        [sys.executable, "-m", "fastdimse", "decode", "-", "-o", str(out)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(CAPTURE.read_bytes())
        process.stdin.flush()
        time.sleep(4)
        process.send_signal(number)
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == code, error
    assert b"Traceback" not in error
    assert b"24 events" in error
    assert pyarrow.parquet.read_table(out).num_rows == 24


def test_compressed_captures_that_are_damaged_before_the_first_packet(tmp_path):
    """One line names the file and the damage."""
    frame = bytearray(pa.compress(LOST.read_bytes(), codec="zstd", asbytes=True))
    (tmp_path / "cut.zst").write_bytes(frame[:9000])
    (tmp_path / "cut.gz").write_bytes(gzip.compress(CAPTURE.read_bytes())[:20])
    for name in ("cut.zst", "cut.gz"):
        done = decode(tmp_path / name)
        assert done.code == 2
        assert re.fullmatch(
            rf"fastdimse: error: .*{name}: the file ends inside its .*\n", done.error
        )
    frame[5000:5004] = b"abcd"
    (tmp_path / "damaged.zst").write_bytes(frame)
    done = decode(tmp_path / "damaged.zst")
    assert done.code in (1, 2)
    assert "internal error" not in done.error


def test_a_response_without_a_request_is_no_event_of_the_other_side():
    done = decode(LOST, "--head", 0)
    assert sum("no request" in line for line in done.lines) == 6
    full = decode(LOST, "--full", "--since", "08:45:54", "--until", "08:45:56").out.decode()
    assert "10.0.0.21:104 → 10.0.0.7:50000  CT-1 → PACS" in full
    assert "no request" in full
