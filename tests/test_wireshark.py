"""Written and read captures, compared with Wireshark."""

import json
import struct
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

import pcap
import wireshark
from fastdimse import N_ACTION, decode_capture, encode_capture, encode_events
from strategies import comments, max_pdu_lengths, rows, uids, unsigned_shorts
from test_bulk_encode import columns_of
from test_command_line import REPORTS
from test_command_line import run as run_command_line
from wireshark import Message, complaints, fields, messages

pytestmark = wireshark.needed

REQUEST, RESPONSE, NO_DATA_SET = 0x0100, 0x8100, 0x0101
ELEMENTS = {
    0x0002: "AffectedSOPClassUID",
    0x0110: "MessageID",
    0x0120: "MessageIDBeingRespondedTo",
    0x0900: "Status",
    0x0902: "ErrorComment",
    0x0903: "ErrorID",
    0x1000: "AffectedSOPInstanceUID",
    0x1002: "EventTypeID",
}
OF_RESPONSES = ("Status", "ErrorComment", "ErrorID")
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
# Few examples with many events, because tshark takes a second to start.
few = settings(max_examples=12)


@st.composite
def data_sets(draw: st.DrawFn) -> Dataset:
    """Data sets of text and numbers."""
    made = Dataset()
    made.TransactionUID = draw(uids)
    made.RetrieveAETitle = draw(st.none() | st.just("ARCHIVE"))
    made.FailureReason = draw(st.none() | unsigned_shorts)
    made.StorageMediaFileSetID = draw(st.none() | st.just("DISK"))
    for element in list(made):
        if element.value is None:
            del made[element.tag]
    return made


def encoded(data_set: Dataset, syntax: str) -> bytes:
    """Encode a data set with pydicom."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = syntax == ImplicitVRLittleEndian
    write_dataset(buffer, data_set)
    return buffer.getvalue()


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """A request, mostly with a response."""
    event = {
        "MessageID": draw(unsigned_shorts),
        "AffectedSOPClassUID": draw(
            st.sampled_from(["1.2.840.10008.1.20.1", "1.2.840.10008.5.1.4.34.6.4"]) | uids
        ),
        "AffectedSOPInstanceUID": draw(uids),
        "EventTypeID": draw(unsigned_shorts),
        "TransferSyntaxUID": draw(st.sampled_from(SYNTAXES)),
        "information": draw(st.none() | data_sets()),
        "reply": None,
        "Status": draw(st.none() | unsigned_shorts),
        "ErrorComment": None,
        "ErrorID": None,
    }
    if event["Status"] is not None:
        event["reply"] = draw(st.none() | data_sets())
        event["ErrorComment"] = draw(st.none() | comments.filter(bool))
        event["ErrorID"] = draw(st.none() | unsigned_shorts)
    return event


def table_of(drawn: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return events as columns, with encoded data sets."""
    columns = {name: [event[name] for event in drawn] for name in drawn[0]}
    for name, source in (("EventInformation", "information"), ("EventReply", "reply")):
        columns[name] = [
            data_set and encoded(data_set, event["TransferSyntaxUID"])
            for event, data_set in zip(drawn, columns.pop(source), strict=True)
        ]
    return columns


def dissected(data_set: Dataset | None) -> dict[int, int | str]:
    """Return the elements of a data set in the form of the dissector."""
    return {} if data_set is None else {int(one.tag): one.value for one in data_set}


def expected(drawn: list[dict[str, Any]]) -> list[tuple[dict[int, Any], dict[int, Any]]]:
    """Return the command set and the data set of each message."""
    result = []
    for event in drawn:
        kinds = [(REQUEST, "information"), (RESPONSE, "reply")]
        for command_field, data_set in kinds if event["Status"] is not None else kinds[:1]:
            command: dict[int, Any] = {
                0x0100: command_field,
                0x0800: NO_DATA_SET if event[data_set] is None else 1,
            }
            for tag, name in ELEMENTS.items():
                value = event.get(name)
                if command_field == RESPONSE and name == "MessageID":
                    continue
                if command_field == RESPONSE and name == "MessageIDBeingRespondedTo":
                    value = event["MessageID"]
                if value is not None and (command_field == RESPONSE or name not in OF_RESPONSES):
                    command[tag] = value
            result.append((command, dissected(event[data_set])))
    return result


def seen(message: Message) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return the elements of a message without the group length."""
    command = dict(message.command)
    assert command.pop(0x0000) > 0
    return command, message.data_set


@few
@given(
    drawn=st.lists(events(), min_size=1, max_size=60),
    max_pdu_length=max_pdu_lengths.filter(lambda length: length == 0 or length > 40),
    suffix=st.sampled_from(["pcap", "pcapng"]),
    addresses=st.sampled_from([("192.0.2.7", "198.51.100.9"), ("2001:db8::7", ("::1", 11112))]),
)
def test_every_field_of_every_message(drawn, max_pdu_length, suffix, addresses):
    source, destination = addresses
    capture = encode_capture(
        table_of(drawn),
        format=suffix,
        max_pdu_length=max_pdu_length,
        source=source,
        destination=destination,
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"events.{suffix}"
        path.write_bytes(capture)
        assert complaints(path) == []
        assert [seen(message) for message in messages(path)] == expected(drawn)


@few
@given(
    drawn=st.lists(rows, min_size=1, max_size=40),
    max_pdu_length=max_pdu_lengths,
    contexts=st.lists(st.integers(0, 127).map(lambda n: 2 * n + 1), min_size=1, max_size=5),
)
def test_messages_as_encode_events(drawn, max_pdu_length, contexts):
    ids = [contexts[index % len(contexts)] for index in range(len(drawn))]
    columns = {**columns_of(drawn), "PresentationContextID": ids}
    capture = encode_capture(columns, max_pdu_length=max_pdu_length, destination=("192.0.2.2", 104))
    # Fragments in captures have even lengths.
    even = max_pdu_length - (max_pdu_length > 7 and max_pdu_length % 2)
    alone = list(encode_events(columns, max_pdu_length=even))
    answers = [event["MessageIDBeingRespondedTo"] is not None for event in drawn]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.pcap"
        path.write_bytes(capture)
        packets = fields(path, "tcp.len > 0", "tcp.srcport", "tcp.payload")
    for port_104, kind in ((False, False), (True, True)):
        sent = b"".join(
            bytes.fromhex(payload) for port, payload in packets if (port == "104") == port_104
        )
        # Between A-ASSOCIATE and A-RELEASE.
        begin = 6 + struct.unpack_from(">I", sent, 2)[0]
        stream = b"".join(
            bytes(one) for one, answer in zip(alone, answers, strict=True) if answer == kind
        )
        assert sent[begin:-10] == stream


def test_association_pdus(tmp_path):
    path = tmp_path / "events.pcap"
    both_ways = {
        "AffectedSOPClassUID": ["1.2.840.10008.1.20.1", "1.2.840.10008.5.1.1.14"],
        "AffectedSOPInstanceUID": "1.2.3",
        "EventTypeID": 1,
        "Status": 0,
        "SourceAddress": ["192.0.2.1", "192.0.2.2"],
        "SourcePort": [2000, 104],
        "DestinationAddress": ["192.0.2.2", "192.0.2.1"],
        "DestinationPort": [104, 2000],
        "TransferSyntaxUID": ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"],
    }
    path.write_bytes(encode_capture(both_ways, calling_ae="ORTHANC", max_pdu_length=1000))
    [request], [accept] = (
        fields(
            path,
            f"dicom.pdu.type == {kind}",
            "dicom.assoc.ae.calling",
            "dicom.assoc.ae.called",
            "dicom.pctx.id",
            "dicom.pctx.result",
            "dicom.max_pdu_len",
            "dicom.userinfo.rolesel.scurole",
            "dicom.userinfo.rolesel.scprole",
            "dicom.pctx.abss.syntax",
            "dicom.pctx.xfer.syntax",
        )
        for kind in (1, 2)
    )
    for associate, results in ((request, ""), (accept, "0x00,0x00")):
        titles = [title.strip() for title in associate[:2]]
        assert titles == ["ORTHANC", "EVENT-SCU"]
        assert associate[2:5] == ["0x01,0x03", results, "1000"]
        # Only events of the requestor need a role, because the acceptor is the SCP by default.
        assert associate[5:7] == ["0x00", "0x01"]
    assert "1.2.840.10008.1.20.1" in request[7]
    assert "1.2.840.10008.5.1.1.14" in request[7]
    for associate in (request, accept):
        first, second = associate[8].split("),")
        assert "1.2.840.10008.1.2.1" in first
        assert "(1.2.840.10008.1.2)" in second
    assert [seen(message)[0][0x0100] for message in messages(path)] == [REQUEST, RESPONSE] * 2
    assert complaints(path) == []


def test_many_associations(tmp_path):
    path = tmp_path / "events.pcapng"
    count = 200
    capture = encode_capture(
        {
            "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
            "AffectedSOPInstanceUID": "1.2.3",
            "EventTypeID": [number % 7 for number in range(count)],
            "MessageID": list(range(count)),
            "Status": 0,
            "Association": [number % 20 for number in range(count)],
            "EventInformation": [encoded(Dataset(), "") + b"\x08\x00\x95\x11\x02\x00\x00\x001\x00"]
            * count,
        },
        format="pcapng",
    )
    assert (capture.associations, len(capture.rejected)) == (20, 0)
    path.write_bytes(capture)
    assert complaints(path) == []
    found = messages(path)
    assert len(found) == 2 * count
    captured = pa.table(decode_capture(capture)).to_pylist()
    requests = [message for message in found if message.command[0x0100] == REQUEST]
    assert [(event["Association"], event["Frame"]) for event in captured] == [
        (message.stream, message.frame) for message in requests
    ]


def test_acknowledgements(tmp_path):
    path = tmp_path / "events.pcap"
    value = bytes(range(256)) * 4096
    element = struct.pack("<HHI", 0x0009, 0x0010, len(value)) + value
    columns = {
        "AffectedSOPClassUID": "1.2.3",
        "AffectedSOPInstanceUID": "1.2.3",
        "EventTypeID": [1, 2],
        "EventInformation": [element, None],
        "EventReply": [None, element],
        "Status": 0,
    }
    capture = encode_capture(columns)
    path.write_bytes(capture)
    assert complaints(path) == []
    assert pa.table(decode_capture(capture))["EventReply"].to_pylist() == [None, element]


@pytest.fixture
def real(examples: Path) -> Path:
    """The capture of Orthanc's events."""
    return examples / "orthanc-storage-commitment.pcap"


def joined(path: Path) -> list[dict[str, Any]]:
    """Join the requests and responses of Wireshark by stream and Message ID."""
    events: dict[tuple[int, int | str], dict[str, Any]] = {}
    for message in messages(path):
        if message.command[0x0100] == REQUEST:
            events[message.stream, message.command[0x0110]] = {
                "Association": message.stream,
                "Frame": message.frame,
                "time": message.time,
                "SourcePort": message.ports[0],
                "DestinationPort": message.ports[1],
                "PresentationContextID": message.context_id,
                "MessageID": message.command[0x0110],
                "AffectedSOPClassUID": message.command[0x0002],
                "AffectedSOPInstanceUID": message.command[0x1000],
                "EventTypeID": message.command[0x1002],
            }
        elif message.command[0x0100] == RESPONSE:
            event = events[message.stream, message.command[0x0120]]
            event["Status"] = message.command[0x0900]
            event["latency"] = message.time - event["time"]
    return list(events.values())


def ours(capture: bytes) -> list[dict[str, Any]]:
    """Return the rows of a capture, with times as numbers."""
    table = pa.table(decode_capture(capture))
    times = table["Time"].cast(pa.int64()).to_pylist()
    latencies = table["Latency"].cast(pa.int64()).to_pylist()
    rest = table.drop_columns(["Time", "Latency"]).to_pylist()
    return [
        {**event, "time": time, "latency": latency}
        for event, time, latency in zip(rest, times, latencies, strict=True)
    ]


def assert_agree(path: Path, count: int) -> None:
    """Compare the rows of a file with the messages of Wireshark."""
    expected, read = joined(path), ours(path.read_bytes())
    assert len(expected) == count
    assert [{name: event[name] for name in expected[0]} for event in read] == expected


def test_captured_file(real, examples):
    assert_agree(real, 24)
    read = ours(real.read_bytes())
    expected = json.loads((examples / "orthanc-storage-commitment.expected.json").read_text())
    assert [event["EventInformation"].hex() for event in read] == [
        message["data_set_hex"] for message in expected["requests"]
    ]
    associates = {
        int(stream): (called.strip(), calling.strip())
        for stream, called, calling in fields(
            real,
            "dicom.pdu.type == 1",
            "tcp.stream",
            "dicom.assoc.ae.called",
            "dicom.assoc.ae.calling",
        )
    }
    accepted = dict(fields(real, "dicom.pdu.type == 2", "tcp.stream", "dicom.pctx.xfer.syntax"))
    for event in read:
        titles = (event["CalledAETitle"], event["CallingAETitle"])
        assert titles == associates[event["Association"]]
        assert f"({event['TransferSyntaxUID']})" in accepted[str(event["Association"])]
    packets = int(run_count(real))
    captured = decode_capture(real.read_bytes())
    assert (captured.packets, captured.streams) == (packets, len(associates))


def run_count(path: Path) -> str:
    """Return the number of packets of a file."""
    return str(len(fields(path, "frame", "frame.number")))


@pytest.mark.parametrize("file_type", ["pcapng", "nsecpcap", "modpcap"])
def test_formats_of_editcap(real, tmp_path, file_type):
    path = tmp_path / "converted"
    wireshark.run("editcap", "-F", file_type, real, path)
    assert_agree(path, 24)
    assert pa.table(decode_capture(path.read_bytes())) == pa.table(
        decode_capture(real.read_bytes())
    )


def test_damage_by_editcap(real, tmp_path):
    whole = ours(real.read_bytes())
    path = tmp_path / "broken.pcap"

    def broken(*options: object) -> tuple[list[dict[str, Any]], Any]:
        wireshark.run("editcap", *options)
        return ours(path.read_bytes()), decode_capture(path.read_bytes()).faults

    # The copies are later, and only change the numbers of packets.
    doubled = tmp_path / "doubled.pcap"
    wireshark.run("mergecap", "-F", "pcap", "-w", doubled, real, real)
    read, faults = ours(doubled.read_bytes()), decode_capture(doubled.read_bytes()).faults
    assert [{**event, "Frame": 0} for event in read] == [{**event, "Frame": 0} for event in whole]
    assert len(faults) == 0
    # Missing packets.
    frame = whole[3]["Frame"]
    read, faults = broken(real, path, frame)
    assert [event["time"] for event in read if event["MessageID"] is not None] == [
        event["time"] for event in whole if event is not whole[3]
    ]
    # The headers of a PDU, which Orthanc sends in a separate packet, remain.
    assert {fault.code for fault in faults} == {"truncated", "missing-bytes", "no-request"}
    assert {fault.stream for fault in faults} == {whole[3]["Association"]}
    # A snapshot length that truncates some requests.
    read, faults = broken("-s", 1200, real, path)
    cut = fields(real, "frame.len > 1200", "frame.number")
    kept = [event for event in whole if [str(event["Frame"])] not in cut]
    assert 0 < len(kept) < len(whole)
    assert [event["time"] for event in read if event["MessageID"] is not None] == [
        event["time"] for event in kept
    ]
    # A capture that begins inside of an association, with the headers of a request.
    [[header]] = fields(
        real, f"tcp.stream == {whole[3]['Association']} && tcp.len == 12", "frame.number"
    )
    read, faults = broken("-r", real, path, f"{header}-9999")
    assert [event["time"] for event in read] == [event["time"] for event in whole[3:]]
    assert read[0]["CallingAETitle"] is None
    assert read[1]["CallingAETitle"] == "ORTHANC"
    assert "begins-inside" in {fault.code for fault in faults}


def test_merged_files(real, tmp_path):
    """Files are concatenated by mergecap, and sorted by reordercap."""
    halves = [tmp_path / "first.pcap", tmp_path / "second.pcap"]
    wireshark.run("editcap", "-r", real, halves[0], "1-300")
    wireshark.run("editcap", real, halves[1], "1-300")
    unsorted, ordered = tmp_path / "unsorted.pcapng", tmp_path / "ordered.pcapng"
    wireshark.run("mergecap", "-a", "-w", unsorted, halves[1], halves[0])
    wireshark.run("reordercap", unsorted, ordered)
    assert_agree(ordered, 24)
    whole = ours(real.read_bytes())
    numbers = dict.fromkeys(["Frame", "Association"], 0)
    read = ours(unsorted.read_bytes())
    assert [{**event, **numbers} for event in read] == [{**event, **numbers} for event in whole]


def test_other_traffic(real, tmp_path):
    other, both = tmp_path / "other.pcap", tmp_path / "both.pcapng"
    (tmp_path / "text").write_text("0000 47 45 54 20 2f 20 48 54 54 50 0d 0a\n")
    wireshark.run("text2pcap", "-F", "pcap", "-T", "4000,80", tmp_path / "text", other)
    packets = [pcap.Packet(0, one.data, one.length) for one in pcap.read(other.read_bytes())]
    other.write_bytes(pcap.write(packets))
    wireshark.run("mergecap", "-w", both, other, real)
    assert_agree(both, 24)
    captured = decode_capture(both.read_bytes())
    assert (captured.streams, captured.associations, len(captured.faults)) == (26, 25, 0)
    assert ours(both.read_bytes())[0]["Association"] == 2
    [fault] = decode_capture(other.read_bytes()).faults
    assert (fault.code, fault.stream) == ("no-association", None)


SHOWN = ("-o", "dicom.tag_tree:TRUE", "-T", "fields", "-E", "aggregator=|")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_structured_rows(tmp_path, syntax):
    source, capture = tmp_path / "reports.ndjson", tmp_path / "reports.pcap"
    source.write_text(REPORTS)
    done = run_command_line("encode", source, "-o", capture, "--transfer-syntax", syntax)
    assert done.returncode == 0, done.stderr.decode()
    assert complaints(capture) == []
    wanted = ("dicom.tag", "dicom.tag.value.str", "dicom.tag.value.16u")
    names = [argument for name in wanted for argument in ("-e", name)]
    shown = wireshark.run("tshark", "-r", capture, "-Y", "dicom.pdv.flags == 2", *SHOWN, *names)
    item = ["0xfffee000", "0x00081150", "0x00081155"]
    assert [[cell.split("|") for cell in line.split("\t")] for line in shown.splitlines()] == [
        [
            ["0x00081195", "0x00081199", *item, *item],
            [
                "1.2.3",
                "1.2.840.10008.5.1.4.1.1.2 (CT Image Storage)",
                "1.2.3.4",
                "1.2.840.10008.5.1.4.1.1.4 (MR Image Storage)",
                "1.2.3.5",
            ],
            [""],
        ],
        [
            ["0x00081195", "0x00081198", *item, "0x00081197"],
            ["1.2.4", "1.2.840.10008.5.1.4.1.1.2 (CT Image Storage)", "1.2.3.6"],
            ["274"],
        ],
    ]


def test_stream_of_structured_rows(tmp_path):
    source, stream, text, capture = (
        tmp_path / name for name in ("in.ndjson", "out.bin", "out.txt", "out.pcap")
    )
    source.write_text(REPORTS)
    assert run_command_line("encode", source, "-o", stream).returncode == 0
    data = stream.read_bytes()
    text.write_text(f"0000 {data.hex(' ')}\n")
    wireshark.run("text2pcap", "-q", "-T", "11112,104", text, capture)
    found = [message.command for message in messages(capture)]
    assert [(one[0x0100], one.get(0x0110), one.get(0x1002)) for one in found] == [
        (REQUEST, 1, 1),
        (REQUEST, 2, 2),
        (RESPONSE, None, None),
    ]
    assert found[0][0x0002] == "1.2.840.10008.1.20.1"


ACTION_ELEMENTS = {
    0x0003: "RequestedSOPClassUID",
    0x0110: "MessageID",
    0x0900: "Status",
    0x0902: "ErrorComment",
    0x0903: "ErrorID",
    0x1001: "RequestedSOPInstanceUID",
    0x1008: "ActionTypeID",
}


def test_actions_of_the_real_capture():
    path = Path(__file__).parent.parent / "examples" / "orthanc-storage-commitment.pcap"
    captured = decode_capture(path.read_bytes())
    dissected = messages(path)
    requests = [one for one in dissected if one.command[0x0100] == 0x0130]
    # One association, in which each request follows the response to the request before it.
    responses = [one for one in dissected if one.command[0x0100] == 0x8130]
    rows = pa.table(captured.actions).to_pylist()
    assert len(rows) == len(captured.actions) == len(requests) == len(responses) > 0
    messages_of = zip(rows, requests, responses, captured.actions, strict=True)
    for row, request, response, pair in messages_of:
        assert response.frame > request.frame
        assert response.command[0x0120] == request.command[0x0110]
        assert (row["Frame"], row["Association"]) == (request.frame, request.stream)
        assert (row["SourcePort"], row["DestinationPort"]) == request.ports
        assert row["Time"].value == request.time
        assert row["Latency"].value == response.time - request.time
        for tag, name in ACTION_ELEMENTS.items():
            one = response if name in OF_RESPONSES else request
            assert row[name] == one.command.get(tag), name
        information = decode(row["ActionInformation"], row["TransferSyntaxUID"])
        assert {element.tag for element in information} == set(request.data_set)
        assert information.TransactionUID == request.data_set[0x00081195]
        assert (row["ActionReply"] is None) == (not response.data_set)
        assert type(pair[0]) is type(pair[1]) is N_ACTION
        assert pair[0].RequestedSOPInstanceUID == request.command[0x1001]
        assert pair[0].ActionInformation.getvalue() == row["ActionInformation"]
        assert pair[1].Status == response.command[0x0900]
        assert pair[1].AffectedSOPClassUID == response.command.get(0x0002)
    assert not any(name.startswith("N-ACTION") for name in captured.skipped)


def decode(data_set: bytes, syntax: str) -> Dataset:
    """Decode a data set with pydicom."""
    return read_dataset(BytesIO(data_set), syntax == ImplicitVRLittleEndian, True)
