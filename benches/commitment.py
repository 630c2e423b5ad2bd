"""The table of storage commitments, a part of that of deliveries: transactions per second.

A transaction is a request with 10 references and its report.
"""

from figures import times

PYNETDICOM = "pynetdicom, one at a time, without a database"
ONE_BY_ONE = "fastdimse, one request at a time"
OURS = "fastdimse, a window of 64"
SYNC = "fastdimse, a window of 64, `sync=True`"
ROWS = [PYNETDICOM, ONE_BY_ONE, OURS, SYNC]

# Transactions per second on one association.
TARGET = 3_000


def table(found: dict[str, float]) -> str:
    """Return the table in Markdown."""
    lines = ["| requester and provider | transactions per second | ratio to pynetdicom |"]
    lines += ["| --- | ---: | ---: |"]
    lines += [
        f"| {name} | {found[name]:,.0f} | {times(found[name] / found[PYNETDICOM])} |"
        for name in ROWS
        if name in found
    ]
    return "\n".join(lines)


def check(found: dict[str, float]) -> int:
    """Print the target and the measured value; return the number of missed targets."""
    rate = found.get(OURS, 0.0)
    mark = "reached" if rate >= TARGET else "missed"
    print(f"{mark}: {OURS}: {rate:,.0f} of {TARGET:,} transactions per second")
    return int(rate < TARGET)
