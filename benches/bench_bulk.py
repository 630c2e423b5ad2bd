"""Streams of events."""

import pyarrow as pa
import pynetdicom.dimse_primitives
import pytest

import fastdimse
from conftest import DATA_SET, SOP_CLASS, make_event
from rivals import decode_pdus, encode_p_data

ROWS = 200_000
FEW = 1000


@pytest.fixture(scope="module")
def table():
    return pa.table(
        {
            "AffectedSOPClassUID": pa.array([SOP_CLASS] * ROWS),
            "AffectedSOPInstanceUID": [
                f"1.2.826.0.1.3680043.8.498.{10**20 + row}" for row in range(ROWS)
            ],
            "EventTypeID": pa.array([1] * ROWS, pa.uint16()),
            "EventInformation": pa.array([DATA_SET] * ROWS),
        }
    )


@pytest.fixture(scope="module")
def stream(table):
    return bytes(fastdimse.encode_events(table))


def test_encode_pynetdicom(measure):
    events = [make_event(pynetdicom.dimse_primitives.N_EVENT_REPORT) for _ in range(FEW)]
    measure("bulk encode", "pynetdicom", lambda: [encode_p_data(event) for event in events], FEW)


def test_encode_primitives(measure):
    events = [make_event(fastdimse.N_EVENT_REPORT) for _ in range(ROWS // 10)]
    rival = "fastdimse, list of primitives"
    measure("bulk encode", rival, lambda: fastdimse.encode_events(events), len(events))


def test_encode_table(measure, table):
    rival = "fastdimse, pyarrow table"
    measure("bulk encode", rival, lambda: fastdimse.encode_events(table), ROWS)


def test_encode_batches(measure, table):
    def encode():
        for batch in fastdimse.encode_batches(table, batch_size=4096):
            assert batch.nbytes

    measure("bulk encode", "fastdimse, batches of 4096", encode, ROWS)


def test_decode_pynetdicom(measure, stream):
    few = stream[: len(stream) // ROWS * FEW]
    assert len(decode_pdus(few)) == FEW
    measure("bulk decode", "pynetdicom", lambda: decode_pdus(few), FEW)


def test_decode_columns(measure, stream):
    assert len(fastdimse.decode_events(stream)) == ROWS
    rival = "fastdimse, columns"
    measure("bulk decode", rival, lambda: fastdimse.decode_events(stream), ROWS)


def test_decode_primitives(measure, stream):
    few = stream[: len(stream) // 10]
    rival = "fastdimse, primitives"
    measure("bulk decode", rival, lambda: list(fastdimse.decode_events(few)), ROWS // 10)
