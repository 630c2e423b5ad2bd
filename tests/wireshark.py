"""Wireshark's tools, with its dissector as the oracle."""

import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_TOOLS = ("tshark", "editcap", "mergecap", "reordercap", "text2pcap")
_MISSING = [tool for tool in _TOOLS if shutil.which(tool) is None]

# CI fails without them.
needed = pytest.mark.skipif(
    bool(_MISSING) and not os.environ.get("CI"),
    reason=f"{', '.join(_MISSING)} not installed: ./dev peers installs Wireshark's tools",
)
"""Marks tests that need the tools."""

# Expert information about a normal end of a connection.
_ORDINARY = {
    "This frame initiates the connection closing",
    "This frame undergoes the connection closing",
    "Connection finish (FIN)",
}
_NOTE = 0x00400000
"""The lowest severity of expert information that is returned."""
_COMMAND, _LAST = 0b01, 0b10


def run(tool: str, *arguments: object) -> str:
    """Run a tool and return its output."""
    done = subprocess.run(
        [tool, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fields(path: Path, display_filter: str, *names: str) -> list[list[str]]:
    """Return fields of the packets of a display filter; commas separate several values."""
    wanted = [argument for name in names for argument in ("-e", name)]
    options = ("-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,")
    lines = run("tshark", "-r", path, "-Y", display_filter, *options, *wanted).splitlines()
    return [line.split("\t") for line in lines]


def complaints(path: Path) -> list[str]:
    """Return all warnings of Wireshark about a file, with checksums checked."""
    found = run(
        "tshark",
        "-r",
        path,
        *("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"),
        *("-Y", f"_ws.expert.severity >= {_NOTE} || _ws.malformed || tcp.analysis.flags"),
        *("-T", "fields", "-E", "aggregator=|", "-e", "frame.number", "-e", "_ws.expert.message"),
    )
    lines = (line.split("\t") for line in found.splitlines())
    return [
        f"frame {frame}: {message}"
        for frame, messages in lines
        for message in messages.split("|")
        if message not in _ORDINARY
    ]


@dataclass
class Message:
    """A DIMSE message as Wireshark dissects it.

    Attributes
    ----------
    frame, time, stream : int
        The packet that completes it, its time in nanoseconds, and its TCP stream.
    ports : tuple of int
        Source and destination port.
    context_id : int
        The presentation context.
    command : dict of int to (int or str)
        The elements of the command set, by tag.
    data_set : dict of int to (int or str)
        The elements of the data set, by tag.
    """

    frame: int
    time: int
    stream: int
    ports: tuple[int, int]
    context_id: int
    command: dict[int, int | str]
    data_set: dict[int, int | str] = field(default_factory=dict)


def messages(path: Path) -> list[Message]:
    """Dissect the DIMSE messages of a file, in the order of their first packets."""
    document = run(
        "tshark",
        "-r",
        path,
        *(
            "-o",
            "dicom.tag_tree:TRUE",
            "-Y",
            "dicom.pdv.len",
            "-T",
            "pdml",
            "-J",
            "frame tcp dicom",
        ),
    )
    found: list[Message] = []
    last: dict[tuple[int, tuple[int, int]], Message] = {}
    for packet in ET.fromstring(document).iter("packet"):
        place = {
            one.get("name"): one.get("show", "")
            for proto in packet.findall("proto")
            if proto.get("name") in ("frame", "tcp")
            for one in proto.findall("field")
        }
        seconds, _, rest = place["frame.time_epoch"].partition(".")
        frame, time = int(place["frame.number"]), int(seconds) * 10**9 + int(rest)
        stream = int(place["tcp.stream"])
        ports = (int(place["tcp.srcport"]), int(place["tcp.dstport"]))
        for pdv in packet.iterfind("proto[@name='dicom']/field"):
            flags = pdv.find("field[@name='dicom.pdv.flags']")
            if flags is None or not int(flags.get("show", ""), 0) & _LAST:
                continue
            elements = dict(_elements(pdv))
            if int(flags.get("show", ""), 0) & _COMMAND:
                context_id = int(_show(pdv, "dicom.pdv.ctx"))
                message = Message(frame, time, stream, ports, context_id, elements)
                found.append(message)
                last[stream, ports] = message
            else:
                message = last[stream, ports]
                message.frame, message.time, message.data_set = frame, time, elements
    return found


def _show(parent: ET.Element, name: str) -> str:
    child = parent.find(f"field[@name='{name}']")
    assert child is not None
    return child.get("show", "")


def _elements(pdv: ET.Element) -> list[tuple[int, int | str]]:
    """Return the elements of a PDV, including those that were reassembled from fragments."""
    elements = []
    for element in pdv.findall("field"):
        if element.find("field[@name='dicom.tag']") is None:
            continue
        value: int | str = ""
        for child in element.findall("field"):
            if child.get("name") == "dicom.tag.value.str":
                # The text of a UID includes its name; these are the bytes.
                value = bytes.fromhex(child.get("value", "")).decode("latin-1").rstrip("\0 ")
            elif child.get("name", "").startswith("dicom.tag.value."):
                value = int(child.get("show", ""), 0)
        elements.append((int(_show(element, "dicom.tag"), 0), value))
    return elements
