"""Subscriptions to UPS events, with PS3.4 Annex CC and pynetdicom as the references."""

import fnmatch
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas
import polars
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    UnifiedProcedureStepPush,
    UnifiedProcedureStepWatch,
    UPSFilteredGlobalSubscriptionInstance,
    UPSGlobalSubscriptionInstance,
)
from pynetdicom.status import UNIFIED_PROCEDURE_STEP_SERVICE_CLASS_STATUS as STATUSES

import fastdimse.pynetdicom
from fastdimse import (
    Delivery,
    Listener,
    Peer,
    decode_events,
    encode_events,
    listen,
    validate_events,
)
from fastdimse.ups import (
    FILTERED_GLOBAL_SUBSCRIPTION,
    GLOBAL_SUBSCRIPTION,
    Subscriptions,
    SubscriptionsError,
    UPSStatus,
    matches,
)

GLOBAL, FILTERED = str(UPSGlobalSubscriptionInstance), str(UPSFilteredGlobalSubscriptionInstance)
SUBSCRIBE, UNSUBSCRIBE, SUSPEND = 3, 4, 5
STEP = {"ProcedureStepState": "SCHEDULED", "InputReadinessState": "READY"}
AE_TITLE = "WATCHER"


def n_action(
    action_type: int, uid: str, sop_class: str = UnifiedProcedureStepPush, **information: Any
) -> N_ACTION:
    """A request, with its Action Information in Implicit VR Little Endian."""
    action = N_ACTION()
    action.MessageID = 1
    action.RequestedSOPClassUID = sop_class
    action.RequestedSOPInstanceUID = uid
    action.ActionTypeID = action_type
    if information:
        encoded = encode(data_set(**information), True, True)
        assert encoded is not None
        action.ActionInformation = BytesIO(encoded)
    return action


def data_set(**attributes: Any) -> Dataset:
    dataset = Dataset()
    with warnings.catch_warnings():
        # Of values that are not valid.
        warnings.simplefilter("ignore")
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
    return dataset


def request(
    subscriptions: Subscriptions,
    action_type: int,
    uid: str,
    lock: bool = False,
    ae_title: str = AE_TITLE,
    **keys: Any,
) -> int:
    """Apply a valid request, and return its Status."""
    information = {"ReceivingAE": ae_title, **keys}
    if action_type == SUBSCRIBE:
        information["DeletionLock"] = "TRUE" if lock else "FALSE"
    action = n_action(action_type, uid, **information)
    return subscriptions.apply(action, calling_ae="REQUESTER")


class Recorder:
    """Records the events that are put, for the many tests that need no association."""

    def __init__(self, *titles: str) -> None:
        self._titles = titles
        self.events: list[tuple[str, dict[str, Any]]] = []

    def find_peer(self, title: str) -> str:
        if title not in self._titles:
            raise ValueError(title)
        return title

    def put(self, events: Any, *, peer: str) -> None:
        self.events += [(peer, event) for event in events]


@contextmanager
def listeners(*titles: str) -> Iterator[tuple[Delivery, Callable[[str, int], list[str]]]]:
    """A delivery to these AE titles, and the SOP instances of the events that they receive."""
    found: dict[str, Listener] = {title: listen(0, host="127.0.0.1") for title in titles}
    peers = [Peer("127.0.0.1", listener.port, called_ae=title) for title, listener in found.items()]

    def received(title: str, count: int) -> list[str]:
        instances: list[str] = []
        while len(instances) < count:
            batch = found[title].receive(timeout=30)
            assert batch is not None, instances
            instances += pa.table(batch).column("AffectedSOPInstanceUID").to_pylist()
        assert found[title].receive(timeout=0.2) is None
        return instances

    try:
        with Delivery(peers) as delivery:
            yield delivery, received
    finally:
        for listener in found.values():
            listener.close()


def states(subscriptions: Subscriptions, ae_title: str = AE_TITLE) -> dict[str, bool]:
    """The subscriptions of an AE title: whether each has a lock, by SOP Instance UID."""
    columns = subscriptions.to_pydict()
    return {
        uid: lock
        for title, uid, lock in zip(
            columns["ReceivingAE"],
            columns["SOPInstanceUID"],
            columns["DeletionLock"],
            strict=True,
        )
        if title == ae_title
    }


def initial_reports(subscriptions: Subscriptions, *titles: str) -> list[tuple[str, str]]:
    """Take the initial UPS State Reports: AE titles and SOP Instance UIDs."""
    delivery = Recorder(*(titles or [AE_TITLE]))
    subscriptions.put(delivery)
    assert all(event["EventTypeID"] == 1 for _, event in delivery.events)
    return [(title, event["AffectedSOPInstanceUID"]) for title, event in delivery.events]


# ------------------------------------------------- PS3.4 Table CC.2.3-2

NOT, LOCKED, UNLOCKED = None, True, False
"""The states of a UPS for an AE: not subscribed, subscribed with lock, subscribed w/o lock."""


def prepare(subscriptions: Subscriptions, state: bool | None) -> None:
    """Add the UPS 1.2.3, and bring it to a state."""
    subscriptions.add_instance("1.2.3", STEP)
    if state is not NOT:
        assert request(subscriptions, SUBSCRIBE, "1.2.3", state) == 0
        initial_reports(subscriptions)


# The action type, the instance, the lock; then for each of the three states of the UPS its next
# state and whether an initial event is sent; then the Global Subscription State.
TRANSITIONS = [
    (SUBSCRIBE, GLOBAL, True, [(LOCKED, True), (LOCKED, False), (UNLOCKED, False)], LOCKED),
    (SUBSCRIBE, GLOBAL, False, [(UNLOCKED, False), (LOCKED, False), (UNLOCKED, False)], UNLOCKED),
    (SUBSCRIBE, "1.2.3", True, [(LOCKED, True), (LOCKED, True), (LOCKED, True)], NOT),
    (SUBSCRIBE, "1.2.3", False, [(UNLOCKED, True), (UNLOCKED, True), (UNLOCKED, True)], NOT),
    (UNSUBSCRIBE, "1.2.3", False, [(NOT, False), (NOT, False), (NOT, False)], NOT),
    (UNSUBSCRIBE, GLOBAL, False, [(NOT, False), (NOT, False), (NOT, False)], NOT),
    (SUSPEND, GLOBAL, False, [(NOT, False), (LOCKED, False), (UNLOCKED, False)], NOT),
]


@pytest.mark.parametrize("place", range(3), ids=["not subscribed", "with lock", "without lock"])
@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda row: f"{row[0]} {row[1]} {row[2]}")
def test_transitions_of_the_standard(row, place):
    action_type, uid, lock, nexts, global_state = row
    state = [NOT, LOCKED, UNLOCKED][place]
    next_state, initial = nexts[place]
    with Subscriptions() as subscriptions:
        prepare(subscriptions, state)
        assert request(subscriptions, action_type, uid, lock) == 0x0000
        found = states(subscriptions)
        assert found.get("1.2.3", NOT) is next_state
        assert found.get(GLOBAL, NOT) is global_state
        assert subscriptions.deletion_locked("1.2.3") is (next_state is LOCKED)
        assert subscriptions.subscribers("1.2.3") == ([] if next_state is NOT else [AE_TITLE])
        expected = [(AE_TITLE, "1.2.3")] if initial else []
        assert initial_reports(subscriptions) == expected
        assert initial_reports(subscriptions) == []


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("ended", [None, UNSUBSCRIBE, SUSPEND])
def test_new_ups_of_a_global_subscription(lock, ended):
    with Subscriptions() as subscriptions:
        assert request(subscriptions, SUBSCRIBE, GLOBAL, lock) == 0
        if ended:
            assert request(subscriptions, ended, GLOBAL) == 0
        [event] = subscriptions.add_instance("1.2.3", STEP)
        assert event["EventInformation"] == STEP
        assert states(subscriptions).get("1.2.3") is (None if ended else lock)
        # The new UPS has its report already.
        assert initial_reports(subscriptions) == []


def test_one_ups_can_be_left_out_of_a_global_subscription():
    with Subscriptions() as subscriptions:
        for uid in ("1.2.3", "1.2.4"):
            subscriptions.add_instance(uid, STEP)
        request(subscriptions, SUBSCRIBE, GLOBAL)
        request(subscriptions, UNSUBSCRIBE, "1.2.3")
        subscriptions.change_instance("1.2.3", {"ProcedureStepState": "IN PROGRESS"})
        assert subscriptions.subscribers("1.2.3") == []
        assert subscriptions.subscribers("1.2.4") == [AE_TITLE]


def test_initial_report_has_the_current_state():
    with Subscriptions() as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
        request(subscriptions, SUBSCRIBE, "1.2.3")
        subscriptions.change_instance("1.2.3", {"ProcedureStepState": "IN PROGRESS"})
        delivery = Recorder(AE_TITLE)
        assert subscriptions.put(delivery) == {AE_TITLE: 1}
        [(_, event)] = delivery.events
        assert event["EventInformation"]["ProcedureStepState"] == "IN PROGRESS"


# ----------------------------------------------------------------- Statuses

VALID = {"ReceivingAE": AE_TITLE, "DeletionLock": "FALSE"}


def without(keyword: str) -> dict[str, Any]:
    return {key: value for key, value in VALID.items() if key != keyword}


REFUSED = [
    (0xC307, n_action(SUBSCRIBE, "1.2.9", **VALID)),
    (0xC307, n_action(UNSUBSCRIBE, "1.2.9", ReceivingAE=AE_TITLE)),
    (0xC307, n_action(SUSPEND, "1.2.9", ReceivingAE=AE_TITLE)),
    (0xC308, n_action(SUBSCRIBE, "1.2.3", **{**VALID, "ReceivingAE": "STRANGER"})),
    (0xC308, n_action(UNSUBSCRIBE, GLOBAL, ReceivingAE="STRANGER")),
    (0xC314, n_action(SUSPEND, "1.2.3", ReceivingAE=AE_TITLE)),
    (0x0114, n_action(SUBSCRIBE, "1.2.3")),
    (0x0114, n_action(SUBSCRIBE, "1.2.3", **without("ReceivingAE"))),
    (0x0114, n_action(SUBSCRIBE, "1.2.3", **without("DeletionLock"))),
    (0x0114, n_action(UNSUBSCRIBE, "1.2.3", DeletionLock="FALSE")),
    (0x0114, n_action(SUBSCRIBE, FILTERED, **VALID)),
    (0x0115, n_action(SUBSCRIBE, "1.2.3", **{**VALID, "ReceivingAE": ""})),
    (0x0115, n_action(SUBSCRIBE, "1.2.3", **{**VALID, "ReceivingAE": ["A", "B"]})),
    (0x0115, n_action(SUBSCRIBE, "1.2.3", **{**VALID, "DeletionLock": ""})),
    (0x0115, n_action(SUBSCRIBE, "1.2.3", **{**VALID, "DeletionLock": "YES"})),
    (0x0115, n_action(SUBSCRIBE, FILTERED, **VALID, StudyDate="20201301")),
    (0x0118, n_action(SUBSCRIBE, "1.2.3", "1.2.840.10008.1.20.1", **VALID)),
    *((0x0123, n_action(number, "1.2.3", **VALID)) for number in (0, 1, 2, 6, 65535)),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("status", "action"), REFUSED)
def test_refused_requests_change_nothing(status, action):
    with Subscriptions(receiving_aes={AE_TITLE}) as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
        assert subscriptions.apply(action, calling_ae="X") == status
        assert subscriptions.to_pydict()["ReceivingAE"] == []
        assert STATUSES[status][0] == "Failure"


def test_truncated_action_information():
    with Subscriptions() as subscriptions:
        action = n_action(SUBSCRIBE, GLOBAL, **VALID)
        action.ActionInformation = BytesIO(action.ActionInformation.getvalue()[:9])
        assert subscriptions.apply(action, calling_ae="X") in (0x0114, 0x0115)
        assert states(subscriptions) == {}


def test_statuses_are_those_of_pynetdicom():
    for status in UPSStatus:
        category = STATUSES[status][0]
        expected = "Success" if status == 0 else "Warning" if status >> 12 == 0xB else "Failure"
        assert category == expected, status


def test_deletion_lock_that_is_not_granted():
    with Subscriptions(deletion_locks=False) as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
        assert request(subscriptions, SUBSCRIBE, GLOBAL, lock=True) == 0xB301
        assert states(subscriptions) == {GLOBAL: False, "1.2.3": False}
        assert initial_reports(subscriptions) == []
        assert request(subscriptions, SUBSCRIBE, "1.2.3", lock=True) == 0xB301
        assert initial_reports(subscriptions) == [(AE_TITLE, "1.2.3")]
        assert request(subscriptions, SUBSCRIBE, "1.2.3") == 0x0000


def test_filters_that_are_not_accepted():
    with Subscriptions(filters=False) as subscriptions:
        assert request(subscriptions, SUBSCRIBE, FILTERED, WorklistLabel="CT") == 0xC307
        assert request(subscriptions, SUBSCRIBE, GLOBAL, WorklistLabel="CT") == 0x0000


def test_authorization():
    asked = []

    def authorize(*arguments: str) -> bool:
        asked.append(arguments)
        return arguments[0] == arguments[1]

    with Subscriptions(authorize=authorize) as subscriptions:
        assert request(subscriptions, SUBSCRIBE, GLOBAL) == 0x0124
        action = n_action(SUBSCRIBE, GLOBAL, **VALID)
        assert subscriptions.apply(action, calling_ae=AE_TITLE) == 0x0000
        assert asked == [("REQUESTER", AE_TITLE, GLOBAL), (AE_TITLE, AE_TITLE, GLOBAL)]


# ---------------------------------------------------------- deletion locks


def test_locked_ups_cannot_be_removed():
    with Subscriptions() as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
        request(subscriptions, SUBSCRIBE, "1.2.3", lock=True, ae_title="A")
        request(subscriptions, SUBSCRIBE, GLOBAL, lock=True, ae_title="B")
        with pytest.raises(ValueError, match=r"UPS 1\.2\.3 has deletion locks of A, B"):
            subscriptions.remove_instance("1.2.3")
        # A lock is removed by unsubscribing, or by subscribing without one (PS3.4 CC.2.3.2).
        request(subscriptions, SUBSCRIBE, "1.2.3", ae_title="A")
        request(subscriptions, UNSUBSCRIBE, GLOBAL, ae_title="B")
        subscriptions.remove_instance("1.2.3")
        assert subscriptions.to_pydict()["ReceivingAE"] == []
        assert request(subscriptions, SUBSCRIBE, "1.2.3") == 0xC307


def test_locks_of_an_ae_title_can_be_removed():
    with Subscriptions() as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
        for title in ("A", "B"):
            request(subscriptions, SUBSCRIBE, GLOBAL, lock=True, ae_title=title)
        subscriptions.remove_deletion_locks("A")
        assert states(subscriptions, "A") == {GLOBAL: False, "1.2.3": False}
        assert states(subscriptions, "B") == {GLOBAL: True, "1.2.3": True}
        subscriptions.add_instance("1.2.4", STEP)
        assert states(subscriptions, "A")["1.2.4"] is False


# ----------------------------------------------------------------- filters


def test_filter_includes_present_and_future_ups():
    station = [data_set(CodeValue="CT1", CodingSchemeDesignator="99LOCAL")]
    with Subscriptions() as subscriptions:
        for uid, code in (("1.2.1", "CT1"), ("1.2.2", "MR1")):
            item = {"CodeValue": code, "CodingSchemeDesignator": "99LOCAL", "CodeMeaning": code}
            step = {**STEP, "ScheduledStationNameCodeSequence": [item]}
            subscriptions.add_instance(uid, step)
        keys = {"ScheduledStationNameCodeSequence": station, "ProcedureStepLabel": ""}
        assert request(subscriptions, SUBSCRIBE, FILTERED, lock=True, **keys) == 0
        assert states(subscriptions) == {FILTERED: True, "1.2.1": True}
        assert initial_reports(subscriptions) == [(AE_TITLE, "1.2.1")]
        subscriptions.add_instance("1.2.3", step)
        assert subscriptions.subscribers("1.2.3") == []
        step = {**step, "ScheduledStationNameCodeSequence": [{**item, "CodeValue": "CT1"}]}
        subscriptions.add_instance("1.2.4", data_set_of(step))
        assert subscriptions.subscribers("1.2.4") == [AE_TITLE]
        assert subscriptions.subscribers("1.2.5", step) == [AE_TITLE]
        assert subscriptions.subscribers("1.2.5") == []
        # A new global subscription replaces the filter.
        request(subscriptions, SUBSCRIBE, GLOBAL)
        assert FILTERED not in states(subscriptions)
        assert subscriptions.subscribers("1.2.3") == [AE_TITLE]


def data_set_of(attributes: dict[str, Any]) -> Dataset:
    """A pydicom data set of a mapping with sequences."""
    return data_set(
        **{
            keyword: [data_set_of(item) for item in value] if isinstance(value, list) else value
            for keyword, value in attributes.items()
        }
    )


def test_ups_that_matches_a_filter_after_a_change():
    with Subscriptions() as subscriptions:
        subscriptions.add_instance("1.2.3", {**STEP, "WorklistLabel": "MR"})
        request(subscriptions, SUBSCRIBE, FILTERED, WorklistLabel="CT*")
        subscriptions.change_instance("1.2.3", {"WorklistLabel": "CT 1"})
        assert subscriptions.subscribers("1.2.3") == [AE_TITLE]
        assert initial_reports(subscriptions) == [(AE_TITLE, "1.2.3")]
        subscriptions.change_instance("1.2.3", {"WorklistLabel": None})
        assert subscriptions.subscribers("1.2.3") == [AE_TITLE]
        request(subscriptions, UNSUBSCRIBE, "1.2.3")
        subscriptions.change_instance("1.2.3", {"WorklistLabel": "CT 2"})
        assert subscriptions.subscribers("1.2.3") == [AE_TITLE]
        request(subscriptions, UNSUBSCRIBE, "1.2.3")
        # It matched before, and the AE did not want it.
        subscriptions.change_instance("1.2.3", {"WorklistLabel": "CT 3"})
        assert subscriptions.subscribers("1.2.3") == []


START = "ScheduledProcedureStepStartDateTime"
MATCHES = [
    # Universal matching, and attributes that are absent (PS3.4 C.2.2.2.3).
    ({"WorklistLabel": ""}, {}, True),
    ({"WorklistLabel": "CT"}, {}, False),
    ({"WorklistLabel": "CT"}, {"WorklistLabel": ""}, False),
    # Single values: case matters, padding does not (C.2.2.2.1).
    ({"WorklistLabel": "CT "}, {"WorklistLabel": "CT"}, True),
    ({"WorklistLabel": "CT"}, {"WorklistLabel": "ct"}, False),
    ({"PatientName": "doe^john"}, {"PatientName": "Doe^John^^"}, True),
    ({"PatientName": "doe*"}, {"PatientName": "山田^太郎=Doe^John"}, True),
    ({"ProcedureStepProgress": "10"}, {"ProcedureStepProgress": 10.0}, True),
    # Any value of an attribute with several values.
    ({"OtherPatientNames": "B"}, {"OtherPatientNames": ["A", "B"]}, True),
    # Lists of UIDs (C.2.2.2.2); wild cards are for text only (C.2.2.2.4).
    ({"StudyInstanceUID": ["1.2", "1.3"]}, {"StudyInstanceUID": "1.3"}, True),
    ({"StudyInstanceUID": ["1.2", "1.3"]}, {"StudyInstanceUID": "1.4"}, False),
    ({"StudyInstanceUID": "1.*"}, {"StudyInstanceUID": "1.4"}, False),
    ({"PatientID": "A?[*"}, {"PatientID": "AB[C"}, True),
    ({"PatientID": "A?[*"}, {"PatientID": "AB"}, False),
    # Ranges (C.2.2.2.5).
    ({"PatientBirthDate": "19500101-19591231"}, {"PatientBirthDate": "19591231"}, True),
    ({"PatientBirthDate": "19500101-19591231"}, {"PatientBirthDate": "19600101"}, False),
    ({"PatientBirthDate": "19500101-"}, {"PatientBirthDate": "99991231"}, True),
    ({"PatientBirthDate": "-19500101"}, {"PatientBirthDate": "19500102"}, False),
    ({"PatientBirthTime": "10-11"}, {"PatientBirthTime": "115959.9"}, True),
    ({"PatientBirthTime": "10-11"}, {"PatientBirthTime": "12"}, False),
    ({START: "20201231-20210102"}, {START: "20210102235959"}, True),
    ({START: "2020-2021"}, {START: "20210615"}, True),
    ({START: "-99991231"}, {START: "20210615"}, True),
    ({START: "20200101120000+0100"}, {START: "20200101110000+0000"}, True),
    ({START: "2020010112-0500-2020010113-0500"}, {START: "20200101173000+0000"}, True),
    (
        {START: "2020010112", "TimezoneOffsetFromUTC": "+0100"},
        {START: "2020010111", "TimezoneOffsetFromUTC": "+0000"},
        True,
    ),
    # Sequences: one item must match all keys (C.2.2.2.6).
    ({"ScheduledWorkitemCodeSequence": []}, {}, True),
    ({"ScheduledWorkitemCodeSequence": [{"CodeValue": ""}]}, {}, True),
    (
        {"ScheduledWorkitemCodeSequence": [{"CodeValue": "1", "CodingSchemeDesignator": "X"}]},
        {
            "ScheduledWorkitemCodeSequence": [
                {"CodeValue": "1", "CodingSchemeDesignator": "Y"},
                {"CodeValue": "2", "CodingSchemeDesignator": "X"},
            ]
        },
        False,
    ),
]


@pytest.mark.parametrize(("keys", "attributes", "expected"), MATCHES)
def test_matching(keys, attributes, expected):
    assert matches(keys, attributes) is expected


TEXT = st.text("ab*?[]-.", max_size=6)


@given(TEXT, TEXT)
def test_wild_cards_match_as_those_of_the_standard_library(key, value):
    # fnmatch has character sets in brackets besides.
    escaped = key.replace("[", "[[]")
    expected = not key or (bool(value) and fnmatch.fnmatchcase(value, escaped))
    assert matches({"PatientID": key}, {"PatientID": value}) is expected


def test_wild_cards_take_no_exponential_time():
    begin = time.monotonic()
    assert not matches({"PatientID": "*a" * 32 + "*b"}, {"PatientID": "a" * 64})
    assert time.monotonic() - begin < 1


DATES = st.dates().map(lambda date: date.strftime("%4Y%m%d"))


@given(DATES | st.just(""), DATES | st.just(""), DATES)
def test_ranges_of_dates_are_ordered_as_text(first, last, value):
    if first or last:
        expected = (not first or first <= value) and (not last or value <= last)
        key = f"{first}-{last}"
        assert matches({"StudyDate": key}, {"StudyDate": value}) is expected


KEYWORDS = st.sampled_from(
    [
        "ReceivingAE",
        "DeletionLock",
        "WorklistLabel",
        "PatientName",
        "StudyInstanceUID",
        "PatientBirthDate",
        "PatientBirthTime",
        START,
        "TimezoneOffsetFromUTC",
        "PatientWeight",
        "NumberOfFrames",
        "ScheduledWorkitemCodeSequence",
        "PixelData",
        "NoSuchKeyword",
        "00091001:LO",
        "00091002:DT",
        "00091003:US",
        "00091004:SQ",
        "",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.text("0123456789-+.:*?^=\\ aT\0é", max_size=12)
    | st.sampled_from(["WATCHER", "TRUE", "+0100", "20200101-0100", "99991231-", "-0001"])
    | st.integers()
    | st.floats()
    | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=3),
    max_leaves=6,
)
ATTRIBUTES = st.dictionaries(KEYWORDS, VALUES, max_size=5)
RESPONSES = {0x0000, 0x0114, 0x0115}


@settings(max_examples=300, deadline=None)
@given(ATTRIBUTES, ATTRIBUTES)
def test_no_request_stops_the_worklist(keys, attributes):
    with Subscriptions() as subscriptions:
        subscriptions.add_instance("1.2.3", {**attributes, **STEP})
        action = n_action(SUBSCRIBE, FILTERED)
        information = {**keys, "ReceivingAE": AE_TITLE, "DeletionLock": "TRUE"}
        assert subscriptions.apply(action, calling_ae="X", attributes=keys) in RESPONSES
        status = subscriptions.apply(action, calling_ae="X", attributes=information)
        assert status in RESPONSES
        subscriptions.add_instance("1.2.4", {**attributes, **STEP})
        subscriptions.change_instance("1.2.4", {**attributes, **STEP})
        initial_reports(subscriptions)


def test_filter_with_too_many_nested_sequences():
    for depth, expected in ((16, 0x0000), (17, 0x0115), (2000, 0x0115)):
        keys: Any = {"CodeValue": "1"}
        for _ in range(depth):
            keys = {"ScheduledWorkitemCodeSequence": [keys]}
        with Subscriptions() as subscriptions:
            subscriptions.add_instance("1.2.3", STEP)
            action = n_action(SUBSCRIBE, FILTERED)
            information = {**VALID, **keys}
            status = subscriptions.apply(action, calling_ae="X", attributes=information)
            assert status == expected


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([FILTERED, GLOBAL]), st.booleans())
def test_any_bytes_as_action_information(encoded, uid, is_appended):
    valid = n_action(SUBSCRIBE, uid, **VALID)
    assert valid.ActionInformation is not None
    whole = valid.ActionInformation.getvalue() + encoded if is_appended else encoded
    with Subscriptions() as subscriptions:
        for action in (valid, N_ACTION(), fastdimse.N_ACTION()):
            action.RequestedSOPClassUID = UnifiedProcedureStepPush
            action.RequestedSOPInstanceUID = uid
            action.ActionTypeID = SUBSCRIBE
            action.ActionInformation = BytesIO(whole)
            assert subscriptions.apply(action, calling_ae="X") in RESPONSES
        subscriptions.add_instance("1.2.4", STEP)


# -------------------------------------------------------- a plain model

TITLES = ["A", "B", "C"]
UIDS = [f"1.2.{number}" for number in range(4)]
LABELS = ["CT", "MR"]


class Model(RuleBasedStateMachine):
    """The list beside dictionaries, which are changed as PS3.4 Table CC.2.3-2 says."""

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions = Subscriptions()
        self.labels: dict[str, str] = {}
        self.globals: dict[str, tuple[bool, str | None]] = {}
        self.states: dict[tuple[str, str], bool] = {}
        self.initial: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        self.subscriptions.close()

    @rule(uid=st.sampled_from(UIDS), label=st.sampled_from(LABELS))
    def create(self, uid: str, label: str) -> None:
        step = {**STEP, "WorklistLabel": label}
        if uid in self.labels:
            with pytest.raises(ValueError, match="already"):
                self.subscriptions.add_instance(uid, step)
            return
        self.subscriptions.add_instance(uid, step)
        self.labels[uid] = label
        for title, (lock, wanted) in self.globals.items():
            if wanted in (None, label):
                self.states[title, uid] = lock

    @rule(uid=st.sampled_from(UIDS))
    def delete(self, uid: str) -> None:
        locked = any(lock for (_, one), lock in self.states.items() if one == uid)
        if uid not in self.labels or locked:
            with pytest.raises(ValueError if uid in self.labels else KeyError):
                self.subscriptions.remove_instance(uid)
            return
        self.subscriptions.remove_instance(uid)
        del self.labels[uid]
        self.states = {key: lock for key, lock in self.states.items() if key[1] != uid}
        self.initial = {key for key in self.initial if key[1] != uid}

    @rule(title=st.sampled_from(TITLES), uid=st.sampled_from(UIDS), lock=st.booleans())
    def subscribe(self, title: str, uid: str, lock: bool) -> None:
        status = request(self.subscriptions, SUBSCRIBE, uid, lock, title)
        assert status == (0x0000 if uid in self.labels else 0xC307)
        if uid in self.labels:
            self.states[title, uid] = lock
            self.initial.add((title, uid))

    @rule(
        title=st.sampled_from(TITLES),
        lock=st.booleans(),
        label=st.sampled_from([None, *LABELS]),
    )
    def subscribe_globally(self, title: str, lock: bool, label: str | None) -> None:
        keys = {} if label is None else {"WorklistLabel": label}
        uid = GLOBAL if label is None else FILTERED
        assert request(self.subscriptions, SUBSCRIBE, uid, lock, title, **keys) == 0
        self.globals[title] = (lock, label)
        for one, found in self.labels.items():
            if label in (None, found) and (title, one) not in self.states:
                self.states[title, one] = lock
                if lock:
                    self.initial.add((title, one))

    @rule(title=st.sampled_from(TITLES), uid=st.sampled_from(UIDS))
    def unsubscribe(self, title: str, uid: str) -> None:
        status = request(self.subscriptions, UNSUBSCRIBE, uid, ae_title=title)
        assert status == (0x0000 if uid in self.labels else 0xC307)
        self.states.pop((title, uid), None)
        self.initial.discard((title, uid))

    @rule(title=st.sampled_from(TITLES), uid=st.sampled_from([GLOBAL, FILTERED]))
    def unsubscribe_globally(self, title: str, uid: str) -> None:
        assert request(self.subscriptions, UNSUBSCRIBE, uid, ae_title=title) == 0
        self.globals.pop(title, None)
        self.states = {key: lock for key, lock in self.states.items() if key[0] != title}
        self.initial = {key for key in self.initial if key[0] != title}

    @rule(title=st.sampled_from(TITLES), uid=st.sampled_from([GLOBAL, FILTERED]))
    def suspend(self, title: str, uid: str) -> None:
        assert request(self.subscriptions, SUSPEND, uid, ae_title=title) == 0
        self.globals.pop(title, None)

    @rule()
    def take_initial_reports(self) -> None:
        assert sorted(initial_reports(self.subscriptions, *TITLES)) == sorted(self.initial)
        self.initial.clear()

    @invariant()
    def same_states(self) -> None:
        for title in TITLES:
            expected = {uid: lock for (one, uid), lock in self.states.items() if one == title}
            if title in self.globals:
                lock, label = self.globals[title]
                expected[GLOBAL if label is None else FILTERED] = lock
            assert states(self.subscriptions, title) == expected
        for uid in UIDS:
            expected_titles = [title for title in TITLES if (title, uid) in self.states]
            assert self.subscriptions.subscribers(uid) == expected_titles
            locked = any(self.states.get((title, uid), False) for title in TITLES)
            assert self.subscriptions.deletion_locked(uid) is locked
        everyone = {title for title, _ in self.states} | set(self.globals)
        assert self.subscriptions.subscribers(GLOBAL) == sorted(everyone)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


# ------------------------------------------------------------------ events


def information(rows: list[dict[str, Any]]) -> list[tuple[int, Any]]:
    """The types and the information of events, which must be as the standard requires."""
    assert not len(validate_events(rows, check="standard"))
    return [(row["EventTypeID"], row["EventInformation"]) for row in rows]


def forms(rows: list[dict[str, Any]]) -> list[Any]:
    """The same events as rows, primitives, columns and tables."""
    plain = [{key: row[key] for key in row if key != "EventInformation"} for row in rows]
    columns = {key: [row[key] for row in plain] for key in plain[0]}
    return [
        plain,
        iter(plain),
        list(decode_events(encode_events(plain))),
        columns,
        {**columns, "AffectedSOPClassUID": plain[0]["AffectedSOPClassUID"]},
        {key: pa.array(column) for key, column in columns.items()},
        pa.table(columns),
        pa.RecordBatch.from_pydict(columns),
        polars.DataFrame(plain),
        pandas.DataFrame(plain),
    ]


@pytest.mark.parametrize("form", range(10))
def test_each_event_is_put_for_its_subscribers(form, caplog):
    with Subscriptions() as subscriptions:
        rows = []
        for uid in ("1.2.1", "1.2.2", "1.2.3"):
            rows += subscriptions.add_instance(uid, STEP)
        request(subscriptions, SUBSCRIBE, GLOBAL, ae_title="ALL")
        request(subscriptions, SUBSCRIBE, "1.2.2", ae_title="TWO")
        request(subscriptions, SUBSCRIBE, "1.2.2", ae_title="UNKNOWN")
        initial_reports(subscriptions, "TWO", "UNKNOWN")
        given = forms([rows[2], rows[1], rows[0], rows[1]])[form]
        with listeners("ALL", "TWO") as (delivery, received):
            assert subscriptions.put(delivery, given) == {"ALL": 4, "TWO": 2}
            assert received("ALL", 4) == ["1.2.3", "1.2.2", "1.2.1", "1.2.2"]
            assert received("TWO", 2) == ["1.2.2", "1.2.2"]
        [text] = [one.getMessage() for one in caplog.records if "put" in one.getMessage()]
        assert text.startswith("2 UPS events for UNKNOWN were not put: ")


CODE = {"CodeValue": "1", "CodingSchemeDesignator": "99LOCAL", "CodeMeaning": "one"}
PROGRESS = "ProcedureStepProgressInformationSequence"


def test_events_of_a_new_ups():
    with Subscriptions() as subscriptions:
        assert information(subscriptions.add_instance("1.2.1", STEP)) == [(1, STEP)]
        performers = [{"HumanPerformerCodeSequence": [CODE], "HumanPerformerOrganization": "X"}]
        step = {
            **STEP,
            "ScheduledStationNameCodeSequence": [CODE],
            "ScheduledHumanPerformersSequence": performers,
        }
        assigned = {"ScheduledStationNameCodeSequence": [CODE], **performers[0]}
        expected = [(1, STEP), (5, assigned)]
        assert information(subscriptions.add_instance("1.2.2", step)) == expected
        assert information(subscriptions.add_instance("1.2.3", data_set_of(step))) == expected


CHANGES = [
    ({}, []),
    ({"WorklistLabel": "CT"}, []),
    ({"ProcedureStepState": "SCHEDULED"}, []),
    (
        {"ProcedureStepState": "IN PROGRESS"},
        [(1, {**STEP, "ProcedureStepState": "IN PROGRESS"})],
    ),
    (
        {"InputReadinessState": "UNAVAILABLE"},
        [(1, {**STEP, "InputReadinessState": "UNAVAILABLE"})],
    ),
    (
        {PROGRESS: [{"ProcedureStepProgress": "40"}]},
        [(3, {PROGRESS: [{"ProcedureStepProgress": "40"}]})],
    ),
    (
        {PROGRESS: [{"ProcedureStepProgress": ""}]},
        [(3, {PROGRESS: [{"ProcedureStepProgress": ""}]})],
    ),
    # Of the parameters alone no event is required.
    ({PROGRESS: [{"ProcedureStepProgressParametersSequence": [{"ValueType": "TEXT"}]}]}, []),
    (
        {"ScheduledStationNameCodeSequence": [CODE]},
        [(5, {"ScheduledStationNameCodeSequence": [CODE]})],
    ),
    (
        {
            "ProcedureStepState": "CANCELED",
            PROGRESS: [{"ReasonForCancellation": "moved"}],
        },
        [(1, {**STEP, "ProcedureStepState": "CANCELED", "ReasonForCancellation": "moved"})],
    ),
]


@pytest.mark.parametrize(("changed", "expected"), CHANGES)
def test_events_of_a_change(changed, expected):
    with Subscriptions() as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
        assert information(subscriptions.change_instance("1.2.3", changed)) == expected


def test_same_progress_in_another_form():
    with Subscriptions() as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
        subscriptions.change_instance("1.2.3", {PROGRESS: [{"ProcedureStepProgress": "40"}]})
        same = data_set_of({PROGRESS: [{"ProcedureStepProgress": 40.0}]})
        assert subscriptions.change_instance("1.2.3", same) == []


def test_ups_that_was_not_added():
    with Subscriptions() as subscriptions:
        assert "1.2.3" not in subscriptions
        with pytest.raises(KeyError, match=r"UPS 1\.2\.3 is not in the list"):
            subscriptions.change_instance("1.2.3", {})
        with pytest.raises(ValueError, match="InputReadinessState"):
            subscriptions.add_instance("1.2.3", {"ProcedureStepState": "SCHEDULED"})
        subscriptions.add_instance("1.2.3", STEP)
        with pytest.raises(ValueError, match="ProcedureStepState"):
            subscriptions.change_instance("1.2.3", {"ProcedureStepState": None})
        with pytest.raises(ValueError, match="already"):
            subscriptions.add_instance("1.2.3", STEP)
        with pytest.raises(ValueError, match="already"):
            subscriptions.add_instance(GLOBAL_SUBSCRIPTION, STEP)
        with pytest.raises(TypeError, match="must be a mapping or a pydicom Dataset, not int"):
            subscriptions.add_instance("1.2.4", 7)


# -------------------------------------------------------------- pynetdicom


@contextmanager
def provider(subscriptions: Subscriptions, transfer_syntax: str) -> Iterator[int]:
    """An SCP of pynetdicom."""
    ae = AE("PROVIDER")
    ae.add_supported_context(UnifiedProcedureStepWatch, transfer_syntax)
    handlers = [(evt.EVT_N_ACTION, subscriptions.handle_pynetdicom)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


@pytest.fixture(params=["alone", "with install()"])
def pynetdicom(request):
    """pynetdicom with its own primitives, and with those of fastdimse."""
    if request.param == "alone":
        yield
        return
    fastdimse.pynetdicom.install()
    yield
    fastdimse.pynetdicom.uninstall()


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
@pytest.mark.usefixtures("pynetdicom")
@pytest.mark.parametrize("transfer_syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_requests_of_pynetdicom(transfer_syntax):
    asked = []
    with Subscriptions(authorize=lambda *given: not asked.append(given)) as subscriptions:
        subscriptions.add_instance("1.2.3", {**STEP, "WorklistLabel": "CT"})
        with provider(subscriptions, transfer_syntax) as port:
            ae = AE("REQUESTER")
            ae.add_requested_context(UnifiedProcedureStepWatch, transfer_syntax)
            association = ae.associate("127.0.0.1", port)

            def send(action_type: int, uid: str, information: Dataset | None) -> int:
                status, reply = association.send_n_action(
                    information,
                    action_type,
                    UnifiedProcedureStepPush,
                    uid,
                    meta_uid=UnifiedProcedureStepWatch,
                )
                assert not reply
                return int(status.Status)

            watch = data_set(**VALID)
            assert send(SUBSCRIBE, "1.2.3", watch) == 0x0000
            assert subscriptions.subscribers("1.2.3") == [AE_TITLE]
            assert send(UNSUBSCRIBE, "1.2.3", watch) == 0x0000
            assert subscriptions.subscribers("1.2.3") == []
            keys = data_set(**VALID, WorklistLabel="C*", ProcedureStepState="*")
            assert send(SUBSCRIBE, FILTERED, keys) == 0x0000
            assert subscriptions.to_pydict() == {
                "ReceivingAE": [AE_TITLE, AE_TITLE],
                "SOPInstanceUID": ["1.2.3", FILTERED_GLOBAL_SUBSCRIPTION],
                "DeletionLock": [False, False],
                "Filter": [None, {"WorklistLabel": "C*", "ProcedureStepState": "*"}],
            }
            assert send(SUSPEND, GLOBAL, watch) == 0x0000
            assert states(subscriptions) == {"1.2.3": False}
            assert send(SUBSCRIBE, "1.2.4", watch) == 0xC307
            assert send(2, "1.2.3", watch) == 0x0123
            assert send(SUBSCRIBE, "1.2.3", None) == 0x0114
            association.release()
        assert set(asked[0]) == {"REQUESTER", AE_TITLE, "1.2.3"}


# ------------------------------------------------------------ imports

IMPORTERS = """
import io, threading
from fastdimse import _data_set, ups
from fastdimse.ups._attributes import decoded
from fastdimse.ups._encoding import encode_keys
encoded = bytes.fromhex("74003412020000004120")
functions = [
    lambda: ups.matches({"WorklistLabel": "C*"}, {"WorklistLabel": "C"}),
    lambda: encode_keys({"WorklistLabel": "C*"}, "1.2.840.10008.1.2"),
    lambda: decoded(encoded),
    lambda: _data_set.read(io.BytesIO(encoded), "1.2.840.10008.1.2"),
]
barrier = threading.Barrier(len(functions))
errors = []
def call(function):
    barrier.wait()
    try:
        function()
    except Exception as error:
        errors.append(error)
threads = [threading.Thread(target=call, args=(function,)) for function in functions]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not errors, errors
"""


def test_threads_import_pydicom_at_the_same_time():
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", IMPORTERS], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


# ----------------------------------------------------------------- the file


def test_file_keeps_everything(tmp_path):
    path = tmp_path / "ups.subscriptions"
    with Subscriptions(path) as subscriptions:
        subscriptions.add_instance("1.2.3", {**STEP, "WorklistLabel": "CT"})
        request(subscriptions, SUBSCRIBE, "1.2.3", lock=True, ae_title="A")
        request(subscriptions, SUBSCRIBE, FILTERED, ae_title="B", WorklistLabel="CT")
        kept = subscriptions.to_pydict()
    with Subscriptions(path) as subscriptions:
        assert subscriptions.to_pydict() == kept
        assert initial_reports(subscriptions, "A", "B") == [("A", "1.2.3")]
        subscriptions.add_instance("1.2.4", {**STEP, "WorklistLabel": "CT"})
        assert subscriptions.subscribers("1.2.4") == ["B"]
        assert not len(subscriptions.change_instance("1.2.3", {"WorklistLabel": "CT"}))


SUBSCRIBER = """
import sys
sys.path.insert(0, {tests!r})
from test_ups import SUBSCRIBE, GLOBAL, request
from fastdimse.ups import Subscriptions
subscriptions = Subscriptions({path!r})
for number in range({first}, {last}):
    title = f"AE{{number}}"
    status = request(subscriptions, SUBSCRIBE, "1.2.3", lock=True, ae_title=title)
    print(title, status, flush=True)
"""


def subscriber(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    """A process that subscribes AE titles, and prints each when it has its Status."""
    program = SUBSCRIBER.format(
        tests=str(Path(__file__).parent), path=str(path), first=first, last=last
    )
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def test_kill_loses_no_acknowledged_subscription(tmp_path):
    path = tmp_path / "ups.subscriptions"
    with Subscriptions(path) as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
    acknowledged: list[str] = []
    for start in range(4):
        with subscriber(path, 10_000 * start, 10_000 * (start + 1)) as process:
            assert process.stdout is not None
            acknowledged.append(process.stdout.readline())
            time.sleep(random.random() / 5)
            process.send_signal(signal.SIGKILL)
            # A line that is cut off was printed after its Status was returned.
            acknowledged += [line for line in process.stdout if line.endswith("\n")]
        with Subscriptions(path) as subscriptions:
            titles = subscriptions.subscribers("1.2.3")
            assert {line.split()[0] for line in acknowledged} <= set(titles)
            assert len(titles) <= len(acknowledged) + start + 1
            assert set(states(subscriptions, titles[-1]).values()) == {True}
            reports = initial_reports(subscriptions, *titles)
            assert set(titles[:1]) <= {title for title, _ in reports}
            for title in titles:
                request(subscriptions, SUBSCRIBE, "1.2.3", lock=True, ae_title=title)
    assert all(line.endswith(" 0\n") for line in acknowledged)


def test_processes_and_threads_at_the_same_time(tmp_path):
    path = tmp_path / "ups.subscriptions"
    with Subscriptions(path) as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
        processes = [subscriber(path, start, start + 30) for start in (0, 30)]

        def subscribe(start: int) -> None:
            for number in range(start, start + 30):
                request(subscriptions, SUBSCRIBE, "1.2.3", ae_title=f"AE{number}")

        threads = [threading.Thread(target=subscribe, args=(start,)) for start in (60, 90)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for process in processes:
            with process:
                assert process.stdout is not None
                assert len(process.stdout.readlines()) == 30
            assert process.returncode == 0
        expected = sorted(f"AE{number}" for number in range(120))
        assert subscriptions.subscribers("1.2.3") == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_child_process_connects_again(tmp_path):
    with Subscriptions(tmp_path / "ups.subscriptions") as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
        child = os.fork()
        if child == 0:
            status = request(subscriptions, SUBSCRIBE, "1.2.3", ae_title="CHILD")
            os._exit(0 if status == 0 else 1)
        request(subscriptions, SUBSCRIBE, "1.2.3", ae_title="PARENT")
        assert os.waitpid(child, 0)[1] == 0
        assert subscriptions.subscribers("1.2.3") == ["CHILD", "PARENT"]


def error_of(path: Path) -> str:
    with pytest.raises(SubscriptionsError) as caught:
        Subscriptions(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: "), text
    return text


def test_file_that_is_not_a_list(tmp_path):
    path = tmp_path / "other"
    path.write_bytes(b"not a database" * 100)
    assert "file is not a database" in error_of(path)
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE others (name)")
    assert "not a list of subscriptions, but a database of another application" in error_of(path)
    assert "unable to open" in error_of(tmp_path / "missing" / "file")
    with pytest.raises(ValueError, match="must be the name of a file"):
        Subscriptions("")


def test_later_version(tmp_path):
    path = tmp_path / "ups.subscriptions"
    Subscriptions(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    assert "has version 2, but this fastdimse reads version 1" in error_of(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE subscriptions SET ae_title = 'EVIL'",
        "UPDATE subscriptions SET lock = 0",
        "UPDATE global_subscriptions SET filter = '{}'",
        "UPDATE instances SET attributes = '{}'",
        "UPDATE initial_reports SET ae_title = 'EVIL'",
        "DELETE FROM instances",
    ],
)
def test_changed_rows_are_damage(tmp_path, change):
    path = tmp_path / "ups.subscriptions"
    with Subscriptions(path) as subscriptions:
        subscriptions.add_instance("1.2.3", STEP)
        request(subscriptions, SUBSCRIBE, "1.2.3", lock=True)
        request(subscriptions, SUBSCRIBE, GLOBAL, lock=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(change)
    assert "the list of subscriptions is damaged" in error_of(path)


def test_flipped_bytes(tmp_path):
    path = tmp_path / "ups.subscriptions"
    with Subscriptions(path) as subscriptions:
        for number in range(50):
            subscriptions.add_instance(f"1.2.{number}", STEP)
        request(subscriptions, SUBSCRIBE, GLOBAL, lock=True)
        kept = subscriptions.to_pydict()
    content = path.read_bytes()
    chosen = random.Random(7)
    errors = 0
    for _ in range(100):
        damaged = bytearray(content)
        damaged[chosen.randrange(len(content))] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        try:
            with Subscriptions(path) as subscriptions:
                found = subscriptions.to_pydict()
        except SubscriptionsError:
            errors += 1
        else:
            # Only in bytes that nothing uses.
            assert found == kept
    assert errors > 20


def test_closed_list():
    subscriptions = Subscriptions()
    subscriptions.close()
    subscriptions.close()
    with pytest.raises(SubscriptionsError, match="closed"):
        subscriptions.subscribers("1.2.3")
