"""Tables of a delivery: its progress, and its outcomes."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from fastdimse import Progress
from fastdimse._core import describe_status

from .terminal import print_table


def milliseconds(seconds: float | None) -> str:
    """Return a latency as text."""
    return "" if seconds is None else f"{1000 * seconds:,.3g} ms"


def delivery_table(all_progress: Sequence[Progress], total: int | None, rate: float) -> Table:
    """Return the progress of each peer; `total` is the number of events, if it is known."""
    table = Table(title=f"{rate:,.0f} events/s", title_justify="left")
    for heading in ("peer", "state", "reason"):
        table.add_column(heading, overflow="fold")
    for heading in ("answered", "due", "failed", "median", "99 %"):
        table.add_column(heading, justify="right")
    for one in all_progress:
        of = "" if total is None else f" of {total:,}"
        table.add_row(
            *(one.peer.name, one.state, one.failure if one.state != "sending" else ""),
            *(f"{one.answered:,}{of}", f"{one.due:,}", f"{sum(one.failures.values()):,}"),
            *(milliseconds(one.median), milliseconds(one.percentile_99)),
        )
    return table


def print_summary(all_progress: Sequence[Progress], seconds: float) -> None:
    """Print a table with a row for each peer and kind of outcome."""
    table = Table()
    for heading in ("peer", "outcome"):
        table.add_column(heading, overflow="fold")
    for heading in ("events", "events/s", "median", "99 %"):
        table.add_column(heading, justify="right")
    for one in all_progress:
        rate = f"{one.answered / seconds:,.0f}" if one.answered else ""
        first = (one.peer.name, rate, milliseconds(one.median), milliseconds(one.percentile_99))
        for outcome, events in _outcomes(one):
            name, *figures = first
            table.add_row(name, outcome, f"{events:,}", *figures)
            first = ("", "", "", "")
    print_table(table, sys.stdout)


def summary(all_progress: Sequence[Progress], seconds: float) -> dict[str, Any]:
    """Return the outcomes of each peer as values of JSON; durations are in seconds."""
    return {
        "seconds": seconds,
        "peers": [
            {
                **{"peer": one.peer.name, "state": one.state, "reason": one.failure or None},
                **{"completed": one.answered, "due": one.due},
                **{"median": one.median, "percentile_99": one.percentile_99},
                "statuses": [
                    {"status": status, "name": describe_status(status), "events": events}
                    for status, events in sorted(one.statuses.items())
                ],
                "failures": [
                    {"code": code, "events": events}
                    for code, events in sorted(one.failures.items())
                ],
            }
            for one in all_progress
        ],
    }


def _outcomes(progress: Progress) -> Iterator[tuple[str, int]]:
    """Yield each kind of outcome, and the number of events that had it."""
    is_empty = True
    for status, events in sorted(progress.statuses.items()):
        is_empty = False
        yield describe_status(status), events
    for code, events in sorted(progress.failures.items()):
        is_empty = False
        yield f"not sent: {code}", events
    if progress.due or is_empty:
        reason = f": {progress.failure}" if progress.failure and progress.due else ""
        yield f"not delivered{reason}", progress.due
