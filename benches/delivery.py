"""The table of deliveries: events per second, and the targets.

All figures are from one run, over loopback, with data sets of 100 bytes.
"""

from typing import Any

import commitment
from figures import times

GROUP = "delivery"

RAW = "raw sockets, one at a time"
OURS = "`connect` to `listen`, one at a time"
RAW_WINDOW = "raw sockets, 64 outstanding"
OURS_WINDOW = "`connect` to `listen`, a window of 64"
PYNETDICOM = "pynetdicom to pynetdicom"
TO_PYNETDICOM = "`connect` to pynetdicom"
FROM_PYNETDICOM = "pynetdicom to `listen`"
PYNETDICOM_TO_ORTHANC = "pynetdicom to Orthanc"
INSTALLED_TO_ORTHANC = "pynetdicom with `install()` to Orthanc"
TO_ORTHANC = "`connect` to Orthanc, one at a time"
PYNETDICOM_TO_DCMTK = "pynetdicom to DCMTK"
INSTALLED_TO_DCMTK = "pynetdicom with `install()` to DCMTK"
TO_DCMTK = "`connect` to DCMTK, one at a time"
DCMTK = "DCMTK to DCMTK"
DCMTK_NO_DELAY = "DCMTK to DCMTK with TCP_NODELAY=1"
ONE = "`listen`, one association, one at a time"
MANY = "`listen`, 64 associations, each one at a time"
ONE_WINDOW = "`listen`, one association, a window of 64"
MANY_WINDOW = "`listen`, 64 associations, each a window of 64"
PEERS = "`Delivery` to 1,000 peers, each with its own events"
LIVING_PEERS = "`Delivery` to 1,000 peers, the 900 that respond"
MEMORY = "the receiver's memory for 1,000,000 events, above the interpreter's"

ROWS = [
    *(PYNETDICOM, DCMTK, DCMTK_NO_DELAY, OURS, RAW, OURS_WINDOW, RAW_WINDOW),
    *(TO_PYNETDICOM, FROM_PYNETDICOM, ONE, MANY, ONE_WINDOW, MANY_WINDOW),
    *(PYNETDICOM_TO_ORTHANC, INSTALLED_TO_ORTHANC, TO_ORTHANC),
    *(PYNETDICOM_TO_DCMTK, INSTALLED_TO_DCMTK, TO_DCMTK),
    *(PEERS, LIVING_PEERS),
]
# Rows that need DCMTK or Orthanc, which may not be installed.
OPTIONAL = {name for name in ROWS if "DCMTK" in name or "Orthanc" in name}
# The measurement of pynetdicom with which a row is compared, if it has another receiver.
COMPARED_WITH = {
    **dict.fromkeys([INSTALLED_TO_ORTHANC, TO_ORTHANC], PYNETDICOM_TO_ORTHANC),
    **dict.fromkeys([INSTALLED_TO_DCMTK, TO_DCMTK], PYNETDICOM_TO_DCMTK),
}
MIB = 2**20
MOST_MEMORY = 200 * MIB

# A sender and receiver, the rival, and the smallest ratio of their events per second.
TARGETS = [
    (OURS, RAW, 0.85),
    (OURS_WINDOW, RAW_WINDOW, 0.4),
    (OURS, DCMTK_NO_DELAY, 1.0),
    (OURS, PYNETDICOM, 500.0),
    (TO_PYNETDICOM, PYNETDICOM, 5.0),
    (FROM_PYNETDICOM, PYNETDICOM, 5.0),
    (MANY, ONE, 1.0),
    (MANY_WINDOW, ONE_WINDOW, 1.0),
    (TO_ORTHANC, PYNETDICOM_TO_ORTHANC, 60.0),
    (LIVING_PEERS, PEERS, 0.8),
]
# The smallest events per second.
RATES = {TO_ORTHANC: 1_000, INSTALLED_TO_ORTHANC: 500}


def rows(benchmarks: list[dict[str, Any]]) -> dict[str, float]:
    """Return the events per second by name, and the bytes of memory."""
    found: dict[str, float] = {}
    for bench in benchmarks:
        if bench["group"] == GROUP:
            info = bench["extra_info"]
            found |= {name: 1 / seconds for name, seconds in info.get("seconds", {}).items()}
            found |= info.get("bytes", {})
    return found


def unmeasured(found: dict[str, float]) -> list[str]:
    """Return the missing measurements, without the optional ones."""
    names = [*ROWS, MEMORY, *commitment.ROWS]
    return [name for name in names if name not in found and name not in OPTIONAL]


def table(found: dict[str, float]) -> str:
    """Return the table in Markdown."""
    lines = ["| sender and receiver | events per second | ratio to pynetdicom |"]
    lines += ["| --- | ---: | ---: |"]
    for name in ROWS:
        if name in found:
            rival = COMPARED_WITH.get(name, PYNETDICOM)
            beside = times(found[name] / found[rival]) if rival in found else ""
            lines.append(f"| {name} | {found[name]:,.0f} | {beside} |")
    text = "\n".join(lines)
    if MEMORY in found:
        text += f"\n\n{MEMORY[0].upper()}{MEMORY[1:]}: {found[MEMORY] / MIB:.0f} MiB."
    if commitment.PYNETDICOM in found:
        text += f"\n\n{commitment.table(found)}"
    return text


def check(found: dict[str, float]) -> int:
    """Print each target and the measured value; return the number of missed targets."""
    missed = 0
    for name, beside, target in TARGETS:
        if name in found and beside in found:
            ratio = found[name] / found[beside]
            missed += ratio < target
            mark = "missed" if ratio < target else "reached"
            print(f"{mark}: {name}: {times(ratio)} of {target:g} times {beside}")
        elif OPTIONAL.isdisjoint((name, beside)):
            missed += 1
            print(f"missed: {name}: not measured")
    for name, target in RATES.items():
        if name in found:
            missed += found[name] < target
            mark = "missed" if found[name] < target else "reached"
            print(f"{mark}: {name}: {found[name]:,.0f} of {target:,}/s")
    missed += commitment.check(found)
    memory = found.get(MEMORY, MOST_MEMORY + 1)
    missed += memory > MOST_MEMORY
    mark = "missed" if memory > MOST_MEMORY else "reached"
    print(f"{mark}: {MEMORY}: {memory / MIB:.0f} of {MOST_MEMORY / MIB:.0f} MiB")
    return missed
