"""Events as people see them: a row for each, what repeats by its name."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute
from rich.table import Table
from rich.text import Text

from fastdimse import events as standard

from .report import plural, print_table, printable

Event = dict[str, Any]
"""An event as a row of its table."""


class Column(NamedTuple):
    """A column of the table that is shown.

    Attributes
    ----------
    heading : str
        What stands above it.
    justify : {"left", "right"}
        Where its cells stand.
    cell : Callable[[Event], str]
        Makes a cell of an event.
    """

    heading: str
    justify: Literal["left", "right"]
    cell: Callable[[Event], str]


def print_events(events: Any, head: int, columns: Sequence[Column]) -> None:
    """Print the first `head` events, or all if it is 0."""
    table = Table()
    for column in columns:
        table.add_column(column.heading, justify=column.justify, overflow="fold")
    shown = min(head or events.num_rows, events.num_rows)
    for event in _without_times(events.slice(0, shown)).to_pylist():
        table.add_row(*(Text(column.cell(event)) for column in columns))
    print_table(table, sys.stdout)
    if shown < events.num_rows:
        print(f"and {plural(events.num_rows - shown, 'more event')}; --head 0 shows all")


def with_names(events: Any) -> Any:
    """Return the table with the names of event types and statuses, where the standard has them."""
    names = {
        f"{uid} {one.id}": one.name
        for sop_class in standard.SOP_CLASSES
        for uid in (sop_class.uid, sop_class.affected_sop_class_uid)
        for one in sop_class.event_types
    }
    of_class = events.column("AffectedSOPClassUID").cast(pa.string())
    of_type = events.column("EventTypeID").cast(pa.string())
    keys = pa.compute.binary_join_element_wise(of_class, of_type, " ")
    statuses = {one.code: one.name for one in standard.STATUSES}
    return events.append_column("EventTypeName", _looked_up(keys, names)).append_column(
        "StatusName", _looked_up(events.column("Status").cast(pa.int64()), statuses)
    )


def _looked_up(keys: Any, names: Mapping[Any, str | None]) -> Any:
    places = pa.compute.index_in(keys, value_set=pa.array(list(names)))
    return pa.array(list(names.values()), pa.string()).take(places.combine_chunks())


def _without_times(events: Any) -> Any:
    """Return times as text and spans of time as numbers: Python's have no nanoseconds."""
    for index, field in enumerate(events.schema):
        if pa.types.is_timestamp(field.type):
            text = events.column(index).cast(pa.string())
            events = events.set_column(index, field.name, text)
        elif pa.types.is_duration(field.type):
            number = events.column(index).cast(pa.int64())
            events = events.set_column(index, field.name, number)
    return events


def _text(value: object) -> str:
    return "" if value is None else printable(str(value))


def _field(name: str) -> Callable[[Event], str]:
    return lambda event: _text(event[name])


@cache
def _name(uid: str) -> str:
    """Return the name that pydicom knows for a SOP class, or the UID."""
    try:
        from pydicom.config import IGNORE
        from pydicom.uid import UID
    except ImportError:
        return printable(uid)
    return printable(UID(uid, IGNORE).name)


def _kind(event: Event) -> str:
    return "request" if event["MessageIDBeingRespondedTo"] is None else "response"


def _message_id(event: Event) -> str:
    answers = event["MessageIDBeingRespondedTo"]
    return _text(event["MessageID"] if answers is None else answers)


def _sop_class(event: Event) -> str:
    uid = _text(event["AffectedSOPClassUID"])
    name = _sop_class_name(event)
    return uid if name == uid else f"{uid} {name}"


def _sop_class_name(event: Event) -> str:
    uid = event["AffectedSOPClassUID"]
    return "" if uid is None else _name(uid)


def _event_type(event: Event) -> str:
    """Return the Event Type ID with the name that the standard gives it."""
    uid, number = event["AffectedSOPClassUID"], event["EventTypeID"]
    known = None if uid is None or number is None else standard.event_type(uid, number)
    return _text(number) if known is None else f"{number} {known}"


def _status(event: Event) -> str:
    status = event["Status"]
    return "" if status is None else str(standard.status(status))


def _data_set(event: Event) -> str:
    answers = event["MessageIDBeingRespondedTo"] is not None
    data_set = event["EventReply"] if answers else event["EventInformation"]
    return "" if data_set is None else plural(len(data_set), "byte")


DECODED = (
    Column("kind", "left", _kind),
    Column("Message ID", "right", _message_id),
    Column("SOP class", "left", _sop_class),
    Column("SOP instance", "left", _field("AffectedSOPInstanceUID")),
    Column("Event Type", "left", _event_type),
    Column("Status", "left", _status),
    Column("data set", "right", _data_set),
)
"""The columns of a stream's events."""


def _time(event: Event) -> str:
    """Return the time with as many digits as it has: of seconds, six or nine."""
    time = event["Time"]
    return "" if time is None else time.removesuffix("Z").removesuffix("000")


def _end(side: str) -> Callable[[Event], str]:
    def end(event: Event) -> str:
        address, port = event[f"{side}Address"], event[f"{side}Port"]
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    return end


def _ends(event: Event) -> str:
    return f"{_end('Source')(event)} → {_end('Destination')(event)}"


def _titles(event: Event) -> str:
    """Return who called whom; the caller need not be who sends the event."""
    calling, called = event["CallingAETitle"], event["CalledAETitle"]
    return f"{_text(calling) or '?'} → {_text(called) or '?'}"


def _latency(event: Event) -> str:
    latency = event["Latency"]
    return "" if latency is None else f"{latency / 1e6:,.3f} ms"


CAPTURED = (
    Column("time (UTC)", "left", _time),
    Column("from → to", "left", _ends),
    Column("AE titles", "left", _titles),
    Column("stream", "right", _field("Association")),
    Column("Message ID", "right", _message_id),
    Column("SOP class", "left", _sop_class_name),
    Column("Event Type", "left", _event_type),
    Column("Status", "left", _status),
    Column("latency", "right", _latency),
)
"""The columns of a capture's events."""
