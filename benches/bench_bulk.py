"""Streams of events."""

import pynetdicom.dimse_primitives

import fastdimse
from conftest import make_event
from rivals import decode_pdus, encode_p_data

PRIMITIVES = 20_000
FEW = 1000


def test_encode_pynetdicom(measure):
    events = [make_event(pynetdicom.dimse_primitives.N_EVENT_REPORT) for _ in range(FEW)]
    measure("bulk encode", "pynetdicom", lambda: [encode_p_data(event) for event in events], FEW)


def test_encode_primitives(measure):
    events = [make_event(fastdimse.N_EVENT_REPORT) for _ in range(PRIMITIVES)]
    rival = "fastdimse, list of primitives"
    measure("bulk encode", rival, lambda: fastdimse.encode_events(events), len(events))


def test_encode_table(measure, table):
    rival = "fastdimse, pyarrow table"
    measure("bulk encode", rival, lambda: fastdimse.encode_events(table), len(table))


def test_encode_batches(measure, table):
    def encode():
        for batch in fastdimse.encode_batches(table, batch_size=4096):
            assert batch.nbytes

    measure("bulk encode", "fastdimse, batches of 4096", encode, len(table))


def test_decode_pynetdicom(measure, stream, table):
    few = stream[: len(stream) // len(table) * FEW]
    assert len(decode_pdus(few)) == FEW
    measure("bulk decode", "pynetdicom", lambda: decode_pdus(few), FEW)


def test_decode_columns(measure, stream, table):
    assert len(fastdimse.decode_events(stream)) == len(table)
    rival = "fastdimse, columns"
    measure("bulk decode", rival, lambda: fastdimse.decode_events(stream), len(table))


def test_decode_primitives(measure, stream, table):
    events = min(PRIMITIVES, len(table))
    few = stream[: len(stream) // len(table) * events]
    rival = "fastdimse, primitives"
    measure("bulk decode", rival, lambda: list(fastdimse.decode_events(few)), events)
