"""`fastdimse.events`: the table of the standard, and the events that its functions create.

The oracles are the dictionaries of pydicom, the statuses of pynetdicom, data sets by the tables of
PS3.4, and events of an Orthanc server.
"""

import copy
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code
from pydicom.uid import UID_dictionary
from pynetdicom.association import Association
from pynetdicom.dsutils import decode, encode
from pynetdicom.status import (
    GENERAL_STATUS,
    UNIFIED_PROCEDURE_STEP_SERVICE_CLASS_STATUS,
    code_to_category,
)

import fastdimse
from fastdimse import EncodeError, decode_events, encode_events, events, validate_events

ROOT = Path(__file__).parent.parent
CT = "1.2.840.10008.5.1.4.1.1.2"
COMMITMENT = "1.2.840.10008.1.20.1"

# --------------------------------------------------------------------- the table


def test_uids_are_in_the_dictionary():
    for sop_class in events.SOP_CLASSES:
        name, kind, *_, retired, _ = UID_dictionary[sop_class.uid]
        assert (name, kind, retired) == (sop_class.name, "SOP Class", "")
        assert UID_dictionary[sop_class.affected_sop_class_uid][1] == "SOP Class"
        if sop_class.well_known_instance is not None:
            assert UID_dictionary[sop_class.well_known_instance][1] == "Well-known SOP Instance"


def all_attributes(attributes: tuple[events.Attribute, ...]) -> Iterator[events.Attribute]:
    """Yield attributes and the attributes of their items."""
    for attribute in attributes:
        yield attribute
        yield from all_attributes(attribute.items)


def test_attributes_are_in_the_dictionary():
    for sop_class in events.SOP_CLASSES:
        for event_type in sop_class.event_types:
            for attribute in all_attributes(event_type.attributes):
                assert keyword_for_tag(attribute.tag) == attribute.keyword
                assert dictionary_VR(attribute.tag) == "SQ" or not attribute.items


def test_look_up_classes_and_types():
    for sop_class in events.SOP_CLASSES:
        for uid in (sop_class.uid, sop_class.affected_sop_class_uid):
            assert events.sop_class(uid) is sop_class
            for one in sop_class.event_types:
                assert events.event_type(uid, one.id) is one
                assert str(one) == one.name
            assert events.event_type(uid, 0) is None
    assert events.sop_class(CT) is None
    assert events.event_type(CT, 1) is None


def test_entries_are_frozen_and_can_be_copied():
    for one in (*events.SOP_CLASSES, *events.STATUSES):
        assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
        assert hash(one) == hash(copy.deepcopy(one))
        with pytest.raises(AttributeError):
            one.name = "other"


# ---------------------------------------------------------------------- statuses

# Names of PS3.7 (2026c) that differ from pynetdicom's, which are empty, of older editions, or
# spelled in another way.
OTHER_NAMES = {
    0x0000: ("Success", ""),
    0x0107: ("Attribute List warning", "Attribute List Error"),
    0x0111: ("Duplicate SOP Instance", "Duplication SOP Instance"),
    0x0117: ("Invalid SOP Instance", "Invalid Object Instance"),
    0x0123: ("No such Action Type", "No Such Action"),
    0x0124: ("Refused: Not authorized", "Refused: Not Authorised"),
    0x0211: ("Unrecognized operation", "Unrecognised Operation"),
    0xFE00: ("Cancel", ""),
}


def test_statuses_as_pynetdicom():
    general = [one for one in events.STATUSES if one.code in GENERAL_STATUS]
    assert [one.code for one in general] == sorted(GENERAL_STATUS)
    for one in general:
        category, text = GENERAL_STATUS[one.code]
        assert one.category == category
        if one.code in OTHER_NAMES:
            assert (one.name, text) == OTHER_NAMES[one.code]
        else:
            assert one.name.casefold() == text.casefold()


def test_statuses_of_procedure_steps_as_pynetdicom():
    of_steps = {
        code: category
        for code, (category, text) in UNIFIED_PROCEDURE_STEP_SERVICE_CLASS_STATUS.items()
        if code >> 8 in (0xB3, 0xC3) and text != "Unable to Process"
    }
    others = {one.code: one for one in events.STATUSES if one.code not in GENERAL_STATUS}
    assert {code: one.category for code, one in others.items()} == of_steps
    for code, one in others.items():
        # The names are shorter: each shares a word with pynetdicom's.
        text = UNIFIED_PROCEDURE_STEP_SERVICE_CLASS_STATUS[code][1]
        assert {*one.name.casefold().split()} & {*text.casefold().split()}


def test_failure_reasons():
    """Storage commitment lists them in PS3.3 C.14.1.1."""
    assert events.failure_reason(0x0213) == "0x0213 Resource limitation"
    for code, name in events.FAILURE_REASONS.items():
        assert events.failure_reason(code) == f"0x{code:04X} {name}"
        # PS3.7 has the same codes for Statuses, but 0x0131.
        assert code in GENERAL_STATUS or name == "Duplicate Transaction UID"
    assert events.failure_reason(0xA700) == "0xA700 Unknown Failure Reason"


def test_listed_statuses_as_pynetdicom():
    listed = re.findall(r"0x([0-9A-F]{4})", Association.send_n_event_report.__doc__)
    assert {one.code for one in events.STATUSES if one.listed} == {int(x, 16) for x in listed}


def test_the_category_of_any_code():
    for code in range(0x10000):
        category, expected = events.status(code).category, code_to_category(code)
        # PS3.7 Annex C reserves both ranges for failures; pynetdicom has only assigned codes.
        unassigned = 0x0100 <= code < 0x0300 and code not in GENERAL_STATUS
        assert category == ("Failure" if unassigned else expected), hex(code)


def test_statuses_as_text():
    assert str(events.status(0x0112)) == "0x0112 No such SOP Instance"
    assert str(events.status(0xC123)) == "0xC123 Failure"
    assert str(events.status(0x0002)) == "0x0002"
    assert not events.status(0x0122).listed
    with pytest.raises(OverflowError):
        events.status(0x10000)


# ------------------------------------------------------- rows, against pydicom


def data_set(attributes: dict[str, Any] | None) -> Dataset:
    """Return a mapping of keywords as a data set; pydicom checks each value."""
    found = Dataset()
    for keyword, value in (attributes or {}).items():
        items = isinstance(value, list)
        setattr(found, keyword, Sequence(map(data_set, value)) if items else value)
    return found


@pytest.fixture(autouse=True)
def strict_pydicom(monkeypatch):
    """Let pydicom raise for values against the rules of their VR."""
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.RAISE)


def reference(sop_class: str, instance: str, reason: int | None = None) -> Dataset:
    """Return an item by PS3.4 Table J.3-2."""
    item = Dataset()
    item.add_new(0x00081150, "UI", sop_class)
    item.add_new(0x00081155, "UI", instance)
    if reason is not None:
        item.add_new(0x00081197, "US", reason)
    return item


def commitment(committed: list[Dataset], failed: list[Dataset]) -> Dataset:
    """Return event information by PS3.4 Table J.3-2."""
    report = Dataset()
    report.add_new(0x00081195, "UI", "1.2.3")
    if failed:
        report.add_new(0x00081198, "SQ", failed)
    if committed:
        report.add_new(0x00081199, "SQ", committed)
    return report


def code(value: str, designator: str, meaning: str) -> Dataset:
    """Return an item by PS3.4 Table 8-3b."""
    item = Dataset()
    item.add_new(0x00080100, "SH", value)
    item.add_new(0x00080102, "SH", designator)
    item.add_new(0x00080104, "LO", meaning)
    return item


def of(*elements: tuple[int, str, Any]) -> Dataset:
    """Return a data set of elements."""
    found = Dataset()
    for element in elements:
        found.add_new(*element)
    return found


REASON = ("110513", "DCM", "Discontinued for unspecified reason")
PRINTER = ("1.2.840.10008.5.1.1.16", "1.2.840.10008.5.1.1.17")
PRINT_JOB = "1.2.840.10008.5.1.1.14"
MPPS = "1.2.840.10008.3.1.2.3.5"
UPS = "1.2.840.10008.5.1.4.34.6.1"

# A row, and its class, instance, type and event information by the tables of PS3.4.
ROWS: list[tuple[Callable[[], dict[str, Any]], str, str, int, Dataset]] = [
    (
        lambda: events.storage_commitment("1.2.3", [(CT, "1.2.4")]),
        COMMITMENT,
        "1.2.840.10008.1.20.1.1",
        1,
        commitment([reference(CT, "1.2.4")], []),
    ),
    (
        lambda: events.storage_commitment("1.2.3", [(CT, "1.2.4")], [(CT, "1.2.5", 0x0112)]),
        COMMITMENT,
        "1.2.840.10008.1.20.1.1",
        2,
        commitment([reference(CT, "1.2.4")], [reference(CT, "1.2.5", 0x0112)]),
    ),
    (
        lambda: events.storage_commitment("1.2.3", failed=[(CT, "1.2.5", 0x0110)]),
        COMMITMENT,
        "1.2.840.10008.1.20.1.1",
        2,
        commitment([], [reference(CT, "1.2.5", 0x0110)]),
    ),
    (lambda: events.printer("Normal"), *PRINTER, 1, Dataset()),
    (
        lambda: events.printer("Warning", printer_status_info="SUPPLY LOW", printer_name="P1"),
        *PRINTER,
        2,
        of((0x21100020, "CS", "SUPPLY LOW"), (0x21100030, "LO", "P1")),
    ),
    (
        lambda: events.printer(
            3, printer_status_info="FILM JAM", film_destination="BIN_1", printer_name="P1"
        ),
        *PRINTER,
        3,
        of(
            (0x20000040, "CS", "BIN_1"),
            (0x21100020, "CS", "FILM JAM"),
            (0x21100030, "LO", "P1"),
        ),
    ),
    *(
        (
            partial(
                events.print_job,
                name,
                "1.2.9",
                execution_status_info="NORMAL",
                film_session_label="S",
                printer_name="P1",
            ),
            PRINT_JOB,
            "1.2.9",
            number,
            of(
                (0x20000050, "LO", "S"),
                (0x21000030, "CS", "NORMAL"),
                (0x21100030, "LO", "P1"),
            ),
        )
        for number, name in enumerate(["Pending", "Printing", "Done", "Failure"], 1)
    ),
    *(
        (
            partial(events.mpps_notification, f"Performed Procedure Step {name}", "1.2.9"),
            MPPS,
            "1.2.9",
            number,
            Dataset(),
        )
        for number, name in enumerate(
            ["In Progress", "Completed", "Discontinued", "Updated", "Deleted"], 1
        )
    ),
    (
        lambda: events.ups_state_report(
            "1.2.9",
            procedure_step_state="CANCELED",
            input_readiness_state="READY",
            reason_for_cancellation="why",
            discontinuation_reasons=[REASON],
        ),
        UPS,
        "1.2.9",
        1,
        of(
            (0x00404041, "CS", "READY"),
            (0x00741000, "CS", "CANCELED"),
            (0x0074100E, "SQ", [code(*REASON)]),
            (0x00741238, "LT", "why"),
        ),
    ),
    (
        lambda: events.ups_cancel_requested(
            "1.2.9",
            requesting_ae="CONSOLE",
            reason_for_cancellation="why",
            discontinuation_reasons=[Code(*REASON)],
            contact_uri="tel:+1",
            contact_display_name="N",
        ),
        UPS,
        "1.2.9",
        2,
        of(
            (0x0074100A, "UR", "tel:+1"),
            (0x0074100C, "LO", "N"),
            (0x0074100E, "SQ", [code(*REASON)]),
            (0x00741236, "AE", "CONSOLE"),
            (0x00741238, "LT", "why"),
        ),
    ),
    (
        lambda: events.ups_progress_report(
            "1.2.9", progress="40", description="half", contacts=[("tel:+1", "N"), ("tel:+2", None)]
        ),
        UPS,
        "1.2.9",
        3,
        of(
            (
                0x00741002,
                "SQ",
                [
                    of(
                        (0x00741004, "DS", "40"),
                        (0x00741006, "ST", "half"),
                        (
                            0x00741008,
                            "SQ",
                            [
                                of((0x0074100A, "UR", "tel:+1"), (0x0074100C, "LO", "N")),
                                of((0x0074100A, "UR", "tel:+2")),
                            ],
                        ),
                    )
                ],
            )
        ),
    ),
    (
        lambda: events.ups_scp_status_change(
            "1.2.9",
            scp_status="RESTARTED",
            subscription_list_status="WARM START",
            unified_procedure_step_list_status="COLD START",
        ),
        UPS,
        "1.2.9",
        4,
        of(
            (0x00741242, "CS", "RESTARTED"),
            (0x00741244, "CS", "WARM START"),
            (0x00741246, "CS", "COLD START"),
        ),
    ),
    (
        lambda: events.ups_assigned(
            "1.2.9",
            scheduled_station_names=[("CT1", "99L", "CT 1")],
            human_performers=[("A", "99L", "B")],
            human_performer_organization="H",
        ),
        UPS,
        "1.2.9",
        5,
        of(
            (0x00404009, "SQ", [code("A", "99L", "B")]),
            (0x00404025, "SQ", [code("CT1", "99L", "CT 1")]),
            (0x00404036, "LO", "H"),
        ),
    ),
    (
        lambda: events.machine_verification("1.2.9"),
        "1.2.840.10008.5.1.4.34.8",
        "1.2.9",
        1,
        Dataset(),
    ),
    (
        lambda: events.machine_verification("1.2.9", "NOT_VERIFIED", ion=True),
        "1.2.840.10008.5.1.4.34.9",
        "1.2.9",
        2,
        of((0x3008002C, "CS", "NOT_VERIFIED")),
    ),
]


@pytest.mark.parametrize(("make", "sop_class", "instance", "number", "expected"), ROWS)
def test_rows(make, sop_class, instance, number, expected):
    row = make()
    assert list(row) == [
        "AffectedSOPClassUID",
        "AffectedSOPInstanceUID",
        "EventTypeID",
        "EventInformation",
    ]
    assert (row["AffectedSOPClassUID"], row["AffectedSOPInstanceUID"]) == (sop_class, instance)
    assert row["EventTypeID"] == number
    found = data_set(row["EventInformation"])
    assert found == expected
    # The encoded data sets are equal too.
    assert encode(found, True, True) == encode(expected, True, True)
    assert (row["EventInformation"] is None) == (len(expected) == 0)


@pytest.mark.parametrize("implicit", [True, False])
def test_rows_are_encoded_as_their_data_sets(implicit):
    rows = [make() for make, *_ in ROWS]
    syntax = f"1.2.840.10008.1.2{'' if implicit else '.1'}"
    decoded = decode_events(encode_events(rows, transfer_syntax=syntax))
    assert len(decoded) == len(ROWS)
    for event, (_, sop_class, instance, number, expected) in zip(decoded, ROWS, strict=True):
        assert (event.AffectedSOPClassUID, event.AffectedSOPInstanceUID) == (sop_class, instance)
        assert event.EventTypeID == number
        found = event.EventInformation
        assert (found.getvalue() if found else b"") == encode(expected, implicit, True)
    assert not validate_events(rows, check="standard")


def test_every_event_type_has_a_row_here():
    made = {(row["AffectedSOPClassUID"], row["EventTypeID"]) for row in (one() for one, *_ in ROWS)}
    for sop_class in events.SOP_CLASSES:
        for event_type in sop_class.event_types:
            # The two classes of machine verification have one table.
            uids = {one.uid for one in events.SOP_CLASSES if one.table == sop_class.table}
            uids.add(sop_class.affected_sop_class_uid)
            assert any((uid, event_type.id) in made for uid in uids), event_type


def events_of_orthanc() -> Iterator[tuple[int, Dataset]]:
    """Yield the event type and the event information of each event of Orthanc."""
    stream = (ROOT / "examples" / "orthanc-storage-commitment.requests.bin").read_bytes()
    for event in decode_events(stream):
        yield event.EventTypeID, decode(BytesIO(event.EventInformation.getvalue()), True, True)


def pairs(items: Any) -> list[tuple[Any, ...]]:
    """Return the items of a sequence as tuples."""
    return [
        tuple(str(one.value) if one.VR == "UI" else one.value for one in item) for item in items
    ]


def failures(items: Any) -> list[tuple[str, str, int]]:
    """Return the items of a sequence of failures as tuples."""
    return [
        (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID), item.FailureReason)
        for item in items
    ]


def test_create_the_events_of_orthanc():
    kinds = set()
    for event_type, report in events_of_orthanc():
        row = events.storage_commitment(
            report.TransactionUID,
            pairs(report.get("ReferencedSOPSequence", [])),
            failures(report.get("FailedSOPSequence", [])),
        )
        assert row["EventTypeID"] == event_type
        found = data_set(row["EventInformation"])
        for keyword in ("ReferencedSOPSequence", "FailedSOPSequence"):
            # Orthanc also sends an empty sequence.
            if not report.get(keyword):
                report.pop(keyword, None)
        assert found == report
        kinds.add(event_type)
    assert kinds == {1, 2}


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: events.storage_commitment("1.2.3"), "ReferencedSOPSequence"),
        (lambda: events.storage_commitment("", [(CT, "1.2")]), "TransactionUID"),
        (
            lambda: events.storage_commitment(
                "1.2.3", [(CT, "1.2"), {"ReferencedSOPClassUID": CT}]
            ),
            "ReferencedSOPSequence[1].ReferencedSOPInstanceUID",
        ),
        (
            lambda: events.storage_commitment("1.2.3", failed=[(CT, "1.2", None)]),
            "FailedSOPSequence[0].FailureReason",
        ),
        (
            lambda: events.storage_commitment(
                "1.2.3",
                [
                    {
                        "ReferencedSOPClassUID": CT,
                        "ReferencedSOPInstanceUID": "1.2",
                        "RetrieveAETitle": "A",
                    }
                ],
                retrieve_ae_title="B",
            ),
            "ReferencedSOPSequence[0].RetrieveAETitle",
        ),
        (lambda: events.printer("Failure"), "PrinterStatusInfo"),
        (
            lambda: events.print_job(1, "1.2", execution_status_info=None),
            "ExecutionStatusInfo",
        ),
        (
            lambda: events.ups_assigned(
                "1.2", human_performers=[{"CodeValue": "A", "CodingSchemeDesignator": "99L"}]
            ),
            "HumanPerformerCodeSequence[0].CodeMeaning",
        ),
        (
            lambda: events.ups_progress_report("1.2", contacts=[{"ContactDisplayName": "N"}]),
            "ProcedureStepProgressInformationSequence[0]"
            ".ProcedureStepCommunicationsURISequence[0].ContactURI",
        ),
    ],
)
def test_missing_attributes(make, path):
    with pytest.raises(EncodeError) as raised:
        make()
    error = raised.value
    assert (error.field, error.code, error.row) == (f"EventInformation.{path}", "attribute", None)
    assert "(PS3.4 " in error.reason


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: events.printer("Broken"),
            "event type of Printer SOP Class must be one of 1 'Normal', 2 'Warning', 3 'Failure', "
            "not 'Broken'",
        ),
        (lambda: events.printer(4), "one of 1 'Normal', 2 'Warning', 3 'Failure', not 4"),
        (lambda: events.print_job([1, 9], "1.2", execution_status_info="N"), "'Failure', not 9"),
        (
            lambda: events.printer([1, 2], printer_name=["P"]),
            "PrinterName has 1 values, event_type has 2",
        ),
        (lambda: events.storage_commitment("1.2.3", ["1.2"]), "must be"),
        (lambda: events.storage_commitment("1.2.3", failed=[(CT, "1.2")]), "FailureReason"),
        (
            lambda: events.ups_assigned("1.2", human_performers=["A"]),
            "CodeMeaning[, CodingSchemeVersion]), not 'A'",
        ),
    ],
)
def test_other_mistakes(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


# ----------------------------------------------------------------------- columns


@pytest.fixture(params=["pyarrow", "no pyarrow"])
def arrow(request, monkeypatch):
    """Run a test with pyarrow and without it."""
    if request.param == "no pyarrow":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    return request.param == "pyarrow"


def without_nulls(value: Any) -> Any:
    """Return a mapping without nulls, also in its items."""
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(item) for key, item in value.items() if item is not None}


def rows_of(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of columns."""
    lists = {
        name: column.to_pylist() if hasattr(column, "to_pylist") else column
        for name, column in columns.items()
    }
    [count] = {len(column) for column in lists.values() if isinstance(column, list)}
    rows = []
    for number in range(count):
        row = {
            name: column[number] if isinstance(column, list) else column
            for name, column in lists.items()
        }
        row["EventInformation"] = without_nulls(row.get("EventInformation")) or None
        rows.append(row)
    return rows


REPORTS = {
    "1.2.1": ([(CT, "1.2.4"), (CT, "1.2.5")], []),
    "1.2.2": ([], [(CT, "1.2.6", 0x0112)]),
    "1.2.3": ([(CT, "1.2.7")], [(CT, "1.2.8", 0x0110), (CT, "1.2.9", 0x0119)]),
}


def test_reports_in_columns(arrow):
    expected = [events.storage_commitment(uid, *items) for uid, items in REPORTS.items()]
    committed, failed = zip(*REPORTS.values(), strict=True)
    columns = events.storage_commitment(list(REPORTS), list(committed), list(failed))
    assert rows_of(columns) == expected
    if arrow:
        assert bytes(encode_events(columns)) == bytes(encode_events(expected))
    assert isinstance(columns["EventInformation"], pa.StructArray) == arrow
    # Without failures, with null for no items, and with one attribute for all events.
    expected = [
        events.storage_commitment(uid, [(CT, "1.2.4")], retrieve_ae_title="PACS")
        for uid in ("1.2.1", "1.2.2")
    ]
    for given_failed in ((), None, [None, None], [[], []]):
        columns = events.storage_commitment(
            ["1.2.1", "1.2.2"], [[(CT, "1.2.4")]] * 2, given_failed, retrieve_ae_title="PACS"
        )
        assert rows_of(columns) == expected


def test_reports_from_arrow_lists():
    item = pa.struct(
        [
            ("ReferencedSOPClassUID", pa.string()),
            ("ReferencedSOPInstanceUID", pa.string()),
            ("FailureReason", pa.uint16()),
        ]
    )
    keywords = item.names
    committed, failed = (
        [
            [dict(zip(keywords, one, strict=False)) for one in report[side]]
            for report in REPORTS.values()
        ]
        for side in (0, 1)
    )
    expected = [events.storage_commitment(uid, *items) for uid, items in REPORTS.items()]
    for lists in (pa.list_, pa.large_list):
        table = pa.table(
            {
                "uid": list(REPORTS),
                "committed": pa.array(committed, lists(pa.struct(list(item)[:2]))),
                "failed": pa.array(failed, lists(item)),
            }
        )
        found = events.storage_commitment(*table.columns)
        assert rows_of(found) == expected
        # Slices have offsets.
        found = events.storage_commitment(*table.slice(1).columns)
        assert rows_of(found) == expected[1:]
    found = events.storage_commitment(*polars.from_arrow(table).get_columns())
    assert rows_of(found) == expected


uids = st.sampled_from(["1.2.1", "1.2.2", "1.2.3", "1.2.4"])
instances = st.tuples(uids, uids, st.none() | st.integers(0, 0xFFFF))


@given(table=st.lists(st.tuples(uids, instances), min_size=1, max_size=12), flavour=st.booleans())
def test_flat_table_is_grouped_by_transaction(table, flavour):
    reports: dict[str, tuple[list[Any], list[Any]]] = {}
    for transaction, instance in table:
        committed, failed = reports.setdefault(transaction, ([], []))
        failed.append(instance) if instance[2] is not None else committed.append(instance[:2])
    expected = [events.storage_commitment(uid, *items) for uid, items in reports.items()]
    transactions, items = zip(*table, strict=True)
    columns: list[Any] = [transactions, *zip(*items, strict=True)]
    if flavour:
        types = [pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.large_string(), pa.uint16()]
        columns = [pa.array(one, kind) for one, kind in zip(columns, types, strict=True)]
    assert rows_of(events.storage_commitment_table(*columns)) == expected


def test_a_flat_table_without_pyarrow(arrow):
    columns = (["1", "2", "1"], CT, ["1.1", "1.2", "1.3"], [None, 7, 8])
    expected = [
        events.storage_commitment("1", [(CT, "1.1")], [(CT, "1.3", 8)], retrieve_ae_title="A"),
        events.storage_commitment("2", [], [(CT, "1.2", 7)], retrieve_ae_title="A"),
    ]
    assert rows_of(events.storage_commitment_table(*columns, retrieve_ae_title="A")) == expected
    alone = events.storage_commitment_table(*columns[:3])
    assert rows_of(alone)[0] == events.storage_commitment("1", [(CT, "1.1"), (CT, "1.3")])
    with pytest.raises(TypeError, match="transaction_uid must be a column"):
        events.storage_commitment_table("1", CT, ["1.1"])


COLUMNS = [
    (events.printer, [("Normal",), (2,)], [{}, {"printer_status_info": "SUPPLY LOW"}]),
    (
        events.print_job,
        [("Done", "1.2.1"), ("Pending", "1.2.2")],
        [
            {"execution_status_info": "NORMAL", "printer_name": "P"},
            {"execution_status_info": "QUEUED"},
        ],
    ),
    (events.mpps_notification, [(1, "1.2.1"), (5, "1.2.2")], [{}, {}]),
    (
        events.ups_state_report,
        [("1.2.1",), ("1.2.2",)],
        [
            {"procedure_step_state": "SCHEDULED", "input_readiness_state": "READY"},
            {
                "procedure_step_state": "CANCELED",
                "input_readiness_state": "READY",
                "discontinuation_reasons": [REASON],
            },
        ],
    ),
    (
        events.ups_cancel_requested,
        [("1.2.1",), ("1.2.2",)],
        [{"requesting_ae": "A"}, {"requesting_ae": "B", "contact_uri": "tel:+1"}],
    ),
    (
        events.ups_progress_report,
        [("1.2.1",), ("1.2.2",)],
        [{"progress": 40, "contacts": [("tel:+1", "N")]}, {"progress": 50}],
    ),
    (
        events.ups_scp_status_change,
        [("1.2.1",), ("1.2.2",)],
        [
            {
                "scp_status": "RESTARTED",
                "subscription_list_status": "WARM START",
                "unified_procedure_step_list_status": "WARM START",
            }
        ]
        * 2,
    ),
    (
        events.ups_assigned,
        [("1.2.1",), ("1.2.2",)],
        [{"human_performers": [("A", "99L", "B")]}, {"human_performer_organization": "H"}],
    ),
    (events.machine_verification, [("1.2.1", None), ("1.2.2", "VERIFIED")], [{}, {}]),
]


@pytest.mark.parametrize(("make", "positional", "named"), COLUMNS)
def test_columns_as_rows(arrow, make, positional, named):
    expected = [make(*p, **n) for p, n in zip(positional, named, strict=True)]
    names = {name: [one.get(name) for one in named] for one in named for name in one}
    found = make(*map(list, zip(*positional, strict=True)), **names)
    assert rows_of(found) == expected
    if arrow:
        assert bytes(encode_events(found)) == bytes(encode_events(expected))
        assert not validate_events(found, check="standard")


def test_kinds_of_columns():
    numpy = pytest.importorskip("numpy")
    texts = ["NORMAL", "QUEUED"]
    expected = [
        events.print_job(kind, "1.2.1", execution_status_info=text, printer_name="P")
        for kind, text in zip((3, 1), texts, strict=True)
    ]
    for kinds, infos in [
        (numpy.array([3, 1]), numpy.array(texts)),
        (pa.chunked_array([[3], [1]]), pa.chunked_array([texts[:1], texts[1:]])),
        (pa.array(["Done", "Pending"]).dictionary_encode(), pa.array(texts)),
        (polars.Series([3, 1]), polars.Series(texts)),
        ([events.event_type(PRINT_JOB, 3), "Pending"], iter(texts)),
    ]:
        found = events.print_job(kinds, "1.2.1", execution_status_info=infos, printer_name="P")
        assert rows_of(found) == expected


def test_columns_without_event_information_are_encoded():
    columns = events.mpps_notification(["Performed Procedure Step Deleted", 1], ["1.2.1", "1.2.2"])
    decoded = decode_events(encode_events(columns))
    assert [(one.AffectedSOPInstanceUID, one.EventTypeID) for one in decoded] == [
        ("1.2.1", 5),
        ("1.2.2", 1),
    ]


# ------------------------------------------------------------------------- docs


def documented() -> Iterator[str]:
    """Yield the lines of the tables in docs/events.md."""
    for sop_class in events.SOP_CLASSES:
        yield f"### {sop_class.name}"
        yield ""
        instance = sop_class.well_known_instance
        of_instance = f"; its SOP Instance is always `{instance}`" if instance else ""
        of_class = (
            ""
            if sop_class.affected_sop_class_uid == sop_class.uid
            else f"; Affected SOP Class UID `{sop_class.affected_sop_class_uid}`"
        )
        yield (
            f"`{sop_class.uid}`, PS3.4 {sop_class.section}, Table {sop_class.table}"
            f"{of_class}{of_instance}."
        )
        yield ""
        yield "| event type | attribute | usage | when |"
        yield "| --- | --- | --- | --- |"
        for one in sop_class.event_types:
            name = f"{one.id} {one.name}"
            if not one.attributes:
                yield f"| {name} | none | | |"
            for marks, attribute in nested(one.attributes):
                usage, condition = attribute.usage, attribute.condition or ""
                yield f"| {name} | {marks}`{attribute.keyword}` | {usage} | {condition} |"
                name = ""
        yield ""


def nested(attributes: tuple[Any, ...], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield attributes with a mark for each sequence that contains them."""
    for attribute in attributes:
        yield ("> " * depth, attribute)
        yield from nested(attribute.items, depth + 1)


def test_page_has_the_table():
    page = (ROOT / "docs" / "events.md").read_text()
    shown = page.partition("<!-- table:begin -->\n")[2].partition("<!-- table:end -->")[0]
    assert shown.strip() == "\n".join(documented()).strip()


def test_page_has_the_statuses():
    page = (ROOT / "docs" / "events.md").read_text()
    for one in events.STATUSES:
        row = f"| 0x{one.code:04X} | {one.category} | {one.name} |"
        assert (row in page) == one.listed


def test_attribute_of_fastdimse():
    assert fastdimse.events is events
    with pytest.raises(AttributeError, match="nothing"):
        fastdimse.nothing  # noqa: B018
