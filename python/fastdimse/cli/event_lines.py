"""Events as one line each, in the width of the output."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from rich.text import Text

from fastdimse import events as standard

from .event_content import FAILURE_REASONS, REFERENCES, STATE
from .event_names import (
    addresses,
    class_name,
    event_label,
    event_name,
    failure_reason_name,
    short_class_name,
    short_event_name,
    status_name,
    title,
)
from .event_rows import ACTION
from .fitted_columns import GAP, Cell, Column, Form, Layout, Row
from .terminal import console, plain, plural, print_line, printable

FAILED = "bold red"
UNANSWERED = "bold magenta"
WARNING = "yellow"
STYLES = {"Failure": FAILED, "Warning": WARNING, "Cancel": WARNING, "Unknown": WARNING}
"""The styles of Statuses by category; others have none."""

_WORDS = {"Failure": "failed", "Warning": "warning"}
_SECOND = 10**9
_WELL_KNOWN = {one.well_known_instance for one in standard.SOP_CLASSES}


def is_response(event: Row) -> bool:
    """Return whether a row is a response whose request is not in the row."""
    return event["MessageIDBeingRespondedTo"] is not None


def _plain_cell(name: str) -> Form:
    return Form(
        name, lambda event: Cell("" if event[name] is None else printable(str(event[name])))
    )


def _heading(heading: str, name: str) -> Form:
    return _plain_cell(name)._replace(heading=heading)


def date(nanoseconds: int | None) -> str | None:
    """Return the date of a time in UTC."""
    if nanoseconds is None:
        return None
    return f"{datetime.fromtimestamp(nanoseconds // _SECOND, UTC):%Y-%m-%d}"


def _time(event: Row, digits: int) -> Cell:
    time = event["Time"]
    if time is None:
        return Cell("")
    seconds, rest = divmod(time, _SECOND)
    text = f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}"
    return Cell(f"{text}.{rest:09}"[: len(text) + digits + 1] if digits else text)


def _ends(event: Row) -> Cell:
    return Cell(f"{title(event['From'])} → {title(event['To'])}")


def _receiver(event: Row) -> Cell:
    return Cell(f"→ {title(event['To'])}")


def _kind(event: Row) -> Cell:
    return Cell("response" if is_response(event) else "request")


def _message_id(event: Row) -> Cell:
    number = event["MessageIDBeingRespondedTo" if is_response(event) else "MessageID"]
    return Cell("" if number is None else str(number))


def _class(name: Any) -> Any:
    return lambda event: Cell(name(event["AffectedSOPClassUID"]))


def _event(name: Any) -> Any:
    def cell(event: Row) -> Cell:
        is_action = bool(event.get(ACTION))
        text = name(event["AffectedSOPClassUID"], event["EventTypeID"], is_action=is_action)
        return Cell(text, FAILED if event[FAILURE_REASONS] else "")

    return cell


def _instance(event: Row) -> Cell:
    uid = event["AffectedSOPInstanceUID"]
    return Cell("" if uid is None or uid in _WELL_KNOWN else printable(uid))


def _content(event: Row) -> Cell:
    """Return for example "7 committed, 2 failed", "7 instances", or the state that is reported."""
    count, failed = event[REFERENCES], len(event[FAILURE_REASONS])
    state = event[STATE]
    is_commitment = event["AffectedSOPClassUID"] == "1.2.840.10008.1.20.1"
    words = []
    if count is not None and is_commitment and not event.get(ACTION):
        words.append(f"{count:,} committed")
    elif count is not None:
        words.append(plural(count, "instance"))
    if failed:
        words.append(f"{failed:,} failed")
    if state:
        words.append(printable(state))
    return Cell(", ".join(words), FAILED if failed else "")


def _content_with_reasons(event: Row) -> Cell:
    """Return the content, and the Failure Reasons of the instances that failed."""
    text, style = _content(event)
    reasons = dict.fromkeys(event[FAILURE_REASONS])
    names = ", ".join(failure_reason_name(one) for one in reasons if one is not None)
    return Cell(f"{text}: {names}" if names else text, style)


def _short_content(event: Row) -> Cell:
    text, style = _content(event)
    return Cell(text.replace(" committed", " ok").replace(" instances", " inst."), style)


def _status(event: Row, form: str) -> Cell:
    """Return a Status in words; `form` is the form of failures and warnings with a name."""
    code = event["Status"]
    if code is None:
        if is_response(event):
            return Cell("no Status")
        if "Latency" not in event:
            # A request in a stream: its response is in another stream.
            return Cell("")
        return Cell("no response", UNANSWERED) if event["Latency"] is None else Cell("no Status")
    category, name = standard.status(code).category, status_name(code)
    style = STYLES.get(category, "")
    if category not in _WORDS:
        return Cell(name if code == 0 else f"0x{code:04X} {name}", style)
    if name == category:
        form = "{word} {code}"
    return Cell(form.format(word=_WORDS[category], code=f"0x{code:04X}", name=name), style)


def _status_with_comment(event: Row) -> Cell:
    text, style = _status(event, "{word}: {code} {name}")
    comment = event["ErrorComment"]
    return Cell(f"{text}: {printable(comment)}" if comment else text, style)


def _status_form(form: str) -> Form:
    return Form("Status", lambda event: _status(event, form))


def milliseconds(nanoseconds: int | None) -> str:
    """Return a duration in milliseconds, so that durations can be compared by eye."""
    return "" if nanoseconds is None else f"{nanoseconds / 1e6:,.3f} ms"


def short_milliseconds(nanoseconds: int | None) -> str:
    """Return a duration in milliseconds, with one decimal if it is short."""
    if nanoseconds is None:
        return ""
    time = nanoseconds / 1e6
    return f"{time:,.1f} ms" if time < 99.95 else f"{time:,.0f} ms"


def _latency(duration: Callable[[int | None], str]) -> Form:
    def cell(event: Row) -> Cell:
        # Otherwise a response would look like an event of the other side.
        if is_response(event):
            return Cell("no request", UNANSWERED)
        return Cell(duration(event["Latency"]))

    return Form("latency", cell)


_CLASS = Column(
    "class", (Form("SOP class", _class(class_name)), Form("SOP class", _class(short_class_name)))
)
_EVENT = Column(
    "event",
    (
        Form("event", _event(event_name)),
        Form("event", _event(short_event_name)),
        Form("event", _event(event_label)),
    ),
)
_CONTENT = Column(
    "content",
    [Form("content", get) for get in (_content_with_reasons, _content, _short_content)],
)
_INSTANCE = Column("instance", (Form("SOP instance", _instance),))
_STATUS = Column(
    "status",
    (
        Form("Status", _status_with_comment),
        _status_form("{word}: {code} {name}"),
        _status_form("{word}: {name}"),
        _status_form("{word} {code}"),
    ),
    is_cut_last=True,
)

CAPTURED = (
    Column(
        "time",
        (
            Form("time (UTC)", lambda event: _time(event, 3)),
            Form("time", lambda event: _time(event, 0)),
        ),
        is_cut_last=True,
    ),
    Column("ends", (Form("from → to", _ends), Form("to", _receiver))),
    Column("addresses", (Form("addresses", lambda event: Cell(addresses(event))),)),
    Column("stream", (_heading("stream", "Association"),), "right"),
    Column("frame", (_heading("frame", "Frame"),), "right"),
    _CLASS,
    _EVENT,
    _CONTENT,
    _INSTANCE,
    _STATUS,
    Column("latency", (_latency(milliseconds), _latency(short_milliseconds)), "right"),
)
"""The columns of events in a capture."""

CAPTURED_STEPS = (
    ("instance",), ("event",), ("class",), ("frame",), ("stream",), ("addresses",), ("content",),
    ("status",), ("status",), ("class", "event"), ("content",), ("latency",), ("status",), (GAP,),
    ("time",), ("content",), ("event",), ("ends",),
)  # fmt: skip
"""The steps that reduce the columns of events in a capture."""

DECODED = (
    Column("kind", (Form("kind", _kind),)),
    Column("id", (Form("Message ID", _message_id), Form("ID", _message_id)), "right"),
    _CLASS,
    _EVENT,
    _CONTENT,
    _INSTANCE,
    _STATUS,
)
"""The columns of messages in a stream."""

DECODED_STEPS = (
    ("instance",), ("event",), ("class",), ("id",), ("content",), ("status",), ("status",),
    ("class", "event"), ("content",), ("status",), (GAP,), ("content",),
)  # fmt: skip
"""The steps that reduce the columns of messages in a stream."""


class EventLines:
    """Prints events on standard output, one line each, with a line for each date.

    Parameters
    ----------
    captured : bool
        Whether the events are of a capture.
    """

    def __init__(self, *, captured: bool) -> None:
        columns, steps = (CAPTURED, CAPTURED_STEPS) if captured else (DECODED, DECODED_STEPS)
        self._console = console(sys.stdout)
        width = self._console.width
        self._layout = Layout(columns, steps, width, lambda text: plain(text, sys.stdout))
        self._date: str | None = None
        self._captured = captured

    def print(self, events: Any) -> None:
        """Print the events of a table."""
        rows = _with_numbers(events).to_pylist()
        if not rows:
            return
        headings, lines = self._layout.lines(rows)
        printed = [] if headings is None else [headings]
        for row, line in zip(rows, lines, strict=True):
            day = date(row["Time"]) if self._captured else None
            if day is not None and day != self._date:
                self._date = day
                printed.append(Text(day, "bold"))
            printed.append(line)
        for line in printed:
            if self._console.color_system is None:
                # Many times as fast.
                print_line(line.plain)
            else:
                self._console.print(line)


_NEEDLESS = ("EventInformation", "EventReply")


def _with_numbers(events: Any) -> Any:
    """Return the columns of a line, with times and durations as numbers of nanoseconds."""
    events = events.drop_columns([one for one in _NEEDLESS if one in events.column_names])
    for index, field in enumerate(events.schema):
        if pa.types.is_timestamp(field.type) or pa.types.is_duration(field.type):
            numbers = events.column(index).cast(pa.int64())
            events = events.set_column(index, field.name, numbers)
    return events
