"""Turn a run of the benches into the comparison: JSON, a table, a picture, the README.

    python benches/report.py RUN.json           write them
    python benches/report.py RUN.json --check   only compare with what must be reached

A time is the fastest round divided by the events in it, a ratio pynetdicom's time by ours, both
of one run.
"""

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

BENCHES = Path(__file__).parent
RESULTS = BENCHES / "results"
README = BENCHES.parent / "README.md"
RIVAL = "pynetdicom"
BARE = "bare interpreter"

# How many times faster than pynetdicom each operation, or one way of it, must be.
TARGETS = {
    "whole request": 400,
    "set a UID": 60,
    "read a UID again": 1,
    "decode": 150,
    "import": 10,
    "wire, both ends": 18,
    "wire, only the sender": 10,
}

OPERATIONS = {
    "construct": "construct",
    "set a UID": "set a UID attribute",
    "read a UID again": "read a UID attribute again",
    "whole request": "a whole request: construct, set five attributes, validate, encode",
    "encode": "encode a primitive to P-DATA",
    "decode": "decode a message to a primitive",
    "bulk encode": "encode a stream, per event",
    "bulk decode": "decode a stream, per event",
    "import": "import",
    "wire": "report an event over loopback and get its answer",
    "wire, TCP_NODELAY": "the same, with TCP_NODELAY set by the program",
}


def read(run: Path) -> dict[str, dict[str, float]]:
    """Return the seconds per event of each rival in each group."""
    times: dict[str, dict[str, float]] = {}
    for bench in json.loads(run.read_text())["benchmarks"]:
        info = bench["extra_info"]
        group = times.setdefault(bench["group"], {})
        group[info["rival"]] = bench["stats"]["min"] / info["events"]
    if "import" in times:
        bare = times["import"].pop(BARE)
        times["import"] = {rival: seconds - bare for rival, seconds in times["import"].items()}
        if min(times["import"].values()) <= 0:
            # Two starts of one interpreter can differ by more than a fast import takes.
            sys.exit("the bare interpreter was not the fastest to start: measure again")
    return times


def rows(times: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each operation and each way of ours to do it."""
    found = []
    for group in OPERATIONS:
        for rival, seconds in times.get(group, {}).items():
            if rival == RIVAL:
                continue
            theirs = times[group][RIVAL]
            way = rival.removeprefix("fastdimse").removeprefix(", ")
            found.append(
                {
                    "operation": group,
                    "way": way,
                    "pynetdicom_seconds": theirs,
                    "fastdimse_seconds": seconds,
                    "ratio": theirs / seconds,
                }
            )
    return found


def shown(seconds: float) -> str:
    """Return a time with a fitting unit."""
    for unit, scale in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.3g} s"


def label(row: dict[str, Any]) -> str:
    """Return the operation, and the way where there are several."""
    operation = OPERATIONS[row["operation"]]
    return f"{operation} ({row['way']})" if row["way"] else operation


def factor(row: dict[str, Any]) -> str:
    """Return the ratio in two or three figures."""
    ratio = row["ratio"]
    return f"{ratio:.1f}" if ratio < 10 else f"{float(f'{ratio:.3g}'):,.0f}"


def table(found: list[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = ["| operation | pynetdicom | fastdimse | times faster |"]
    lines += ["| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {label(row)} | {shown(row['pynetdicom_seconds'])} "
        f"| {shown(row['fastdimse_seconds'])} | {factor(row)} |"
        for row in found
    ]
    versions = ", ".join(f"{name} {version(name)}" for name in ("pynetdicom", "pydicom"))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return "\n".join([*lines, "", f"fastdimse {version('fastdimse')}, {versions}, {python}."])


def draw(found: list[dict[str, Any]], picture: Path) -> None:
    """Draw the ratios as bars on a logarithmic scale."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "fastdimse"
    from matplotlib import pyplot

    grey = "#808080"  # readable on a light page and on a dark one
    labels = [label(row).replace(": ", ":\n") for row in found]
    figure, axes = pyplot.subplots(figsize=(9, 0.5 * len(found) + 1))
    bars = axes.barh(labels, [row["ratio"] for row in found], color="#3b82c4")
    axes.bar_label(bars, [factor(row) for row in found], padding=4, color=grey)
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 3)
    axes.invert_yaxis()
    axes.set_xlabel("times faster than pynetdicom (logarithmic)", color=grey)
    axes.tick_params(colors=grey)
    axes.axvline(1, color=grey, linewidth=0.8)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(picture, transparent=True, bbox_inches="tight", metadata={"Date": None})


def write(found: list[dict[str, Any]]) -> None:
    """Write the results, and the README's part between its marks."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "comparison.json").write_text(json.dumps(found, indent=1) + "\n")
    text = table(found)
    (RESULTS / "comparison.md").write_text(text + "\n")
    draw(found, RESULTS / "comparison.svg")
    begin, end = "<!-- comparison:begin -->", "<!-- comparison:end -->"
    before, rest = README.read_text().split(begin)
    after = rest.split(end)[1]
    picture = "![How many times faster than pynetdicom](benches/results/comparison.svg)"
    README.write_text(f"{before}{begin}\n{text}\n\n{picture}\n{end}{after}")


def check(found: list[dict[str, Any]]) -> int:
    """Print what must be reached and what was; return 1 if something was not."""
    missed = 0
    for row in found:
        name = f"{row['operation']}, {row['way']}"
        name = name if name in TARGETS else row["operation"]
        target = TARGETS.get(name)
        if target is not None:
            missed += row["ratio"] < target
            mark = "missed" if row["ratio"] < target else "reached"
            print(f"{mark}: {name}: {factor(row)} of {target} times")
    return 1 if missed else 0


def main() -> int:
    """Read the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="pytest-benchmark's JSON")
    parser.add_argument("--check", action="store_true", help="write nothing, compare with targets")
    arguments = parser.parse_args()
    found = rows(read(arguments.run))
    if not arguments.check:
        write(found)
        print(table(found))
    return check(found) if arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
