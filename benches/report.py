"""Turn a run of the benches into the comparison: JSON, tables, a picture, the README.

    python benches/report.py RUN.json           write them, if everything was measured
    python benches/report.py RUN.json --check   only compare with what must be reached

A time is the fastest round divided by the events in it, a ratio pynetdicom's time by ours, both
of one run. `memory_speed.py` has the table beside the machine's memory, `delivery.py` that of
deliveries.
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
from figures import seconds, times

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
    "whole event encode": 1000,
    "whole event decode": 1000,
    "data set encode": 1000,
    "data set decode": 1000,
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
    "whole event encode": "encode a stream of events with 10 references, from values, per event",
    "whole event decode": "decode a stream of events with 10 references, to values, per event",
    "data set encode": "the event information alone with pydicom, encoded, beside our whole event",
    "data set decode": "the event information alone with pydicom, decoded, beside our whole event",
    "import": "import",
    "wire": "report an event over loopback and get its answer",
    "wire, TCP_NODELAY": "the same, with TCP_NODELAY set by the program",
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
            # Two starts of one interpreter can differ by more than a fast import takes.
            sys.exit("the bare interpreter was not the fastest to start: measure again")
    return groups


def rows(groups: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each operation and each way of ours to do it."""
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
    """Return the operation, and the way where there are several."""
    operation = OPERATIONS[row["operation"]]
    return f"{operation} ({row['way']})" if row["way"] else operation


def table(found: list[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = ["| operation | pynetdicom | fastdimse | times faster |"]
    lines += ["| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {label(row)} | {seconds(row['pynetdicom_seconds'])} "
        f"| {seconds(row['fastdimse_seconds'])} | {times(row['ratio'])} |"
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
    axes.bar_label(bars, [times(row["ratio"]) for row in found], padding=4, color=grey)
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 3)
    axes.invert_yaxis()
    axes.set_xlabel("times faster than pynetdicom (logarithmic)", color=grey)
    axes.tick_params(colors=grey)
    axes.axvline(1, color=grey, linewidth=0.8)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(picture, transparent=True, bbox_inches="tight", metadata={"Date": None})


def put(name: str, found: Any, text: str, picture: str = "") -> None:
    """Write results, and the README's part between the marks of their name."""
    file = RESULTS / name.replace(" ", "_")
    file.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    file.with_suffix(".md").write_text(text + "\n")
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = README.read_text().split(begin)
    after = rest.split(end)[1]
    README.write_text(f"{before}{begin}\n{text}{picture}\n{end}{after}")


def write(
    found: list[dict[str, Any]], beside_memory: list[dict[str, Any]], delivered: dict[str, float]
) -> None:
    """Write the tables and the picture."""
    RESULTS.mkdir(exist_ok=True)
    draw(found, RESULTS / "comparison.svg")
    picture = "![How many times faster than pynetdicom](benches/results/comparison.svg)"
    put("comparison", found, table(found), f"\n\n{picture}")
    put("memory speed", beside_memory, memory_speed.table(beside_memory))
    put("delivery", delivered, delivery.table(delivered))


def unmeasured(
    found: list[dict[str, Any]], beside_memory: list[dict[str, Any]], delivered: dict[str, float]
) -> list[str]:
    """Return what a whole run has and this one has not."""
    operations = {row["operation"] for row in found}
    measures = {row["measure"] for row in beside_memory}
    missing = [name for name in OPERATIONS if name not in operations]
    missing += [row.name for row in memory_speed.MEASURES if row.name not in measures]
    return missing + delivery.unmeasured(delivered)


def check(found: list[dict[str, Any]]) -> int:
    """Print what must be reached and what was; return how many were not."""
    ratios = {f"{row['operation']}, {row['way']}": row["ratio"] for row in found}
    for row in found:
        # An operation is as fast as its slowest way.
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
    return missed


def main() -> int:
    """Read the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="pytest-benchmark's JSON")
    parser.add_argument("--check", action="store_true", help="write nothing, compare with targets")
    arguments = parser.parse_args()
    run = json.loads(arguments.run.read_text())["benchmarks"]
    delivered = delivery.rows(run)
    run = [bench for bench in run if bench["group"] != delivery.GROUP]
    found, beside_memory = rows(read(run)), memory_speed.rows(run)
    if arguments.check:
        missed = check(found) + memory_speed.check(beside_memory) + delivery.check(delivered)
        print(f"{missed} missed")
        return 1 if missed else 0
    if found:
        print(table(found), end="\n\n")
    if beside_memory:
        print(memory_speed.table(beside_memory), end="\n\n")
    if delivered:
        print(delivery.table(delivered), end="\n\n")
    if missing := unmeasured(found, beside_memory, delivered):
        print(f"nothing is written, since this is a part only, without: {'; '.join(missing)}")
    else:
        write(found, beside_memory, delivered)
    return 0


if __name__ == "__main__":
    sys.exit(main())
