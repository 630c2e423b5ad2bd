"""The table of streams compared with the memory of the machine, and its limits.

The fastest rounds of one run are compared. The rounds of both rivals alternate.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from figures import fraction, mebibytes, ratio, seconds


def quotient(ours: float, rival: float) -> float:
    """Return the ratio to the rival."""
    return ours / rival


def alone(ours: float, rival: float) -> float:
    """Return the value of fastdimse: the rival is only shown."""
    return ours


class Measure(NamedTuple):
    """A measurement, its rival and its limit."""

    group: str
    name: str
    rival: str
    at_most: float | None
    """``None`` if the measurement is only reported."""
    goal: float | None = None
    of: Callable[[float, float], float] = quotient
    show: Callable[[float], str] = ratio
    amount: Callable[[float], str] = seconds


MEASURES = [
    Measure(
        "encode a table",
        "`encode_events` of a pyarrow table",
        "a fresh copy of the output",
        1.0,
        0.5,
    ),
    Measure(
        "encode a table, kept",
        "the same, with all earlier outputs kept, so that no memory is reused",
        "a fresh copy of the output",
        None,
    ),
    Measure(
        "encode batches",
        "`encode_batches`, 4,096 rows in a batch",
        "a warm copy of the same bytes",
        1.3,
        1.0,
    ),
    Measure(
        "encode batches, structured",
        "`encode_batches` of structured events with two references",
        "a warm copy of the same bytes",
        3.0,
        2.0,
    ),
    Measure(
        "decode a stream", "`decode_events` of the stream", "a fresh copy of the stream", 1.0, 0.3
    ),
    Measure(
        "decode a stream to views",
        "`decode_events(zero_copy=True)` of the stream",
        "a fresh copy of the stream",
        0.6,
        0.25,
    ),
    Measure("encode a table, threads=2", "`encode_events(threads=2)`", "one thread", 0.65),
    Measure("encode batches, threads=2", "`encode_batches(threads=2)`", "one thread", 0.65),
    Measure("decode a stream, threads=2", "`decode_events(threads=2)`", "one thread", 0.65),
    Measure(
        "check by the standard, threads=2",
        '`validate_events(check="standard", threads=2)` of conformant events with two references',
        "one thread",
        0.65,
    ),
    Measure(
        "encode half bad rows",
        "`encode_events` with every second row rejected, and its `rejected`",
        "no row rejected",
        3.0,
    ),
    Measure(
        "encode primitives",
        "`encode_events` of a list of 100,000 `N_EVENT_REPORT`",
        "pynetdicom's `primitive_to_message` and `encode_msg`",
        1 / 1500,
        show=fraction,
    ),
    Measure(
        "encode primitives",
        "the same primitives, as a time",
        "",
        150e-9,
        of=alone,
        show=seconds,
    ),
    Measure(
        "encode one row",
        "`encode_events` of a RecordBatch of one row and four columns",
        "pynetdicom's `primitive_to_message` and `encode_msg`",
        1 / 50,
        show=fraction,
    ),
    Measure(
        "encode one row",
        "the same row, as a time",
        "",
        6e-6,
        3e-6,
        of=alone,
        show=seconds,
    ),
    Measure(
        "encode one row, exported",
        "`encode_events` of this RecordBatch",
        "its `__arrow_c_array__()` alone",
        3.5,
        1.7,
    ),
    Measure(
        "encode 100 rows",
        "`encode_events` of a RecordBatch of 100 rows, per row",
        "its `__arrow_c_array__()` alone",
        None,
    ),
    Measure(
        "encode 100 rows",
        "the same rows, as a time per row",
        "",
        150e-9,
        of=alone,
        show=seconds,
    ),
    Measure(
        "memory",
        "peak memory of `encode_batches` to a file, 10,000,000 events, above the interpreter's",
        "the interpreter",
        200 * 2**20,
        of=alone,
        show=mebibytes,
        amount=mebibytes,
    ),
]


def rows(benchmarks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each measurement of a run."""
    groups = {bench["group"]: bench for bench in benchmarks}
    found = []
    for measure in MEASURES:
        if measure.group not in groups:
            continue
        bench = groups[measure.group]
        info = bench["extra_info"]
        if "peak" in info:
            ours, rival = info["peak"] - info["interpreter"], info["interpreter"]
        else:
            ours, rival = bench["stats"]["min"] / info["events"], info["beside"]
        found.append(
            {
                "measure": measure.name,
                "rival": measure.rival,
                "events": info["events"],
                "fastdimse": ours,
                "rival_value": rival,
                "compared": measure.of(ours, rival),
                "at_most": measure.at_most,
            }
        )
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = ["| measurement | fastdimse | compared with | | ratio | limit | goal |"]
    lines += ["| --- | ---: | --- | ---: | ---: | ---: | ---: |"]
    measures = {measure.name: measure for measure in MEASURES}
    for row in found:
        measure = measures[row["measure"]]
        at_most = "" if measure.at_most is None else measure.show(measure.at_most)
        cells = [
            measure.name,
            measure.amount(row["fastdimse"]),
            measure.rival,
            measure.amount(row["rival_value"]) if measure.rival else "",
            "" if measure.of is alone else measure.show(row["compared"]),
            at_most,
            "" if measure.goal is None else measure.show(measure.goal),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    events = next((row["events"] for row in found if row["measure"] == MEASURES[0].name), 0)
    note = (
        f"{events:,} events of 260 bytes unless stated otherwise, on one CPU, with `threads=2` on "
        "two. Times are per event."
    )
    return "\n".join([*lines, "", note])


def check(found: list[dict[str, Any]]) -> int:
    """Print each limit and the measured value; return the number of missed limits."""
    rows = {row["measure"]: row for row in found}
    missed = 0
    for measure in MEASURES:
        if measure.at_most is None:
            continue
        name = measure.name.replace("`", "")
        if measure.name not in rows:
            missed += 1
            print(f"missed: {name}: not measured")
            continue
        compared = rows[measure.name]["compared"]
        too_much = compared > measure.at_most
        missed += too_much
        goal = "" if measure.goal is None else f" (goal: {measure.show(measure.goal)})"
        print(
            f"{'missed' if too_much else 'reached'}: {name}: "
            f"{measure.show(compared)} of at most {measure.show(measure.at_most)}{goal}"
        )
    return missed
