"""Deliveries as people see them: how far each is, and what came of it."""

import sys
from collections.abc import Iterator, Sequence

from rich.table import Table

from fastdimse import Progress
from fastdimse._core import describe_status

from .terminal import print_table


def milliseconds(seconds: float | None) -> str:
    """Return a latency as people read it."""
    return "" if seconds is None else f"{1000 * seconds:,.3g} ms"


def delivery_table(all_progress: Sequence[Progress], total: int | None, rate: float) -> Table:
    """Return a table of how far they are: of `total` events each, if that is known."""
    table = Table(title=f"{rate:,.0f} events/s", title_justify="left")
    for heading in ("peer", "state", "why"):
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
    """Print what came of each delivery, a line for each kind of outcome."""
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


def _outcomes(progress: Progress) -> Iterator[tuple[str, int]]:
    """Give the kinds of outcomes, with how many events had them."""
    found = False
    for status, events in sorted(progress.statuses.items()):
        found = True
        yield describe_status(status), events
    for code, events in sorted(progress.failures.items()):
        found = True
        yield f"not sent: {code}", events
    if progress.due or not found:
        why = f": {progress.failure}" if progress.failure and progress.due else ""
        yield f"due still{why}", progress.due
