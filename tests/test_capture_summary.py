"""``fastdimse decode --summary`` and ``--picture``, with numpy as the oracle of percentiles."""

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdimse import decode_capture, encode_capture
from fastdimse.cli.capture_summary import Summary
from fastdimse.cli.event_rows import event_rows
from fastdimse.cli.fitted_columns import GAP, Cell, Column, Form, Layout
from fastdimse.cli.latencies import ERROR, EXACT, Latencies
from lost_packets import LOST_PACKETS
from test_command_line import CAPTURE, REQUESTS
from test_decode_command import COMMITMENT, decode

PERCENTS = (50, 90, 99, 100)


def percentile(latencies: Any, percent: float) -> int:
    """Return a percentile of numpy."""
    return int(np.percentile(latencies, percent, method="inverted_cdf"))


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300))
def test_percentiles_are_exact(values):
    latencies = Latencies()
    for part in (values[: len(values) // 2], values[len(values) // 2 :]):
        latencies.add(part)
    assert latencies.count == len(values)
    for percent in PERCENTS:
        assert latencies.percentile(percent) == percentile(values, percent)


def test_percentiles_of_many_latencies_have_the_documented_error():
    draw = random.Random(22)
    values = [round(draw.lognormvariate(15, 3)) for _ in range(EXACT + 5_000)]
    latencies = Latencies()
    for begin in range(0, len(values), 777):
        latencies.add(values[begin : begin + 777])
    for percent in PERCENTS:
        found, expected = latencies.percentile(percent), percentile(values, percent)
        assert found is not None
        assert abs(found - expected) <= ERROR * expected + 1, percent
    # The number of buckets has a limit, whatever the number of latencies is.
    assert len(latencies._buckets) < 2_200
    assert Latencies().percentile(50) is None


# ------------------------------------------------------------------------------ summary


def expected_groups(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return counts and latencies by sender and receiver, from the rows of the library."""
    captured = decode_capture(path.read_bytes())
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for table in (pa.table(captured), pa.table(captured.actions)):
        latencies = table["Latency"].cast(pa.int64()).to_pylist()
        columns = ("CallingAETitle", "CalledAETitle", "Status", "MessageIDBeingRespondedTo")
        for row, latency in zip(table.select(columns).to_pylist(), latencies, strict=True):
            if row["MessageIDBeingRespondedTo"] is not None:
                continue
            group = groups.setdefault(
                (row["CallingAETitle"], row["CalledAETitle"]),
                {"latencies": [], "events": 0, "unanswered": 0, "failed": 0},
            )
            group["events"] += 1
            group["unanswered"] += latency is None
            group["failed"] += row["Status"] not in (None, 0)
            if latency is not None:
                group["latencies"].append(latency)
    return groups


@pytest.mark.parametrize("path", [CAPTURE, LOST_PACKETS])
def test_groups_of_the_summary(path):
    lines = decode(path, "--summary", columns=250).lines
    shown = [line for line in lines[1:] if "→" in line and line.endswith(" ms")]
    expected = expected_groups(path)
    assert len(shown) == len(expected)
    p90s = []
    for line in shown:
        names, _, *numbers = re.split(r"  +", line)
        sender, receiver = names.split(" → ")
        group = expected[sender, receiver]
        assert [int(one.replace(",", "")) for one in numbers[:3]] == [
            group["events"],
            group["unanswered"],
            group["failed"],
        ]
        assert numbers[3:] == [
            f"{percentile(group['latencies'], percent) / 1e6:,.3f} ms" for percent in PERCENTS
        ]
        p90s.append(percentile(group["latencies"], 90))
    # The slowest peer is first.
    assert p90s == sorted(p90s, reverse=True)


def test_failures_of_the_summary():
    lines = decode(LOST_PACKETS, "--summary").lines
    captured = decode_capture(LOST_PACKETS.read_bytes(), event_information="structured")
    table = pa.table(captured)
    names = {0x0110: "Processing Failure", 0x0112: "No such SOP Instance"}
    statuses = Counter(one for one in table["Status"].to_pylist() if one)
    for code, name in names.items():
        assert f"    {statuses[code]}  0x{code:04X} {name}" in "\n".join(lines)
    reasons: Counter[tuple[int, str]] = Counter()
    rows = table.select(["CallingAETitle", "EventInformation"]).to_pylist()
    for row in rows:
        for item in (row["EventInformation"] or {}).get("FailedSOPSequence") or ():
            reasons[item["FailureReason"], row["CallingAETitle"]] += 1
    assert reasons
    for (reason, sender), count in reasons.items():
        [line] = [one for one in lines if f"0x{reason:04X} " in one and f"{sender} → " in one
                  and one.split()[0] == str(count)]  # fmt: skip
        assert re.search(r"0x\d{4} [A-Z]", line)
    faults = Counter(fault.code for fault in captured.faults)
    for code, count in faults.items():
        assert f"  {count} {code}" in lines
    more = sum(count > 3 for count in faults.values())
    assert sum(bool(re.fullmatch(r" +and \d+ more", line)) for line in lines) == more


def test_error_comments(tmp_path):
    path = tmp_path / "in.pcap"
    event = {
        "AffectedSOPClassUID": [COMMITMENT] * 3,
        "AffectedSOPInstanceUID": ["1.2.3"] * 3,
        "EventTypeID": [1] * 3,
        "Status": [0x0110, 0x0110, 0],
        "ErrorComment": ["disk full", "disk full", None],
    }
    path.write_bytes(encode_capture(event))
    assert "    2  0x0110 Processing Failure: disk full  EVENT-SCP → EVENT-SCU" in (
        decode(path, "--summary").lines
    )
    lines = decode(path, columns=250).lines
    assert sum("failed: 0x0110 Processing Failure: disk full" in line for line in lines) == 2


def test_summary_of_batches_is_that_of_the_capture():
    captured = decode_capture(LOST_PACKETS.read_bytes())
    tables = event_rows(captured, None)
    whole, parts = (Summary(captured=True, filtered=False) for _ in range(2))
    whole.add(captured, tables, tables)
    for begin in range(0, 200, 17):
        some = [table.slice(begin, 17) for table in tables]
        for table in some:
            parts._add_events(table) if table.num_rows else None
    assert parts._sorted_groups() == whole._sorted_groups()
    assert (parts._statuses, parts._reasons) == (whole._statuses, whole._reasons)


def test_number_of_groups_has_a_limit(tmp_path):
    path = tmp_path / "many.pcap"
    count = 1_500
    event = {
        "AffectedSOPClassUID": [COMMITMENT] * count,
        "AffectedSOPInstanceUID": ["1.2.3"] * count,
        "EventTypeID": [1] * count,
        "Status": [0] * count,
        "CallingAETitle": [f"PEER{number}" for number in range(count)],
    }
    path.write_bytes(encode_capture(event))
    lines = decode(path, "--summary", "--head", 0).lines
    shown = [line for line in lines if "→" in line]
    assert len(shown) == 1 + 1_000 + 1
    [others] = [line for line in shown if line.startswith("other peers")]
    assert " 500 " in others
    assert "and 980 more" not in lines
    assert "and 981 more" in decode(path, "--summary").lines


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_summary_fits(columns):
    lines = decode(LOST_PACKETS, "--summary", columns=columns).lines
    assert max(map(len, lines)) <= columns
    [row] = [line for line in lines if line.startswith("PACS → MR-2")]
    assert "1,523" in row


def test_summary_with_rows(tmp_path):
    out = tmp_path / "rows.parquet"
    done = decode(CAPTURE, "-o", out, "--summary")
    assert done.lines == decode(CAPTURE, "--summary").lines
    assert out.exists()
    done = decode(CAPTURE, "--json", "--summary")
    assert len(done.lines) == 24
    assert "PEER → ORTHANC" in done.error


def test_summary_of_a_stream():
    lines = decode(REQUESTS, "--summary").lines
    assert any(line.startswith("24 requests, 0 responses") for line in lines)
    assert "   15  0x0112 No such object instance" in lines


# -------------------------------------------------------------------------------- layout


def test_layout_applies_steps_in_order_and_shows_new_headings():
    columns = (
        Column(
            "a",
            (
                Form("long a", lambda row: Cell(row["a"] * 2)),
                Form("a", lambda row: Cell(row["a"])),
            ),
        ),
        Column("b", (Form("b", lambda row: Cell(row["b"])),)),
        Column("n", (Form("n", lambda row: Cell(str(len(row["a"])))),), "right"),
    )  # fmt: skip
    layout = Layout(columns, [("a",), (GAP,), ("b",)], 20)
    headings, [line] = layout.lines([{"a": "xy", "b": "b"}])
    assert headings is not None
    assert (headings.plain, line.plain) == ("long a  b  n", "xyxy    b  2")
    headings, [line] = layout.lines([{"a": "x" * 10, "b": "b"}])
    assert headings is not None
    assert (headings.plain.split(), line.plain) == (["a", "b", "n"], f"{'x' * 10}  b  10")
    # The same columns: no headings.
    assert layout.lines([{"a": "x" * 11, "b": "b"}])[0] is None
    headings, [line] = layout.lines([{"a": "x" * 30, "b": "b"}])
    assert headings is not None
    assert headings.plain.split() == ["a", "n"]
    assert line.plain == f"{'x' * 16}… 30"


# ------------------------------------------------------------------------------- picture


def test_picture(tmp_path):
    svg, png = tmp_path / "latency.svg", tmp_path / "latency.png"
    for path in (svg, png):
        assert decode(LOST_PACKETS, "--summary", "--picture", path).error == ""
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text()
    # matplotlib writes the text of each label as a comment.
    for label in ("PACS → MR-2", "WORKLIST → VIEWER (5 without a response: x)", "time (UTC)"):
        assert f"<!-- {label} -->" in text


def test_picture_without_events(tmp_path):
    path = tmp_path / "empty.png"
    assert decode(CAPTURE, "--unanswered", "--picture", path).code == 0
    assert path.read_bytes().startswith(b"\x89PNG")
