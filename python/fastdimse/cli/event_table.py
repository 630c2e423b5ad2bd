"""A table of events for the terminal."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fastdimse import events as standard

from .data_set_text import data_set_texts
from .event_names import addresses
from .event_rows import ACTION
from .row_files.columns import DATA_SETS
from .terminal import print_table, printable
from .uid_names import uid_name, uid_with_name

Event = dict[str, Any]
"""An event as a row of its table."""


class Column(NamedTuple):
    """A column of the table.

    Attributes
    ----------
    heading : str
        The heading.
    justify : {"left", "right"}
        The alignment of its cells.
    cell : Callable[[Event], str]
        Returns the cell of an event.
    """

    heading: str
    justify: Literal["left", "right"]
    cell: Callable[[Event], str]


def print_events(events: Any, columns: Sequence[Column], transfer_syntax: str | None) -> None:
    """Print events with their data sets.

    Parameters
    ----------
    events : pyarrow.Table
        The events.
    columns : Sequence[Column]
        The columns before the data sets.
    transfer_syntax : str, optional
        The transfer syntax of all data sets; None to use the one in each row.
    """
    syntaxes = events.column("TransferSyntaxUID") if transfer_syntax is None else transfer_syntax
    rows = _without_times(_with_data_set_texts(events, syntaxes)).to_pylist()
    print_table(_table(rows, columns), sys.stdout, narrow=_paragraphs(rows, columns))


def _table(events: list[Event], columns: Sequence[Column]) -> Table:
    table = Table(show_lines=True)
    for column in (*columns, DATA_SET):
        table.add_column(column.heading, justify=column.justify, overflow="fold")
    for event in events:
        table.add_row(*(Text(column.cell(event)) for column in (*columns, DATA_SET)))
    return table


def _paragraphs(events: list[Event], columns: Sequence[Column]) -> Group:
    """Return a paragraph for each event: its short fields in a line, then its data sets."""
    paragraphs: list[RenderableType] = []
    for event in events:
        cells = ((column, column.cell(event)) for column in columns)
        # Numbers need their headings.
        named = (
            f"{column.heading} {cell}" if column.justify == "right" else cell
            for column, cell in cells
            if cell
        )
        paragraphs.append(Text("  ".join(named), style="bold", overflow="fold"))
        data_set = Text(DATA_SET.cell(event), overflow="fold")
        paragraphs.append(Padding(data_set, (0, 0, 1, 4), expand=False))
    return Group(*paragraphs)


def _with_data_set_texts(events: Any, transfer_syntax: Any) -> Any:
    """Return the events with data sets as text."""
    for name in DATA_SETS:
        texts = data_set_texts(events.column(name), transfer_syntax)
        index = events.column_names.index(name)
        events = events.set_column(index, name, pa.array(texts, pa.string()))
    return events


def _without_times(events: Any) -> Any:
    """Return times as text and durations as numbers: Python's types have no nanoseconds."""
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


def _kind(event: Event) -> str:
    return "request" if event["MessageIDBeingRespondedTo"] is None else "response"


def _message_id(event: Event) -> str:
    responded_to = event["MessageIDBeingRespondedTo"]
    return _text(event["MessageID"] if responded_to is None else responded_to)


def _sop_class(event: Event) -> str:
    uid = event["AffectedSOPClassUID"]
    return "" if uid is None else uid_with_name(uid)


def _sop_class_name(event: Event) -> str:
    uid = event["AffectedSOPClassUID"]
    return "" if uid is None else uid_name(uid)


def _event_type(event: Event) -> str:
    """Return the Event Type ID and its name in PS3.4, if any; of an action, its Action Type ID."""
    uid, number = event["AffectedSOPClassUID"], event["EventTypeID"]
    if event.get(ACTION):
        return f"N-ACTION {_text(number)}"
    name = None if uid is None or number is None else standard.event_type(uid, number)
    return _text(number) if name is None else f"{number} {name}"


def _status(event: Event) -> str:
    status = event["Status"]
    return "" if status is None else str(standard.status(status))


def _data_sets(event: Event) -> str:
    information, reply = (event[name] for name in DATA_SETS)
    if reply is None:
        return information or ""
    return f"{information}\nEvent Reply:\n{reply}" if information else f"{reply}"


DATA_SET = Column("data set", "left", _data_sets)
"""The last column of both tables."""

DECODED = (
    Column("kind", "left", _kind),
    Column("Message ID", "right", _message_id),
    Column("SOP class", "left", _sop_class),
    Column("SOP instance", "left", _field("AffectedSOPInstanceUID")),
    Column("Event Type", "left", _event_type),
    Column("Status", "left", _status),
)
"""The columns of messages in a stream."""


def _time(event: Event) -> str:
    """Return the time with six decimals, or nine if it has nanoseconds."""
    time = event["Time"]
    return "" if time is None else time.removesuffix("Z").removesuffix("000")


def _titles(event: Event) -> str:
    """Return the AE titles of the sender and the receiver, as `with_peers` does."""
    titles = [_text(event[name]) or "?" for name in ("CallingAETitle", "CalledAETitle")]
    if event["SourcePort"] < event["DestinationPort"]:
        titles.reverse()
    return " → ".join(titles)


def _latency(event: Event) -> str:
    latency = event["Latency"]
    if latency is None:
        return "" if event["MessageIDBeingRespondedTo"] is None else "no request"
    return f"{latency / 1e6:,.3f} ms"


CAPTURED = (
    Column("time (UTC)", "left", _time),
    Column("from → to", "left", addresses),
    Column("AE titles", "left", _titles),
    Column("stream", "right", _field("Association")),
    Column("frame", "right", _field("Frame")),
    Column("Message ID", "right", _message_id),
    Column("SOP class", "left", _sop_class_name),
    Column("Event Type", "left", _event_type),
    Column("Status", "left", _status),
    Column("latency", "right", _latency),
)
"""The columns of events in a capture."""
