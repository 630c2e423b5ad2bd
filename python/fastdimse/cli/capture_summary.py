"""A summary of the events in a capture or a stream: by peer and SOP class, failures, faults."""

import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute
from rich.console import Console
from rich.text import Text

from fastdimse import CapturedEvents, DecodedEvents, Fault, Faults

from . import terminal
from .event_content import FAILURE_REASONS
from .event_lines import FAILED, STYLES, UNANSWERED, milliseconds, short_milliseconds
from .event_names import (
    CLASS_NAMES,
    failure_reason_name,
    status_category,
    status_text,
    title,
)
from .event_rows import ACTION
from .fitted_columns import GAP, Cell, Column, Form, Layout, Row, shortened
from .latencies import Latencies
from .terminal import plural, printable

# More groups are counted as one: any peer can choose its AE title.
_MAX_GROUPS = 1_000
_OTHERS = ("other peers", "other peers", None, False)
# Rows of each table, unless --head sets another number.
_MAX_ROWS = 20
_SHORT_ROWS = 5
_EXAMPLES = 3

Group = tuple[str, str, str | None, bool]
"""Sender, receiver, Affected SOP Class UID, and whether it consists of actions."""


class _Counts:
    """The events of a group."""

    def __init__(self) -> None:
        self.events = 0
        self.unanswered = 0
        self.failures = 0
        self.latencies = Latencies()


class FaultCounts:
    """Faults by their code, and the first of each code."""

    def __init__(self) -> None:
        self.count = 0
        self.by_code: Counter[str] = Counter()
        self._first: dict[str, list[Fault]] = {}

    def add(self, faults: Faults) -> None:
        """Add the faults of a batch."""
        self.count += len(faults)
        if not len(faults):
            return
        codes = pa.table(faults).column("code")
        for one in pa.compute.value_counts(codes).to_pylist():
            code = one["values"]
            self.by_code[code] += one["counts"]
            first = self._first.setdefault(code, [])
            if len(first) < _EXAMPLES:
                places = pa.compute.indices_nonzero(pa.compute.equal(codes, code))
                room = places.slice(0, _EXAMPLES - len(first)).to_pylist()
                first.extend(faults[place] for place in room)

    def lines(self, width: int, *, examples: int = _EXAMPLES) -> Iterator[Text]:
        """Return lines with the count of each code, and its first faults."""
        for code, count in self.by_code.most_common():
            title = f"  {count:,} {code}"
            first = [_place(one) for one in self._first[code]]
            if not examples:
                line = Text(shortened(f"{title}: {first[0]}", width, "..."))
            else:
                line = Text(title)
            line.stylize(FAILED, 2, len(title))
            yield line
            for fault in first[:examples]:
                yield Text(_indented(fault, 6, width))
            if examples and count > len(first):
                yield Text(f"      and {count - len(first):,} more")


def _place(fault: Fault) -> str:
    """Return the place of a fault as in Wireshark, the attribute, and its reason."""
    numbers = ((fault.frame, "frame"), (fault.stream, "stream"))
    places = [f"{name} {number}" for number, name in numbers if number is not None]
    # The field of a command set is in the reason.
    if fault.field is not None and "." in fault.field:
        places.append(fault.field)
    return printable(f"{', '.join(places)}: {fault.reason}" if places else fault.reason)


def _indented(text: str, indent: int, width: int) -> str:
    """Return a paragraph whose lines are indented, with the other ones two characters more."""
    first, other = " " * indent, " " * (indent + 2)
    return textwrap.fill(text, max(width, 20), initial_indent=first, subsequent_indent=other)


class Summary:
    """Counts the events of all batches in bounded memory.

    Percentiles of latencies are exact for up to `fastdimse.cli.latencies.EXACT` events of a sender,
    a receiver and a SOP class, and have an error of at most 1 % for more.

    Parameters
    ----------
    captured : bool
        Whether the events are of a capture.
    filtered : bool
        Whether there are filters.
    """

    def __init__(self, *, captured: bool, filtered: bool) -> None:
        self.faults = FaultCounts()
        self._captured = captured
        self._filtered = filtered
        self._before: Counter[bool] = Counter()
        self._requests: Counter[bool] = Counter()
        self._unanswered: Counter[bool] = Counter()
        self._responses = 0
        self._groups: dict[Group, _Counts] = {}
        self._statuses: Counter[tuple[Any, ...]] = Counter()
        self._reasons: Counter[tuple[Any, ...]] = Counter()
        self._skipped: Counter[str] = Counter()
        self._skipped_packets: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()

    def add(
        self,
        decoded: CapturedEvents | DecodedEvents,
        tables: Sequence[Any],
        kept: Sequence[Any],
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        decoded : CapturedEvents or DecodedEvents
            The batch.
        tables : sequence of pyarrow.Table
            Its events and actions, as `event_rows` returns them.
        kept : sequence of pyarrow.Table
            Those that the filters keep.
        """
        for number, table in enumerate(tables):
            responses = table.column("MessageIDBeingRespondedTo")
            self._before[bool(number)] += responses.null_count
        self._skipped.update(decoded.skipped)
        if isinstance(decoded, CapturedEvents):
            self.faults.add(decoded.faults)
            self._skipped_packets.update(decoded.skipped_packets)
            for name in ("associations", "streams", "packets"):
                self._totals[name] += getattr(decoded, name)
        for table in kept:
            if table.num_rows:
                self._add_events(table)

    def _add_events(self, events: Any) -> None:
        is_request = pa.compute.is_null(events.column("MessageIDBeingRespondedTo"))
        self._responses += events.num_rows - pa.compute.sum(is_request).as_py()
        self._add_statuses(events)
        self._add_reasons(events)
        requests = events.filter(is_request).select([*_KEYS, "Status", *_latency(self._captured)])
        if self._captured:
            index = requests.column_names.index("Latency")
            latencies = requests.column("Latency").cast(pa.int64())
            requests = requests.set_column(index, "Latency", latencies)
            self._add_groups(requests)
        else:
            self._requests[False] += requests.num_rows

    def _add_groups(self, requests: Any) -> None:
        codes = pa.compute.unique(requests.column("Status")).to_pylist()
        failures = [one for one in codes if one is not None and status_category(one) == "Failure"]
        is_failure = pa.compute.is_in(
            requests.column("Status"), value_set=pa.array(failures, pa.int32())
        )
        groups = (
            requests.append_column("Failure", is_failure.cast(pa.int64()))
            .group_by(_KEYS, use_threads=False)
            .aggregate([("Latency", "list"), ("Failure", "sum")])
        )
        for one in groups.to_pylist():
            latencies = one["Latency_list"]
            known = [latency for latency in latencies if latency is not None]
            unanswered = len(latencies) - len(known)
            key = (one["From"], one["To"], one["AffectedSOPClassUID"], one[ACTION])
            self._requests[one[ACTION]] += len(latencies)
            self._unanswered[one[ACTION]] += unanswered
            counts = self._group(key)
            counts.events += len(latencies)
            counts.unanswered += unanswered
            counts.failures += one["Failure_sum"]
            counts.latencies.add(known)

    def _group(self, key: Group) -> _Counts:
        if key not in self._groups and len(self._groups) >= _MAX_GROUPS:
            key = _OTHERS
        return self._groups.setdefault(key, _Counts())

    def _add_statuses(self, events: Any) -> None:
        failed = pa.compute.fill_null(pa.compute.not_equal(events.column("Status"), 0), False)
        names = ["Status", "ErrorComment", "From", "To"]
        self._count(self._statuses, events.filter(failed).select(names))

    def _add_reasons(self, events: Any) -> None:
        lists = events.column(FAILURE_REASONS).combine_chunks()
        parents = pa.compute.list_parent_indices(lists)
        reasons = pa.table({"Reason": pa.compute.list_flatten(lists)})
        for name in ("From", "To"):
            reasons = reasons.append_column(name, events.column(name).take(parents))
        self._count(self._reasons, reasons)

    @staticmethod
    def _count(counts: Counter[tuple[Any, ...]], table: Any) -> None:
        keys = table.column_names
        for one in (
            table.group_by(keys, use_threads=False).aggregate([([], "count_all")]).to_pylist()
        ):
            key = tuple(one[name] for name in keys)
            if key not in counts and len(counts) >= _MAX_GROUPS:
                key = (key[0], *[None] * (len(keys) - 3), *_OTHERS[:2])
            counts[key] += one["count_all"]

    def print_faults(self, file: TextIO) -> None:
        """Print the faults only."""
        console = terminal.console(file)
        for line in self.faults.lines(console.width):
            console.print(line)

    def print(self, file: TextIO, *, short: bool, limit: int | None = None) -> None:
        """Print the summary.

        Parameters
        ----------
        file : TextIO
            The output.
        short : bool
            Print fewer rows of each table, and no packets and PDUs of other kinds.
        limit : int, optional
            Maximum number of rows of each table. 0: no limit.
        """
        rows = limit if limit is not None else _SHORT_ROWS if short else _MAX_ROWS
        console = terminal.console(file)
        if short:
            console.print()
        for text in self._sections(console, file, rows or sys.maxsize, short=short):
            for line in text.wrap(console, console.width):
                # rich keeps the space before a break.
                line.rstrip()
                console.print(line)

    def _sections(
        self, console: Console, file: TextIO, rows: int, *, short: bool
    ) -> Iterator[Text]:
        def plain(text: str) -> str:
            return terminal.plain(text, file)

        def table(columns: Sequence[Column], steps: Any, values: Sequence[Row]) -> Iterator[Text]:
            # A line about one more row would take the place of that row.
            shown = len(values) if len(values) == rows + 1 else rows
            headings, lines = Layout(columns, steps, console.width, plain).lines(values[:shown])
            if headings is not None:
                yield headings
            yield from lines
            if len(values) > shown:
                yield Text(f"and {len(values) - shown:,} more")

        if self._groups:
            yield from table(_GROUP_COLUMNS, _GROUP_STEPS, self._sorted_groups())
        if self._statuses:
            yield Text("\nStatuses other than Success", "bold")
            yield from table(_STATUS_COLUMNS, _COUNT_STEPS, _counted(self._statuses))
        if self._reasons:
            yield Text("\nInstances that are not committed, by Failure Reason", "bold")
            yield from table(_REASON_COLUMNS, _COUNT_STEPS, _counted(self._reasons))
        if self.faults.count:
            yield Text(f"\n{plural(self.faults.count, 'fault')} in the capture", "bold")
            yield from self.faults.lines(console.width, examples=0 if short else _EXAMPLES)
        if not short:
            for heading, counts in (
                ("Skipped packets", self._skipped_packets),
                ("Skipped PDUs", self._skipped),
            ):
                if counts:
                    named = ", ".join(
                        f"{printable(name)} {n:,}" for name, n in counts.most_common()
                    )
                    yield Text(f"\n{heading}: {named}")
        if not short or self._groups or self._statuses or self._reasons or self.faults.count:
            yield Text()
        yield Text(self.counts())

    def _sorted_groups(self) -> list[dict[str, Any]]:
        """Return the groups, the slowest first."""
        rows: list[dict[str, Any]] = []
        for (sender, receiver, uid, is_action), counts in self._groups.items():
            found = {f"p{n}": counts.latencies.percentile(n) for n in (50, 90, 99)}
            rows.append(
                {
                    "From": sender,
                    "To": receiver,
                    "AffectedSOPClassUID": uid,
                    ACTION: is_action,
                    "events": counts.events,
                    "unanswered": counts.unanswered,
                    "failures": counts.failures,
                    "max": counts.latencies.longest if counts.latencies.count else None,
                    **found,
                }
            )
        return sorted(rows, key=lambda row: (row["p90"] or 0, row["events"]), reverse=True)

    def counts(self) -> str:
        """Return the counts as one line."""
        responses = plural(self._responses, "response")
        if not self._captured:
            return f"{self._count_of(False, 'request')}, {responses}{self._other_pdus()}"
        words = [self._count_of(False, "event")]
        if self._responses:
            words[0] += f", {responses} without a request"
        if self._before[True]:
            words.append(self._count_of(True, "action"))
        totals = self._totals
        words.append(
            f"{plural(totals['associations'], 'association')} in "
            f"{plural(totals['streams'], 'TCP stream')} of {plural(totals['packets'], 'packet')}"
        )
        return "; ".join(words)

    def _count_of(self, is_action: bool, thing: str) -> str:
        count, before = self._requests[is_action], self._before[is_action]
        text = f"{count:,} of {plural(before, thing)}" if self._filtered else plural(count, thing)
        if not self._captured:
            return text
        return f"{text}, {self._unanswered[is_action]:,} without a response"

    def _other_pdus(self) -> str:
        kinds = ", ".join(f"{name} {n:,}" for name, n in self._skipped.items())
        others = plural(self._skipped.total(), "other PDU")
        return f", {others} skipped" + (f" ({kinds})" if kinds else "")


_KEYS = ["From", "To", "AffectedSOPClassUID", ACTION]


def _latency(captured: bool) -> list[str]:
    return ["Latency"] if captured else []


def _counted(counts: Counter[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [
        {"value": value, "From": sender, "To": receiver, "count": count}
        for (*value, sender, receiver), count in counts.most_common()
    ]


def _ends(row: Row) -> Cell:
    return Cell(f"{title(row['From'])} → {title(row['To'])}" if row["From"] else "")


def _class(name: Callable[[str | None], str]) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        kind = " N-ACTION" if row[ACTION] else ""
        return Cell(f"{name(row['AffectedSOPClassUID'])}{kind}")

    return cell


def _status(row: Row) -> Cell:
    code, comment = row["value"]
    text = f"{status_text(code)}: {printable(comment)}" if comment else status_text(code)
    return Cell(text, STYLES.get(status_category(code), ""))


def _number(name: str, style: str = "") -> Callable[[Row], Cell]:
    return lambda row: Cell(f"{row[name]:,}", style if row[name] else "")


def _durations(name: str) -> Column:
    def form(duration: Callable[[int | None], str]) -> Form:
        return Form(name, lambda row: Cell(duration(row[name])))

    return Column(name, (form(milliseconds), form(short_milliseconds)), "right")


_GROUP_COLUMNS = (
    Column("ends", (Form("from → to", _ends),)),
    Column("class", [Form("SOP class", _class(name)) for name in CLASS_NAMES]),
    Column("events", (Form("events", _number("events")),), "right"),
    Column(
        "unanswered",
        (
            Form("no response", _number("unanswered", UNANSWERED)),
            Form("no resp.", _number("unanswered", UNANSWERED)),
        ),
        "right",
    ),
    Column("failures", (Form("failed", _number("failures", FAILED)),), "right"),
    *(_durations(name) for name in ("p50", "p90", "p99", "max")),
)
_GROUP_STEPS = (
    ("class",), ("p50", "p90", "p99", "max"), ("unanswered",), ("class",), (GAP,), ("class",),
    ("p50",), ("p99",), ("events",), ("max",),
)  # fmt: skip
_COUNT = Column("count", (Form("count", _number("count")),), "right")
_COUNT_ENDS = Column("ends", (Form("from → to", _ends),))
_STATUS_COLUMNS = (_COUNT, Column("value", (Form("Status", _status),)), _COUNT_ENDS)
_REASON_COLUMNS = (
    _COUNT,
    Column(
        "value",
        (Form("Failure Reason", lambda row: Cell(failure_reason_name(*row["value"]), FAILED)),),
    ),
    _COUNT_ENDS,
)
_COUNT_STEPS = ((GAP,),)
