"""What the benches must reach is held against a run, and a whole run is written."""

import json
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).parent.parent / "benches"
MIB = 2**20


@pytest.fixture
def report(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHES)
    import report

    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    parts = [
        f"<!-- {name}:begin -->\nold\n<!-- {name}:end -->"
        for name in ("comparison", "memory speed", "delivery")
    ]
    report.README.write_text("\n".join(["before", *parts, "after"]))
    return report


def bench(group, rival, nanoseconds, **more):
    """Return a benchmark as pytest-benchmark writes it, of 1000 events."""
    info = {"rival": rival, "events": 1000, **more}
    return {"group": group, "stats": {"min": nanoseconds * 1e-6}, "extra_info": info}


def whole_run():
    """Return a run in which everything was measured and every target is reached, but barely."""
    benches = []
    for group, nanoseconds in {
        "construct": 100,
        "set a UID": 100,
        "read a UID again": 10_000,
        "whole request": 20,
        "encode": 100,
        "decode": 60,
        "bulk encode": 100,
        "bulk decode": 100,
        "whole event encode": 9.9,
        "whole event decode": 9.9,
        "data set encode": 9.9,
        "data set decode": 9.9,
    }.items():
        benches += [bench(group, "pynetdicom", 10_000), bench(group, "fastdimse", nanoseconds)]
    for rival, nanoseconds in {"bare interpreter": 10, "pynetdicom": 1010, "fastdimse": 60}.items():
        benches.append(bench("import", rival, nanoseconds))
    for group in ("wire", "wire, TCP_NODELAY"):
        benches.append(bench(group, "pynetdicom", 1000))
        benches.append(bench(group, "fastdimse, both ends", 50))
        benches.append(bench(group, "fastdimse, only the sender", 90))
    for group, of_rival in {
        "encode a table": 0.99,
        "encode a table, kept": 5.0,
        "encode batches": 1.99,
        "encode batches, structured": 3.99,
        "decode a stream": 0.99,
        "encode a table, threads=2": 0.64,
        "encode batches, threads=2": 0.64,
        "decode a stream, threads=2": 0.64,
        "encode half bad rows": 2.99,
    }.items():
        benches.append(bench(group, "fastdimse", 100 * of_rival, beside=100e-9))
    benches.append(bench("encode primitives", "fastdimse", 149, beside=149e-9 * 1501))
    memory = {"interpreter": 10 * MIB, "imported": 50 * MIB, "peak": 209 * MIB, "written": 1}
    benches.append(bench("memory", "fastdimse", 1, **memory))
    seconds = {
        "pynetdicom to pynetdicom": 1 / 21.9,
        "DCMTK to DCMTK": 1 / 11,
        "DCMTK to DCMTK with TCP_NODELAY=1": 1 / 10_990,
        "`connect` to `listen`, one at a time": 1 / 11_000,
        "raw sockets, one at a time": 1 / 12_900,
        "`connect` to `listen`, a window of 64": 1 / 199_000,
        "raw sockets, 64 outstanding": 1 / 790_000,
        "`connect` to pynetdicom": 1 / 110,
        "pynetdicom to `listen`": 1 / 110,
        "`listen`, one association, one at a time": 1 / 11_000,
        "`listen`, 64 associations, each one at a time": 1 / 11_100,
        "`listen`, one association, a window of 64": 1 / 199_000,
        "`listen`, 64 associations, each a window of 64": 1 / 200_000,
    }
    benches.append(bench("delivery", "fastdimse", 1, seconds=seconds))
    memory_of_receiver = {
        "the receiver's memory for 1,000,000 events, above the interpreter's": 199
    }
    bytes_of = {name: value * MIB for name, value in memory_of_receiver.items()}
    benches.append(bench("delivery", "fastdimse", 1, bytes=bytes_of))
    return benches


def outcome(report, monkeypatch, tmp_path, benches, *arguments):
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"benchmarks": benches}))
    monkeypatch.setattr(sys, "argv", ["report.py", str(run), *arguments])
    return report.main()


def test_what_is_reached_passes(report, monkeypatch, tmp_path, capsys):
    assert outcome(report, monkeypatch, tmp_path, whole_run(), "--check") == 0
    told = capsys.readouterr().out
    assert told.count("reached: ") == 31
    assert "0 missed" in told


@pytest.mark.parametrize(
    ("group", "rival", "measures"),
    [
        ("whole request", "fastdimse", 1),
        ("decode", "fastdimse", 1),
        ("wire", "fastdimse, only the sender", 1),
        ("encode a table", "fastdimse", 1),
        ("encode batches", "fastdimse", 1),
        ("encode batches, structured", "fastdimse", 1),
        ("whole event encode", "fastdimse", 1),
        ("whole event decode", "fastdimse", 1),
        ("data set encode", "fastdimse", 1),
        ("data set decode", "fastdimse", 1),
        ("decode a stream", "fastdimse", 1),
        ("encode a table, threads=2", "fastdimse", 1),
        ("encode batches, threads=2", "fastdimse", 1),
        ("decode a stream, threads=2", "fastdimse", 1),
        ("encode half bad rows", "fastdimse", 1),
        # Beside pynetdicom, and alone.
        ("encode primitives", "fastdimse", 2),
    ],
)
def test_what_is_a_little_too_slow_is_missed(
    report, monkeypatch, tmp_path, capsys, group, rival, measures
):
    benches = whole_run()
    [slow] = [b for b in benches if (b["group"], b["extra_info"]["rival"]) == (group, rival)]
    slow["stats"]["min"] *= 1.3
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 1
    assert capsys.readouterr().out.count("missed: ") == measures


def test_too_much_memory_is_missed(report, monkeypatch, tmp_path, capsys):
    benches = whole_run()
    [memory] = [bench for bench in benches if bench["group"] == "memory"]
    memory["extra_info"]["peak"] += 2 * MIB
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 1
    assert "201 MiB of at most 200 MiB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "factor", "measures"),
    [
        ("`connect` to `listen`, one at a time", 1.1, 3),
        ("DCMTK to DCMTK with TCP_NODELAY=1", 0.9, 1),
        ("`connect` to `listen`, a window of 64", 1.1, 1),
        ("`connect` to pynetdicom", 1.1, 1),
        ("pynetdicom to `listen`", 1.1, 1),
        ("`listen`, 64 associations, each one at a time", 1.1, 1),
        ("`listen`, 64 associations, each a window of 64", 1.1, 1),
    ],
)
def test_a_delivery_that_is_too_slow_is_missed(
    report, monkeypatch, tmp_path, capsys, name, factor, measures
):
    benches = whole_run()
    benches[-2]["extra_info"]["seconds"][name] *= factor
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 1
    assert capsys.readouterr().out.count("missed: ") == measures


def test_a_receiver_with_too_much_memory_is_missed(report, monkeypatch, tmp_path, capsys):
    benches = whole_run()
    benches[-1]["extra_info"]["bytes"] = {
        name: 201 * MIB for name in benches[-1]["extra_info"]["bytes"]
    }
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 1
    assert "201 of 200 MiB" in capsys.readouterr().out


def test_a_machine_without_dcmtk_is_measured_too(report, monkeypatch, tmp_path, capsys):
    benches = whole_run()
    seconds = benches[-2]["extra_info"]["seconds"]
    benches[-2]["extra_info"]["seconds"] = {
        name: value for name, value in seconds.items() if "DCMTK" not in name
    }
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 0
    assert outcome(report, monkeypatch, tmp_path, benches) == 0
    assert "DCMTK" not in report.README.read_text()


def test_what_was_not_measured_is_missed(report, monkeypatch, tmp_path, capsys):
    kept = [bench for bench in whole_run() if bench["group"] not in ("decode", "decode a stream")]
    assert outcome(report, monkeypatch, tmp_path, kept, "--check") == 1
    assert capsys.readouterr().out.count("not measured") == 2


def test_a_whole_run_is_written(report, monkeypatch, tmp_path):
    assert outcome(report, monkeypatch, tmp_path, whole_run()) == 0
    readme = report.README.read_text()
    assert readme.startswith("before\n<!-- comparison:begin -->\n| operation |")
    assert readme.endswith("<!-- delivery:end -->\nafter")
    assert "old" not in readme
    assert "| 99 ns | a fresh copy of the output | 100 ns | 0.99 | 1.00 |" in readme
    assert "| 149 ns |  |  |  | 150 ns |" in readme
    assert "| 1/1,501 | 1/1,500 |" in readme
    assert "| 199 MiB | the interpreter | 10 MiB |  | 200 MiB |" in readme
    written = {path.name for path in report.RESULTS.iterdir()}
    names = ("comparison", "memory_speed", "delivery")
    tables = {f"{name}.{end}" for name in names for end in ("json", "md")}
    assert written == {"comparison.svg", *tables}


def test_a_part_of_a_run_is_not_written(report, monkeypatch, tmp_path, capsys):
    before = report.README.read_text()
    assert outcome(report, monkeypatch, tmp_path, whole_run()[:-1]) == 0
    assert "nothing is written" in capsys.readouterr().out
    assert report.README.read_text() == before
    assert not report.RESULTS.exists()
