"""Complete events: the command set, structured event information and P-DATA.

pynetdicom and pydicom convert Python values to PDUs and back, fastdimse converts columns to a
stream and back. fastdimse has no function for the data set alone, so pydicom alone, without a
message, is compared with complete events of fastdimse. This comparison favours pydicom. pydicom
decodes values when they are read, so all of its values are read.
"""

from io import BytesIO

import pyarrow as pa
import pytest
from pynetdicom.dimse_primitives import N_EVENT_REPORT

import fastdimse
from conftest import make_event
from references import decode_report, encode_report, reports
from rivals import decode_pdus, encode_p_data

REFERENCES = 10
ROWS = 20_000
FEW = 200


@pytest.fixture(scope="module")
def events():
    return reports(ROWS, REFERENCES)


@pytest.fixture(scope="module")
def few(events):
    return events["EventInformation"][:FEW].to_pylist()


@pytest.fixture(scope="module")
def whole_stream(events):
    return bytes(fastdimse.encode_events(events))


def primitive(report: dict) -> N_EVENT_REPORT:
    """Return a primitive of pynetdicom with a data set that pydicom encoded."""
    event = make_event(N_EVENT_REPORT)
    event.EventInformation = BytesIO(encode_report(report))
    return event


def encode_table(events):
    return fastdimse.encode_events(events)


def encode_batches(events):
    for batch in fastdimse.encode_batches(events, batch_size=1024):
        assert batch.nbytes


def decode_columns(stream):
    decoded = fastdimse.decode_events(stream, event_information="structured")
    assert len(decoded) == ROWS
    return decoded


def test_encode_pynetdicom(measure, few):

    def encode():
        return [encode_p_data(primitive(report)) for report in few]

    measure("whole event encode", "pynetdicom", encode, FEW)


def test_encode_table(measure, events):
    rival = "fastdimse, pyarrow table"
    measure("whole event encode", rival, lambda: encode_table(events), ROWS)


def test_encode_batches(measure, events):
    rival = "fastdimse, batches of 1024"
    measure("whole event encode", rival, lambda: encode_batches(events), ROWS)


def test_decode_pynetdicom(measure, few, whole_stream):
    stream = whole_stream[: len(whole_stream) // ROWS * FEW]

    def decode():
        return [decode_report(event.EventInformation) for event in decode_pdus(stream)]

    assert decode() == few
    measure("whole event decode", "pynetdicom", decode, FEW)


def test_decode_columns(measure, events, whole_stream):
    decoded = decode_columns(whole_stream)
    columns = pa.table(decoded)
    assert columns["EventInformation"][:FEW].to_pylist() == (
        events["EventInformation"][:FEW].to_pylist()
    )
    measure("whole event decode", "fastdimse", lambda: decode_columns(whole_stream), ROWS)


def test_encode_data_sets_pydicom(measure, few, whole_stream):
    data_sets = [encode_report(report) for report in few]
    assert all(data_set in whole_stream for data_set in data_sets)

    def encode():
        return [encode_report(report) for report in few]

    measure("data set encode", "pynetdicom", encode, FEW)


def test_encode_data_sets(measure, events):
    measure("data set encode", "fastdimse", lambda: encode_table(events), ROWS)


def test_decode_data_sets_pydicom(measure, few):
    data_sets = [encode_report(report) for report in few]

    def decode():
        return [decode_report(BytesIO(data_set)) for data_set in data_sets]

    assert decode() == few
    measure("data set decode", "pynetdicom", decode, FEW)


def test_decode_data_sets(measure, whole_stream):
    measure("data set decode", "fastdimse", lambda: decode_columns(whole_stream), ROWS)
