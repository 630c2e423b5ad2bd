"""The report of the benchmarks: targets are checked, and a complete run is written."""

import json
import math
import sys
import xml.etree.ElementTree as ET
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
    monkeypatch.setattr(report, "FIGURES", tmp_path / "figures.md")
    report.README.write_text(page("figures"))
    report.FIGURES.write_text(page("comparison", "memory speed", "delivery"))
    return report


def page(*names):
    """Return a page with a section for each name."""
    sections = [f"<!-- {name}:begin -->\nold\n<!-- {name}:end -->" for name in names]
    return "\n".join(["before", *sections, "after"])


def bench(group, rival, nanoseconds, **more):
    """Return a benchmark of 1000 events as pytest-benchmark writes it."""
    info = {"rival": rival, "events": 1000, **more}
    return {"group": group, "stats": {"min": nanoseconds * 1e-6}, "extra_info": info}


def complete_run():
    """Return a complete run that reaches every target by a small margin."""
    benches = []
    for group, nanoseconds in {
        "construct": 100,
        "set a UID": 100,
        "read a UID again": 10_000,
        "whole request": 20,
        "encode": 100,
        "decode": 33,
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
        benches.append(bench(group, "fastdimse, both ends", 25))
        benches.append(bench(group, "fastdimse, only the sender", 90))
        benches.append(bench(group, "fastdimse, connect to listen, a window of 64", 2))
    for group, of_rival in {
        "encode a table": 0.99,
        "encode a table, kept": 5.0,
        "encode batches": 1.29,
        "encode batches, structured": 2.99,
        "decode a stream": 0.99,
        "decode a stream to views": 0.59,
        "encode a table, threads=2": 0.64,
        "encode batches, threads=2": 0.64,
        "decode a stream, threads=2": 0.64,
        "check by the standard, threads=2": 0.64,
        "encode half bad rows": 2.99,
        "encode one row, exported": 3.49,
    }.items():
        benches.append(bench(group, "fastdimse", 100 * of_rival, beside=100e-9))
    benches.append(bench("encode primitives", "fastdimse", 149, beside=149e-9 * 1501))
    benches.append(bench("encode one row", "fastdimse", 5990, beside=5990e-9 * 51))
    benches.append(bench("encode 100 rows", "fastdimse", 149, beside=20e-9))
    memory = {"interpreter": 10 * MIB, "imported": 50 * MIB, "peak": 209 * MIB, "written": 1}
    benches.append(bench("memory", "fastdimse", 1, **memory))
    seconds = {
        "pynetdicom to pynetdicom": 1 / 21.9,
        "DCMTK to DCMTK": 1 / 11,
        "DCMTK to DCMTK with TCP_NODELAY=1": 1 / 10_990,
        "`connect` to `listen`, one at a time": 1 / 11_000,
        "raw sockets, one at a time": 1 / 12_900,
        "`connect` to `listen`, a window of 64": 1 / 199_000,
        "raw sockets, 64 outstanding": 1 / 490_000,
        "`connect` to pynetdicom": 1 / 110,
        "pynetdicom to `listen`": 1 / 110,
        "`listen`, one association, one at a time": 1 / 11_000,
        "`listen`, 64 associations, each one at a time": 1 / 11_100,
        "`listen`, one association, a window of 64": 1 / 199_000,
        "`listen`, 64 associations, each a window of 64": 1 / 200_000,
        "pynetdicom to Orthanc": 1 / 17,
        "pynetdicom with `install()` to Orthanc": 1 / 501,
        "`connect` to Orthanc, one at a time": 1 / 1_030,
        "pynetdicom to DCMTK": 1 / 17,
        "pynetdicom with `install()` to DCMTK": 1 / 500,
        "`connect` to DCMTK, one at a time": 1 / 1_000,
        "`Delivery` to 1,000 peers, each with its own events": 1 / 10_000,
        "`Delivery` to 1,000 peers, the 900 that respond": 1 / 8_100,
        "pynetdicom, one at a time, without a database": 1 / 11,
        "fastdimse, one request at a time": 1 / 1_200,
        "fastdimse, a window of 64": 1 / 3_001,
        "fastdimse, a window of 64, `sync=True`": 1 / 300,
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


def test_reached_targets(report, monkeypatch, tmp_path, capsys):
    assert outcome(report, monkeypatch, tmp_path, complete_run(), "--check") == 0
    output = capsys.readouterr().out
    assert output.count("reached: ") == 43
    assert "0 missed" in output


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
        # Compared with pynetdicom, and as a time.
        ("encode primitives", "fastdimse", 2),
        ("encode one row", "fastdimse", 2),
        ("encode one row, exported", "fastdimse", 1),
        ("encode 100 rows", "fastdimse", 1),
    ],
)
def test_missed_target(report, monkeypatch, tmp_path, capsys, group, rival, measures):
    benches = complete_run()
    [slow] = [b for b in benches if (b["group"], b["extra_info"]["rival"]) == (group, rival)]
    slow["stats"]["min"] *= 1.3
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 1
    assert capsys.readouterr().out.count("missed: ") == measures


def test_missed_rate(report, monkeypatch, tmp_path, capsys):
    benches = complete_run()
    for slow in benches:
        if slow["group"] == "wire":
            slow["stats"]["min"] *= 40_200
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 1
    assert "missed: wire, both ends: 995 of 1,000/s" in capsys.readouterr().out


def test_missed_limit_of_memory(report, monkeypatch, tmp_path, capsys):
    benches = complete_run()
    [memory] = [bench for bench in benches if bench["group"] == "memory"]
    memory["extra_info"]["peak"] += 2 * MIB
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 1
    assert "201 MiB of at most 200 MiB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "factor", "measures"),
    [
        ("`connect` to `listen`, one at a time", 1.1, 3),
        ("DCMTK to DCMTK with TCP_NODELAY=1", 0.9, 1),
        ("fastdimse, a window of 64", 1.1, 1),
        ("`connect` to `listen`, a window of 64", 1.1, 1),
        ("`connect` to pynetdicom", 1.1, 1),
        ("pynetdicom to `listen`", 1.1, 1),
        ("`listen`, 64 associations, each one at a time", 1.1, 1),
        ("`listen`, 64 associations, each a window of 64", 1.1, 1),
        ("pynetdicom with `install()` to Orthanc", 1.1, 1),
        ("`connect` to Orthanc, one at a time", 1.1, 2),
        ("`Delivery` to 1,000 peers, the 900 that respond", 1.1, 1),
    ],
)
def test_missed_target_of_a_delivery(report, monkeypatch, tmp_path, capsys, name, factor, measures):
    benches = complete_run()
    benches[-2]["extra_info"]["seconds"][name] *= factor
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 1
    assert capsys.readouterr().out.count("missed: ") == measures


def test_missed_limit_of_memory_of_the_receiver(report, monkeypatch, tmp_path, capsys):
    benches = complete_run()
    benches[-1]["extra_info"]["bytes"] = {
        name: 201 * MIB for name in benches[-1]["extra_info"]["bytes"]
    }
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 1
    assert "201 of 200 MiB" in capsys.readouterr().out


@pytest.mark.parametrize("program", ["DCMTK", "Orthanc"])
def test_run_without_an_optional_program(report, monkeypatch, tmp_path, capsys, program):
    benches = complete_run()
    seconds = benches[-2]["extra_info"]["seconds"]
    benches[-2]["extra_info"]["seconds"] = {
        name: value for name, value in seconds.items() if program not in name
    }
    assert outcome(report, monkeypatch, tmp_path, benches, "--check") == 0
    assert outcome(report, monkeypatch, tmp_path, benches) == 0
    assert program not in report.FIGURES.read_text()


def test_ratio_to_pynetdicom_with_the_same_receiver(report, monkeypatch, tmp_path):
    assert outcome(report, monkeypatch, tmp_path, complete_run()) == 0
    assert "| `connect` to DCMTK, one at a time | 1,000 | 59 |" in report.FIGURES.read_text()
    assert "| fastdimse, a window of 64 | 3,001 | 273 |" in report.FIGURES.read_text()


def test_unmeasured_target_is_missed(report, monkeypatch, tmp_path, capsys):
    kept = [
        bench for bench in complete_run() if bench["group"] not in ("decode", "decode a stream")
    ]
    assert outcome(report, monkeypatch, tmp_path, kept, "--check") == 1
    assert capsys.readouterr().out.count("not measured") == 2


def test_complete_run_is_written(report, monkeypatch, tmp_path):
    assert outcome(report, monkeypatch, tmp_path, complete_run()) == 0
    figures = report.FIGURES.read_text()
    assert figures.startswith("before\n<!-- comparison:begin -->\n| operation |")
    assert figures.endswith("<!-- delivery:end -->\nafter")
    assert "old" not in figures
    assert "| 99 ns | a fresh copy of the output | 100 ns | 0.99 | 1.00 |" in figures
    assert "| 149 ns |  |  |  | 150 ns |" in figures
    assert "| 1/1,501 | 1/1,500 |" in figures
    assert "| 199 MiB | the interpreter | 10 MiB |  | 200 MiB |" in figures
    written = {path.name for path in report.RESULTS.iterdir()}
    names = ("comparison", "memory_speed", "delivery")
    tables = {f"{name}.{end}" for name in names for end in ("json", "md")}
    assert written == {"comparison.svg", *tables}


def test_selection_in_the_readme(report, monkeypatch, tmp_path):
    # More ways than in the selection.
    more = [bench("bulk encode", f"fastdimse, {way}", 50) for way in ("pyarrow table", "batches")]
    more.append(bench("bulk decode", "fastdimse, columns", 50))
    more.append(bench("whole event encode", "fastdimse, pyarrow table", 5))
    assert outcome(report, monkeypatch, tmp_path, [*more, *complete_run()]) == 0
    readme = report.README.read_text()
    assert readme.startswith("before\n<!-- figures:begin -->\n| operation |")
    assert readme.endswith("(benches/results/comparison.svg)\n<!-- figures:end -->\nafter")
    assert "old" not in readme
    ratios = [line.split(" | ")[-1] for line in readme.splitlines() if line.startswith("| ")][2:]
    assert ratios == ["40 |", "500 |", "303 |", "200 |", "200 |", "2,000 |", "500 |"]


def test_picture(report, monkeypatch, tmp_path):
    assert outcome(report, monkeypatch, tmp_path, complete_run()) == 0
    text = (report.RESULTS / "comparison.svg").read_text()
    assert "prefers-color-scheme: dark" in text
    svg = "{http://www.w3.org/2000/svg}"
    shapes = list(ET.fromstring(text))

    def of_class(name):
        return [shape for shape in shapes if shape.get("class") == name]

    assert [shape.text for shape in of_class("heading")] == list(report.PICTURE)
    assert len(of_class("page")) == 1
    bars, values = of_class("bar"), of_class("value")
    assert [bar.tag for bar in bars] == [f"{svg}rect"] * len(bars)
    assert [value.text for value in values] == ["500", "303", "100", "500", "40"]
    # The axis is logarithmic: 500 is 100 * 5, and 40 is 100 / 2.5.
    widths = [float(bar.get("width")) for bar in bars]
    assert widths[0] == widths[3]
    per_unit = (widths[0] - widths[2]) / math.log(5)
    assert (widths[2] - widths[4]) / math.log(2.5) == pytest.approx(per_unit, rel=0.01)


def test_results_are_written_again(report, monkeypatch, tmp_path):
    assert outcome(report, monkeypatch, tmp_path, complete_run()) == 0
    files = [report.README, report.FIGURES, *sorted(report.RESULTS.iterdir())]
    written = [file.read_text() for file in files]
    report.README.write_text(page("figures"))
    report.FIGURES.write_text(page("comparison", "memory speed", "delivery"))
    (report.RESULTS / "comparison.svg").unlink()
    monkeypatch.setattr(sys, "argv", ["report.py"])
    assert report.main() == 0
    assert [file.read_text() for file in files] == written


def test_incomplete_run_is_not_written(report, monkeypatch, tmp_path, capsys):
    assert outcome(report, monkeypatch, tmp_path, complete_run()[:-1]) == 0
    assert "nothing is written" in capsys.readouterr().out
    assert report.README.read_text() == page("figures")
    assert report.FIGURES.read_text() == page("comparison", "memory speed", "delivery")
    assert not report.RESULTS.exists()
