"""One event at a time: the class and its codec."""

from io import BytesIO

import pydicom.uid
import pynetdicom.dimse_primitives
import pytest

import fastdimse
from conftest import DATA_SET, SOP_CLASS, SOP_INSTANCE, make_event
from rivals import decode_message, encode_p_data

CLASSES = {
    "pynetdicom": (pynetdicom.dimse_primitives.N_EVENT_REPORT, 1000),
    "fastdimse": (fastdimse.N_EVENT_REPORT, 100_000),
}
ENCODE = {
    "pynetdicom": encode_p_data,
    "fastdimse": fastdimse.N_EVENT_REPORT.encode_p_data,
}
DECODE = {
    "pynetdicom": decode_message,
    "fastdimse": fastdimse.N_EVENT_REPORT.decode_command_set,
}


@pytest.fixture(params=CLASSES)
def rival(request):
    return request.param, *CLASSES[request.param]


def test_construct(measure, rival):
    name, cls, events = rival

    def construct():
        for _ in range(events):
            cls()

    measure("construct", name, construct, events)


def test_set_uid(measure, rival):
    name, cls, events = rival
    event = cls()

    def set_uid():
        for _ in range(events):
            event.AffectedSOPClassUID = SOP_CLASS

    measure("set a UID", name, set_uid, events)


def test_read_uid(measure, rival):
    name, cls, _ = rival
    event, events = make_event(cls), 100_000
    assert type(event.AffectedSOPInstanceUID) is pydicom.uid.UID

    def read_uid():
        for _ in range(events):
            event.AffectedSOPInstanceUID  # noqa: B018 - reading it is what is measured

    measure("read a UID again", name, read_uid, events)


def test_whole_request(measure, rival):
    name, cls, events = rival
    encode, stream = ENCODE[name], BytesIO(DATA_SET)

    def whole_request():
        for _ in range(events):
            event = cls()
            event.MessageID = 7
            event.AffectedSOPClassUID = SOP_CLASS
            event.AffectedSOPInstanceUID = SOP_INSTANCE
            event.EventTypeID = 1
            event.EventInformation = stream
            assert event.is_valid_request
            encode(event)

    measure("whole request", name, whole_request, events)


def test_encode(measure, rival):
    name, cls, events = rival
    event, encode = make_event(cls), ENCODE[name]
    assert encode(event) == encode_p_data(make_event(CLASSES["pynetdicom"][0]))

    def encode_all():
        for _ in range(events):
            encode(event)

    measure("encode", name, encode_all, events)


def test_decode(measure, rival):
    name, cls, events = rival
    command_set = make_event(fastdimse.N_EVENT_REPORT).encode_command_set()
    decode = DECODE[name]
    decoded = decode(command_set, DATA_SET)
    assert isinstance(decoded, cls)
    assert decoded.EventInformation.getvalue() == DATA_SET

    def decode_all():
        for _ in range(events):
            decode(command_set, DATA_SET)

    measure("decode", name, decode_all, events)
