"""How examples/lost-packets.pcap was made: events of several peers, some of whose packets are lost.

``python tests/lost_packets.py`` writes it again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pcap
from fastdimse import encode_capture, events

EXAMPLES = Path(__file__).parent.parent / "examples"
LOST_PACKETS = EXAMPLES / "lost-packets.pcap"
_REAL = EXAMPLES / "orthanc-storage-commitment.pcap"

_SECOND = 10**9
_MS = 10**6
# The time of the first event: that of the real capture.
_BEGIN = pcap.read(_REAL.read_bytes())[0].time
_CT, _MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"

PEERS = {
    "CT-1": "10.0.0.21",
    "MR-2": "10.0.0.22",
    "VIEWER": "10.0.0.30",
    "RIS": "10.0.0.40",
}
"""The peers that receive events, and their addresses."""
SENDERS = {"PACS": "10.0.0.7", "WORKLIST": "10.0.0.8"}
"""The senders of events, and their addresses."""


def _row(number: int, sender: str, receiver: str, event: dict[str, Any], **values: Any) -> Any:
    port = 50_000 + 10 * sorted(SENDERS).index(sender) + sorted(PEERS).index(receiver)
    return event | {
        "Time": _BEGIN + values.pop("seconds") * _SECOND + number * 7 * _MS,
        "SourceAddress": SENDERS[sender],
        "SourcePort": port,
        "DestinationAddress": PEERS[receiver],
        "DestinationPort": 104,
        "CallingAETitle": sender,
        "CalledAETitle": receiver,
        "Status": 0x0000,
        **values,
    }


def _report(number: int, *, failed: int = 0, reason: int = 0x0112) -> dict[str, Any]:
    """Return a report of four instances."""
    instances = [(_CT if n % 2 else _MR, f"1.2.826.0.1.3680043.9.{number}.{n}") for n in range(4)]
    return dict(
        events.storage_commitment(
            f"1.2.826.0.1.3680043.9.{number}",
            instances[failed:],
            [(*one, reason) for one in instances[:failed]],
        )
    )


def _ups(number: int) -> dict[str, Any]:
    return dict(
        events.ups_state_report(
            f"1.2.826.0.1.3680043.9.7.{number}",
            procedure_step_state=("IN PROGRESS", "COMPLETED")[number % 2],
            input_readiness_state="READY",
        )
    )


def rows() -> Iterator[dict[str, Any]]:
    """Return the events before packets are lost."""
    for number in range(60):
        # A fast peer. Every fifteenth report has failed instances.
        failed = 2 if number % 15 == 14 else 0
        reason = (0x0112, 0x0110, 0x0122, 0x0112)[number // 15]
        report = _report(number, failed=failed, reason=reason)
        latency = (3 + number % 4) * _MS
        yield _row(number, "PACS", "CT-1", report, seconds=3 * number, Latency=latency)
    for number in range(40):
        # A slow peer, which becomes slower.
        latency = (180 + 37 * number + 11 * (number % 7)) * _MS
        report = _report(100 + number)
        yield _row(number, "PACS", "MR-2", report, seconds=4 * number, Latency=latency)
    for number in range(30):
        # A peer that stops responding.
        unanswered = {"Status": None} if number >= 24 else {"Latency": 12 * _MS}
        yield _row(number, "WORKLIST", "VIEWER", _ups(number), seconds=5 * number, **unanswered)
    for number in range(30):
        # A peer that rejects some events.
        status = {7: 0x0110, 12: 0x0112, 13: 0x0112, 21: 0x0213}.get(number, 0x0000)
        yield _row(
            number,
            "WORKLIST",
            "RIS",
            _ups(200 + number),
            seconds=5 * number + 1,
            Status=status,
            Latency=(20 + number % 9) * _MS,
        )


# The rest of the real capture is not needed.
_REAL_PACKETS = 200
# Numbers of the packets that are lost: single ones, and some while the recorder was busy.
_LOST = {*range(107, 700, 83), *range(420, 432)}


def capture() -> bytes:
    """Return the capture."""
    columns = list(rows())
    names = list(dict.fromkeys(name for row in columns for name in row))
    made = bytes(encode_capture({name: [row.get(name) for row in columns] for name in names}))
    packets = [*pcap.read(_REAL.read_bytes())[:_REAL_PACKETS], *pcap.read(made)]
    packets.sort(key=lambda packet: packet.time)
    kept = [packet for number, packet in enumerate(packets) if number not in _LOST]
    return pcap.write(kept, unit=1)


if __name__ == "__main__":
    LOST_PACKETS.write_bytes(capture())
