"""Attribute matching, as C-FIND does it (PS3.4 C.2.2.2)."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from fastdimse._pydicom import load as load_pydicom

from ._attributes import Attributes, attributes_of

# Attributes of the Action Information that are not matching keys. The time zone is used for the
# keys that are date times.
_NOT_KEYS = {"ReceivingAE", "DeletionLock", "SpecificCharacterSet", "TimezoneOffsetFromUTC"}

# Maximum number of nested sequences in matching keys. Those of a UPS have at most five.
_MAX_DEPTH = 16

_TEXT_VRS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
_MOMENT_VRS = {"DA", "TM", "DT"}
_NUMBER_VRS = {"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"}

# The components of a date time, and their lowest and highest values.
_DATE = (("year", 4), ("month", 2), ("day", 2))
_TIME = (("hour", 2), ("minute", 2), ("second", 2))
_LOWEST = {"year": 1, "month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0}


def matching_keys(attributes: Attributes) -> Attributes:
    """Return the attributes of an Action Information that are matching keys."""
    return {keyword: value for keyword, value in attributes.items() if keyword not in _NOT_KEYS}


def filter_of(attributes: Attributes) -> Attributes:
    """Return the matching keys, and the time zone of their date times."""
    zone = attributes.get("TimezoneOffsetFromUTC")
    keys = matching_keys(attributes)
    return keys if zone is None else {**keys, "TimezoneOffsetFromUTC": zone}


def check_keys(keys: Attributes, depth: int = 0) -> None:
    """Raise ValueError if a matching key has a value that no attribute can match."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"matching keys must not have more than {_MAX_DEPTH} nested sequences")
    zone = keys.get("TimezoneOffsetFromUTC")
    for keyword, value in matching_keys(keys).items():
        vr = _vr(keyword)
        if _is_sequence(value):
            if len(value) > 1:
                raise ValueError(f"{keyword}: a matching key must have one item, not {len(value)}")
            for item in value:
                check_keys(item, depth + 1)
        elif isinstance(value, dict):
            check_keys(value, depth + 1)
        elif vr in _MOMENT_VRS:
            for one in _values(value):
                _range(vr, str(one), zone)
        elif vr in _NUMBER_VRS:
            for one in _values(value):
                float(one)


def matches(keys: Any, attributes: Any) -> bool:
    """Return whether a UPS matches all matching keys of a filter or of a C-FIND request.

    Parameters
    ----------
    keys : Mapping or pydicom.Dataset
        The matching keys: values, with wild cards or ranges where their VRs allow these (PS3.4
        C.2.2.2), or lists of values, of which one must match. A sequence has one item. An empty
        value matches everything.
    attributes : Mapping or pydicom.Dataset
        Attributes of the UPS.

    Examples
    --------
    >>> from fastdimse.ups import matches
    >>> step = {"WorklistLabel": "CT 1", "ScheduledProcedureStepStartDateTime": "20261128093000"}
    >>> matches({"WorklistLabel": "CT*", "ScheduledProcedureStepStartDateTime": "202611"}, step)
    False
    >>> matches({"WorklistLabel": "CT*", "ScheduledProcedureStepStartDateTime": "202611-"}, step)
    True
    """
    return matches_attributes(attributes_of(keys), attributes_of(attributes))


def matches_attributes(keys: Attributes, attributes: Attributes) -> bool:
    """Return whether attributes match all keys, both as `attributes_of` returns them."""
    zones = keys.get("TimezoneOffsetFromUTC"), attributes.get("TimezoneOffsetFromUTC")
    return _all_match(keys, attributes, zones)


_Zones = tuple[str | None, str | None]


def _all_match(keys: Attributes, attributes: Attributes, zones: _Zones) -> bool:
    return all(
        _key_matches(keyword, key, attributes.get(keyword), zones)
        for keyword, key in matching_keys(keys).items()
    )


def _key_matches(keyword: str, key: Any, value: Any, zones: _Zones) -> bool:
    if isinstance(key, dict):
        key = [key]
    if _is_sequence(key):
        return _sequence_matches(key, value, zones)
    wanted = _values(key)
    if not wanted:
        return True
    matcher = _matcher(_vr(keyword), zones)
    return any(matcher(str(one), str(found)) for one in wanted for found in _values(value))


def _sequence_matches(key: Any, value: Any, zones: _Zones) -> bool:
    """Return whether one item matches all keys (PS3.4 C.2.2.2.6)."""
    item = key[0] if key else {}
    if all(_is_universal(one) for one in item.values()):
        return True
    items = [value] if isinstance(value, dict) else value if _is_sequence(value) else []
    # A peer can send a value that only begins like a sequence.
    return any(_all_match(item, one, zones) for one in items if isinstance(one, dict))


def _is_universal(key: Any) -> bool:
    if isinstance(key, dict):
        return all(_is_universal(one) for one in key.values())
    if _is_sequence(key):
        return all(_is_universal(one) for one in key)
    return not _values(key)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _values(value: Any) -> list[Any]:
    """Return the values of an attribute that are not empty, without padding."""
    several = value if isinstance(value, list) else [value]
    stripped = (one.strip(" \0") if isinstance(one, str) else one for one in several)
    return [one for one in stripped if one is not None and one != ""]


def _vr(keyword: str) -> str:
    """Return the VR of an attribute, or UN if it is unknown."""
    _, separator, vr = keyword.partition(":")
    if separator:
        return vr
    load_pydicom()
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(keyword)[:2]
    except (KeyError, ValueError):
        return "UN"


def _matcher(vr: str, zones: _Zones) -> Callable[[str, str], bool]:
    if vr == "PN":
        return _name_matches
    if vr in _TEXT_VRS:
        return _text_matches
    if vr in _MOMENT_VRS:
        return lambda key, value: _moment_matches(vr, key, value, zones)
    if vr in _NUMBER_VRS:
        return _number_matches
    return lambda key, value: key == value


def _text_matches(key: str, value: str) -> bool:
    """Compare text, in which ``*`` and ``?`` are wild cards (PS3.4 C.2.2.2.4)."""
    if "*" not in key:
        return _part_matches(key, value, 0) and len(key) == len(value)
    # Each part at the first place where it matches, so that the time is not exponential in the
    # number of wild cards, as it would be with a regular expression.
    first, *parts, last = key.split("*")
    end = len(value) - len(last)
    if len(first) > end or not _part_matches(first, value, 0):
        return False
    if not _part_matches(last, value, end):
        return False
    at = len(first)
    for part in parts:
        places = range(at, end - len(part) + 1)
        found = next((place for place in places if _part_matches(part, value, place)), None)
        if found is None:
            return False
        at = found + len(part)
    return True


def _part_matches(part: str, value: str, at: int) -> bool:
    """Return whether a part of a key, without ``*``, matches the value at a position."""
    there = value[at : at + len(part)]
    if "?" not in part:
        return part == there
    return len(there) == len(part) and all(
        wanted in ("?", found) for wanted, found in zip(part, there, strict=True)
    )


def _name_matches(key: str, value: str) -> bool:
    """Compare names of persons: without case, and each group of the key with that of the value."""
    keys, groups = (
        [group.rstrip("^ ").casefold() for group in name.split("=")] for name in (key, value)
    )
    if len(keys) == 1:
        return any(_text_matches(keys[0], group) for group in groups if group)
    groups += [""] * (len(keys) - len(groups))
    return all(_text_matches(one, group) for one, group in zip(keys, groups, strict=False) if one)


def _number_matches(key: str, value: str) -> bool:
    try:
        return float(key) == float(value)
    except ValueError:
        return key == value


def _moment_matches(vr: str, key: str, value: str, zones: _Zones) -> bool:
    """Compare dates, times or date times, of which the key can be a range (PS3.4 C.2.2.2.5)."""
    try:
        first, last = _range(vr, key, zones[0])
        moment = _moment(vr, value, zones[1])
    except ValueError:
        return False
    return (first is None or first <= moment) and (last is None or moment <= last)


def _range(vr: str, key: str, zone: str | None) -> tuple[datetime | None, datetime | None]:
    """Return the first and the last moment that a key includes."""
    # An offset from UTC is at most 14 hours (PS3.5 6.2), so that 2020-2021 is a range.
    offset = r"(?:[+-](?:0\d|1[0-4])\d\d(?!\d))?" if vr == "DT" else ""
    form = rf"(?P<first>[\d:.]*{offset})(?P<dash>-?)(?P<last>[\d:.]*{offset})"
    found = re.fullmatch(form, key)
    if found is None or not (found["first"] or found["last"]):
        raise ValueError(f"{key!r} is not a value or range of the VR {vr}")
    if not found["dash"]:
        moment = _moment(vr, key, zone)
        return moment, moment
    first = _moment(vr, found["first"], zone) if found["first"] else None
    last = _moment(vr, found["last"], zone, end=True) if found["last"] else None
    return first, last


def _moment(vr: str, value: str, zone: str | None, end: bool = False) -> datetime:
    """Return the begin or the end of the time that a value describes, in UTC if it has an offset.

    A time is on the first day of the calendar.
    """
    found = re.fullmatch(r"(\d+)(?:\.(\d{1,6}))?([+-]\d{4})?", value.replace(":", ""))
    if found is None:
        raise ValueError(f"{value!r} is not a value of the VR {vr}")
    digits, fraction, offset = found.groups()
    components = {"DA": _DATE, "TM": _TIME, "DT": _DATE + _TIME}[vr]
    parts, at = dict(_LOWEST), 0
    for name, width in components:
        if at == len(digits):
            break
        parts[name] = int(digits[at : at + width])
        at += width
        last = name
    if at != len(digits):
        raise ValueError(f"{value!r} is not a value of the VR {vr}")
    year, month, day, hour, minute, second = parts.values()
    microsecond = int((fraction or "").ljust(6, "0"))
    moment = datetime(year, month, day, hour, minute, second, microsecond)
    if end:
        moment = _end_of(moment, "fraction" if fraction else last, len(fraction or ""))
    if vr == "DT" and (offset or zone):
        # The first and the last hours of the calendar cannot be shifted.
        with suppress(OverflowError):
            moment -= _offset(offset or str(zone))
    return moment


def _offset(text: str) -> timedelta:
    """Return an offset from UTC, for example +0100."""
    found = re.fullmatch(r"([+-])(\d\d)(\d\d)", text)
    if found is None:
        raise ValueError(f"{text!r} is not an offset from UTC")
    distance = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return -distance if found[1] == "-" else distance


def _end_of(moment: datetime, component: str, digits: int) -> datetime:
    """Return the last microsecond of the year, month, …, or fraction that begins at `moment`."""
    try:
        return _after(moment, component, digits) - timedelta(microseconds=1)
    except (OverflowError, ValueError):
        # The end of the calendar: the year 9999 means that there is no limit.
        return datetime.max


def _after(moment: datetime, component: str, digits: int) -> datetime:
    """Return the begin of the next year, month, …, or fraction."""
    if component == "year":
        return moment.replace(year=moment.year + 1)
    if component == "month":
        years, month = divmod(moment.month, 12)
        return moment.replace(year=moment.year + years, month=month + 1)
    if component == "fraction":
        return moment + timedelta(microseconds=10 ** (6 - digits))
    return moment + timedelta(**{f"{component}s": 1})
