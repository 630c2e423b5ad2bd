"""Write the tables and the picture of a run of the benchmarks, and check the targets.

    python benches/report.py RUN.json           write them, if the run is complete
    python benches/report.py RUN.json --check   only compare the run with the targets
    python benches/report.py                    write them again from benches/results

The complete tables are written to docs/figures.md, a selection and the picture to README.md.

A time is the fastest round, divided by the number of events in it. A ratio is the time of
pynetdicom divided by the time of fastdimse, both from one run. `memory_speed.py` has the table
compared with the memory of the machine, `delivery.py` the table of deliveries.
"""

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import delivery
import memory_speed
from bar_chart import bar_chart
from figures import seconds, times

BENCHES = Path(__file__).parent
RESULTS = BENCHES / "results"
README = BENCHES.parent / "README.md"
FIGURES = BENCHES.parent / "docs" / "figures.md"
RIVAL = "pynetdicom"
BARE = "bare interpreter"

# The smallest ratio to pynetdicom for each operation, or for one way of it.
TARGETS = {
    "whole request": 450,
    "set a UID": 90,
    "read a UID again": 1,
    "decode": 300,
    "import": 10,
    "wire, both ends": 30,
    "wire, only the sender": 10,
    "whole event encode": 1000,
    "whole event decode": 1000,
    "data set encode": 1000,
    "data set decode": 1000,
}

# The smallest events per second.
RATES = {"wire, both ends": 1_000}

OPERATIONS = {
    "construct": "construct a primitive",
    "set a UID": "set a UID attribute",
    "read a UID again": "read a UID attribute again",
    "whole request": "construct a request, set five attributes, validate and encode it",
    "encode": "encode a primitive to P-DATA",
    "decode": "decode a message to a primitive",
    "bulk encode": "encode a stream, per event",
    "bulk decode": "decode a stream, per event",
    "whole event encode": "encode a stream of events with 10 references from values, per event",
    "whole event decode": "decode a stream of events with 10 references to values, per event",
    "data set encode": "encode: with pydicom only the data set, with fastdimse the complete event",
    "data set decode": "decode: with pydicom only the data set, with fastdimse the complete event",
    "import": "import",
    "wire": "send an event over loopback and receive the response",
    "wire, TCP_NODELAY": "the same, with TCP_NODELAY set by the application",
}

WAYS = {
    "both ends": "`install()` on both sides",
    "only the sender": "`install()` in the sender",
    "only the listener": "`install()` in the receiver",
    "pynetdicom to listen": "pynetdicom to `listen`",
    "connect to pynetdicom": "`connect` to pynetdicom",
    "connect to listen": "`connect` to `listen`",
    "connect to listen, a window of 64": "`connect` to `listen`, a window of 64",
}

# The table of the README.
SELECTION = [
    ("wire", "both ends"),
    ("whole request", ""),
    ("decode", ""),
    ("bulk encode", "pyarrow table"),
    ("bulk decode", "columns"),
    ("whole event encode", "pyarrow table"),
    ("wire", "connect to listen, a window of 64"),
]

TITLE = "Times as fast as pynetdicom"
PICTURE = {
    "One message": {
        ("whole request", ""): "construct, validate and encode a request",
        ("encode", ""): "encode a request",
        ("decode", ""): "decode a message",
    },
    "Streams": {
        ("bulk encode", "list of primitives"): "encode a list of primitives",
        ("bulk encode", "pyarrow table"): "encode a pyarrow table",
        ("whole event encode", "pyarrow table"): "encode a table of structured data sets",
        ("bulk decode", "columns"): "decode to columns",
    },
    "Event and response over loopback": {
        ("wire", "both ends"): "pynetdicom with install() on both sides",
        ("wire", "connect to listen"): "connect to listen, one event at a time",
        ("wire", "connect to listen, a window of 64"): "connect to listen, a window of 64",
    },
}


def read(benchmarks: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the seconds per event of each rival in each group."""
    groups: dict[str, dict[str, float]] = {}
    for bench in benchmarks:
        info = bench["extra_info"]
        group = groups.setdefault(bench["group"], {})
        group[info["rival"]] = bench["stats"]["min"] / info["events"]
    if "import" in groups:
        bare = groups["import"].pop(BARE)
        groups["import"] = {rival: time - bare for rival, time in groups["import"].items()}
        if min(groups["import"].values()) <= 0:
            # The start time of the interpreter can vary by more than the time of a fast import.
            sys.exit("the bare interpreter was not the fastest to start: measure again")
    return groups


def rows(groups: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each operation and each way of doing it with fastdimse."""
    found = []
    for group in OPERATIONS:
        for rival, ours in groups.get(group, {}).items():
            if rival == RIVAL:
                continue
            theirs = groups[group][RIVAL]
            way = rival.removeprefix("fastdimse").removeprefix(", ")
            found.append(
                {
                    "operation": group,
                    "way": way,
                    "pynetdicom_seconds": theirs,
                    "fastdimse_seconds": ours,
                    "ratio": theirs / ours,
                }
            )
    return found


def label(row: dict[str, Any]) -> str:
    """Return the operation, and the way if there are several."""
    operation, way = OPERATIONS[row["operation"]], row["way"]
    return f"{operation} ({WAYS.get(way, way)})" if way else operation


def table(found: list[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = ["| operation | pynetdicom | fastdimse | times as fast |"]
    lines += ["| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {label(row)} | {seconds(row['pynetdicom_seconds'])} "
        f"| {seconds(row['fastdimse_seconds'])} | {times(row['ratio'])} |"
        for row in found
    ]
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Return the versions of what is measured."""
    names = ("fastdimse", "pynetdicom", "pydicom")
    python = {platform.python_implementation(): platform.python_version()}
    return {name: version(name) for name in names} | python


def selection(found: list[dict[str, Any]]) -> str:
    """Return the table and the picture of the README in Markdown."""
    rows = {(row["operation"], row["way"]): row for row in found}
    chosen = table([rows[key] for key in SELECTION if key in rows])
    return f"{chosen}\n\n![{TITLE}](benches/results/comparison.svg)"


def picture(found: list[dict[str, Any]]) -> str:
    """Return the bar chart of the ratios as SVG."""
    ratios = {(row["operation"], row["way"]): row["ratio"] for row in found}
    groups = {
        heading: {text: ratios[key] for key, text in bars.items() if key in ratios}
        for heading, bars in PICTURE.items()
    }
    note = "Logarithmic axis. Each operation is measured with both libraries in the same run."
    return bar_chart(TITLE, note, groups)


def save(name: str, results: Any, text: str) -> None:
    """Write results as JSON and as a table, and the table to the page of figures."""
    file = RESULTS / name.replace(" ", "_")
    file.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    file.with_suffix(".md").write_text(text + "\n")
    replace_section(FIGURES, name, text)


def replace_section(page: Path, name: str, text: str) -> None:
    """Replace the part of a page between the two comments with this name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = page.read_text().split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def write(
    compared: dict[str, Any], with_memory: list[dict[str, Any]], delivered: dict[str, float]
) -> None:
    """Write the tables and the picture."""
    RESULTS.mkdir(exist_ok=True)
    found = compared["rows"]
    (RESULTS / "comparison.svg").write_text(picture(found))
    names = ", ".join(f"{name} {number}" for name, number in compared["versions"].items())
    save("comparison", compared, f"{table(found)}\n\n{names}.")
    save("memory speed", with_memory, memory_speed.table(with_memory))
    save("delivery", delivered, delivery.table(delivered))
    replace_section(README, "figures", selection(found))


def write_again() -> None:
    """Write the tables and the picture from the results of the last complete run."""
    names = ("comparison", "memory_speed", "delivery")
    write(*(json.loads((RESULTS / f"{name}.json").read_text()) for name in names))


def unmeasured(
    found: list[dict[str, Any]], with_memory: list[dict[str, Any]], delivered: dict[str, float]
) -> list[str]:
    """Return the names of the measurements that this run lacks."""
    operations = {row["operation"] for row in found}
    measures = {row["measure"] for row in with_memory}
    missing = [name for name in OPERATIONS if name not in operations]
    missing += [row.name for row in memory_speed.MEASURES if row.name not in measures]
    return missing + delivery.unmeasured(delivered)


def check(found: list[dict[str, Any]]) -> int:
    """Print each target and the measured ratio; return the number of missed targets."""
    ratios = {f"{row['operation']}, {row['way']}": row["ratio"] for row in found}
    rates = {f"{row['operation']}, {row['way']}": 1 / row["fastdimse_seconds"] for row in found}
    for row in found:
        # The slowest way of an operation counts.
        ratios[row["operation"]] = min(row["ratio"], ratios.get(row["operation"], row["ratio"]))
    missed = 0
    for name, target in TARGETS.items():
        ratio = ratios.get(name)
        if ratio is None:
            missed += 1
            print(f"missed: {name}: not measured")
        else:
            missed += ratio < target
            mark = "missed" if ratio < target else "reached"
            print(f"{mark}: {name}: {times(ratio)} of {target} times")
    # Without a measurement, the ratio is missed already.
    for name in RATES.keys() & rates.keys():
        missed += rates[name] < RATES[name]
        mark = "missed" if rates[name] < RATES[name] else "reached"
        print(f"{mark}: {name}: {rates[name]:,.0f} of {RATES[name]:,}/s")
    return missed


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, nargs="?", help="the JSON of pytest-benchmark")
    parser.add_argument("--check", action="store_true", help="write nothing, compare with targets")
    arguments = parser.parse_args()
    if arguments.run is None:
        if arguments.check:
            parser.error("--check needs a run")
        write_again()
        return 0
    run = json.loads(arguments.run.read_text())["benchmarks"]
    delivered = delivery.rows(run)
    run = [bench for bench in run if bench["group"] != delivery.GROUP]
    found, with_memory = rows(read(run)), memory_speed.rows(run)
    if arguments.check:
        missed = check(found) + memory_speed.check(with_memory) + delivery.check(delivered)
        print(f"{missed} missed")
        return 1 if missed else 0
    if found:
        print(table(found), end="\n\n")
    if with_memory:
        print(memory_speed.table(with_memory), end="\n\n")
    if delivered:
        print(delivery.table(delivered), end="\n\n")
    if missing := unmeasured(found, with_memory, delivered):
        print(f"nothing is written, because the run is incomplete. Missing: {'; '.join(missing)}")
    else:
        write({"versions": versions(), "rows": found}, with_memory, delivered)
    return 0


if __name__ == "__main__":
    sys.exit(main())
