"""Filters of events, as masks over Arrow tables."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute

from fastdimse import events as standard

from .errors import InputError
from .event_content import FAILURE_REASONS
from .event_names import (
    CLASS_NAMES,
    event_label,
    event_name,
    short_event_name,
    status_category,
)
from .event_rows import ACTION

_CATEGORIES = ("success", "warning", "failure", "cancel", "pending")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]*)")
_MAX_TITLES = 20
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Kind = tuple[str | None, int | None]
"""Affected SOP Class UID and Event Type ID; None for any."""


@dataclass(frozen=True)
class Moment:
    """A time, or a time of day on the first day of the capture."""

    nanoseconds: int
    of_day: bool


@dataclass
class EventFilters:
    """The filters of a command. An event must satisfy each of them.

    Attributes
    ----------
    peers : tuple of str
        AE titles or addresses, of either side; one must match.
    statuses : frozenset of int or str
        Codes and categories of Statuses.
    kinds : frozenset of Kind
        SOP classes and event types.
    actions : bool
        Whether actions match besides `kinds`.
    unanswered, failed : bool
        Events without a response, and failed ones. Together with `statuses`, one must match.
    slower_than : int, optional
        Events with a longer latency in nanoseconds.
    since, until : Moment, optional
        The first and the last time.
    """

    peers: tuple[str, ...] = ()
    statuses: frozenset[int | str] = frozenset()
    kinds: frozenset[Kind] = frozenset()
    actions: bool = False
    unanswered: bool = False
    failed: bool = False
    slower_than: int | None = None
    since: Moment | None = None
    until: Moment | None = None

    def __post_init__(self) -> None:
        self.day: date | None = None
        self._unmatched = dict.fromkeys(self.peers)
        self._titles: dict[str, None] = {}

    def __bool__(self) -> bool:
        return self != EventFilters()

    def check_stream(self) -> None:
        """Raise `InputError` for a filter that cannot be used for a stream."""
        for given, option in (
            (self.peers, "--peer"),
            (self.unanswered, "--unanswered"),
            (self.slower_than is not None, "--slower-than"),
            (self.since, "--since"),
            (self.until, "--until"),
        ):
            if given:
                raise InputError(f"{option} can only be used for a capture")

    def masks(self, tables: Sequence[Any]) -> list[Any]:
        """Return a mask of the rows of each table that satisfy the filters.

        A time of day is on the day of the first event of the first call.
        """
        if self.day is None:
            self.day = _first_day(tables)
        return [self._mask(one) for one in tables]

    def _mask(self, events: Any) -> Any:
        masks = list(self._conditions(events))
        if not masks:
            return pa.array([True] * events.num_rows, pa.bool_())
        return reduce(pa.compute.and_, (pa.compute.fill_null(one, False) for one in masks))

    def _conditions(self, events: Any) -> Iterator[Any]:
        if self.peers:
            masks = {peer: _peer(events, peer) for peer in self.peers}
            self._note_peers(events, masks)
            yield _any(iter(masks.values()))
        if self.statuses or self.unanswered or self.failed:
            yield _any(self._outcomes(events))
        if self.kinds or self.actions:
            yield _any(self._kinds(events))
        if self.slower_than is not None:
            latencies = events.column("Latency").cast(pa.int64())
            yield pa.compute.greater(latencies, _clipped(self.slower_than))
        since, until = self._times()
        for limit, compare in ((since, pa.compute.greater_equal), (until, pa.compute.less_equal)):
            if limit is not None:
                yield compare(events.column("Time").cast(pa.int64()), _clipped(limit))

    def _note_peers(self, events: Any, masks: Mapping[str, Any]) -> None:
        for peer, mask in masks.items():
            if peer in self._unmatched and pa.compute.any(mask).as_py():
                del self._unmatched[peer]
        if self._unmatched and len(self._titles) < _MAX_TITLES:
            for name in ("CallingAETitle", "CalledAETitle"):
                titles = pa.compute.unique(events.column(name)).drop_null().to_pylist()
                self._titles |= dict.fromkeys(titles[:_MAX_TITLES])

    def unmatched_peers(self) -> list[str]:
        """Return a text for each peer that has no event."""
        titles = list(self._titles)
        known = f"; AE titles in the capture: {', '.join(titles[:_MAX_TITLES])}" if titles else ""
        return [f"no events of the peer '{peer}'{known}" for peer in self._unmatched]

    def _outcomes(self, events: Any) -> Iterator[Any]:
        status = events.column("Status")
        codes = [one for one in pa.compute.unique(status).to_pylist() if one is not None]
        wanted = [
            code
            for code in codes
            if code in self.statuses
            or status_category(code).lower() in self.statuses
            or (self.failed and status_category(code) == "Failure")
        ]
        yield pa.compute.is_in(status, value_set=pa.array(wanted, status.type))
        if self.failed:
            yield pa.compute.greater(pa.compute.list_value_length(events[FAILURE_REASONS]), 0)
        if self.unanswered:
            yield pa.compute.and_(
                pa.compute.is_null(events.column("Latency")),
                pa.compute.is_null(events.column("MessageIDBeingRespondedTo")),
            )

    def _kinds(self, events: Any) -> Iterator[Any]:
        uids = events.column("AffectedSOPClassUID").cast(pa.string())
        types, is_action = events.column("EventTypeID"), events.column(ACTION)
        if self.actions:
            yield is_action
        for uid, event_type in self.kinds:
            masks = []
            if uid is not None:
                masks.append(pa.compute.equal(uids, uid))
            if event_type is not None:
                masks += [pa.compute.equal(types, event_type), pa.compute.invert(is_action)]
            yield reduce(pa.compute.and_, (pa.compute.fill_null(one, False) for one in masks))

    def _times(self) -> tuple[int | None, int | None]:
        start = 0 if self.day is None else _nanoseconds(datetime.combine(self.day, time(), UTC))
        since, until = (
            None if one is None else one.nanoseconds + (start if one.of_day else 0)
            for one in (self.since, self.until)
        )
        if (
            since is not None
            and until is not None
            and until < since
            and self.until is not None
            and self.until.of_day
        ):
            # A time of day after midnight.
            until += _UNITS["s"] * 86_400
        return since, until


def _clipped(nanoseconds: int) -> int:
    """Return the nearest number that a time of a capture can have."""
    return max(-(1 << 63), min(nanoseconds, (1 << 63) - 1))


def _any(masks: Iterator[Any]) -> Any:
    return reduce(pa.compute.or_, (pa.compute.fill_null(one, False) for one in masks))


def _peer(events: Any, peer: str) -> Any:
    """Return a mask of the events of an AE title or an address, on either side."""
    address, colon, port = peer.rpartition(":")
    masks = [
        pa.compute.equal(pa.compute.utf8_lower(events.column(name).cast(pa.string())), peer.lower())
        for name in ("CallingAETitle", "CalledAETitle", "SourceAddress", "DestinationAddress")
    ]
    if colon and port.isdecimal() and len(port) < 6:
        address = address.removeprefix("[").removesuffix("]").lower()
        for side in ("Source", "Destination"):
            masks.append(
                pa.compute.and_(
                    pa.compute.equal(events.column(f"{side}Address"), address),
                    pa.compute.equal(events.column(f"{side}Port"), int(port)),
                )
            )
    return _any(iter(masks))


# ------------------------------------------------------------------- values of options


def _plain(text: str) -> str:
    """Return a name without case, spaces and punctuation, for comparisons."""
    return "".join(c for c in text.lower() if c.isalnum())


def parse_status(text: str) -> int | str:
    """Return a Status: its code in hexadecimal, its category, or its name."""
    word = text.strip().lower()
    if word in _CATEGORIES:
        return word
    if re.fullmatch(r"(0x)?[0-9a-f]{4}h?", word):
        return int(word.removesuffix("h"), 16)
    if re.fullmatch(r"0x[0-9a-f]{1,4}", word) or word == "0":
        return int(word, 16)
    names = {one.name: one.code for one in standard.STATUSES if one.name}
    for name, code in names.items():
        if _plain(name) == _plain(text):
            return code
    raise InputError(
        f"--status: {text!r} must be a hexadecimal Status of four digits, for example 0112, a "
        f"category ({', '.join(_CATEGORIES)}) or a name{_nearest(text, [*names, *_CATEGORIES])}"
    )


def _nearest(text: str, names: Sequence[str]) -> str:
    folded = {name.lower(): name for name in reversed(names)}
    found = difflib.get_close_matches(text.lower().replace("-", " "), list(folded), 1, 0.5)
    return f"; the nearest is '{folded[found[0]]}'" if found else ""


def _names_of_kinds() -> Iterator[tuple[str, Kind]]:
    """Yield the names of SOP classes and event types."""
    for one in standard.SOP_CLASSES:
        for uid in dict.fromkeys((one.affected_sop_class_uid, one.uid)):
            for name in (one.name, *(get(uid) for get in CLASS_NAMES)):
                yield name, (uid, None)
            for event_type in one.event_types:
                for get in (event_name, short_event_name, event_label):
                    yield get(uid, event_type.id, is_action=False), (uid, event_type.id)


def parse_event(text: str) -> tuple[Kind, ...] | None:
    """Return the SOP classes and event types of a name; None for actions.

    A name is that of a SOP class or an event type, or its beginning, in any case and with any
    punctuation. A UID is that of a SOP class, a number an Event Type ID.
    """
    word = text.strip()
    if word.isdecimal() and len(word) < 6:
        return ((None, int(word)),)
    if _UID.fullmatch(word):
        return ((word, None),)
    folded = _plain(word)
    if folded in ("naction", "action", "actions"):
        return None
    names = list(_names_of_kinds())
    exact = [kind for name, kind in names if _plain(name) == folded]
    begins = [kind for name, kind in names if _plain(name).startswith(folded)]
    if found := exact or (begins if len(folded) > 2 else []):
        return tuple(dict.fromkeys(found))
    known = dict.fromkeys(name for name, _ in names)
    raise InputError(
        f"--event: {text!r} is not the name of a SOP class or an event type, a UID or an Event "
        f"Type ID{_nearest(text, list(known))}"
    )


def parse_duration(text: str) -> int:
    """Return a duration in nanoseconds. A number without a unit is in milliseconds."""
    found = _DURATION.fullmatch(text.strip().lower())
    unit = "" if found is None else found[2] or "ms"
    if found is None or unit not in _UNITS:
        units = ", ".join(one for one in _UNITS if one.isascii())
        raise InputError(
            f"--slower-than: {text!r} must be a number with a unit ({units}), for example 50ms"
        )
    return round(float(found[1]) * _UNITS[unit])


def parse_moment(option: str, text: str) -> Moment:
    """Return a time. A time without an offset is in UTC."""
    for parse, of_day in ((time.fromisoformat, True), (datetime.fromisoformat, False)):
        try:
            found = parse(text.strip())
        except ValueError:
            continue
        if isinstance(found, time):
            found = datetime.combine(_EPOCH, found)
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return Moment(_nanoseconds(found), of_day)
    raise InputError(
        f"{option}: {text!r} must be a time of ISO 8601, for example 2026-11-24T08:43:15, or a "
        "time of day, for example 08:43:15"
    )


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def event_filters(
    *,
    peers: Sequence[str],
    statuses: Sequence[str],
    events: Sequence[str],
    unanswered: bool,
    failed: bool,
    slower_than: str | None,
    since: str | None,
    until: str | None,
) -> EventFilters:
    """Return the filters that the options of a command describe."""
    kinds = [parse_event(one) for one in events]
    return EventFilters(
        peers=tuple(one.strip() for one in peers),
        statuses=frozenset(parse_status(one) for one in statuses),
        kinds=frozenset(kind for some in kinds if some is not None for kind in some),
        actions=None in kinds,
        unanswered=unanswered,
        failed=failed,
        slower_than=None if slower_than is None else parse_duration(slower_than),
        since=None if since is None else parse_moment("--since", since),
        until=None if until is None else parse_moment("--until", until),
    )


def _first_day(tables: Sequence[Any]) -> date | None:
    """Return the date in UTC of the first event."""
    found = [
        pa.compute.min(one.column("Time").cast(pa.int64())).as_py()
        for one in tables
        if "Time" in one.column_names
    ]
    first = min((one for one in found if one is not None), default=None)
    return None if first is None else datetime.fromtimestamp(first // 10**9, UTC).date()
