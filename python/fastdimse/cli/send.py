"""``fastdimse send``: events delivered to peers."""

import hashlib
import re
import threading
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer

from fastdimse import Delivery, Peer
from fastdimse._core import describe_status, status_category
from fastdimse._delivery import RETRY_STATUSES

from .atomic_output import whole_output
from .delivery_plot import draw, picture_format
from .delivery_table import delivery_table, print_summary
from .encode import refusals
from .row_files.read import PIPE, RowFormat, RowsOut
from .row_files.read import row_format as format_of
from .row_files.rows import InputError, refused_values
from .send_input import Requests, open_requests
from .terminal import LiveTable, note, plural
from .tls_options import (
    Ca,
    Certificate,
    Key,
    NoHostnameCheck,
    Passcode,
    ServerName,
    Username,
    UseTls,
    client_tls,
)

_OUTCOMES = pa.schema(
    [
        ("Peer", pa.string()),
        ("Event", pa.int64()),
        ("MessageID", pa.uint16()),
        ("Status", pa.uint16()),
        ("StatusName", pa.string()),
        ("Time", pa.timestamp("ns", "UTC")),
        ("Latency", pa.duration("ns")),
        ("Failure", pa.string()),
        ("Reason", pa.string()),
    ]
)
# Statuses with which the peer took the event (PS3.7 C).
_TAKEN = ("Success", "Warning")
# Seconds between two looks at the deliveries.
_LOOK = 0.1
_INTERRUPTED = 130
# States in which a peer is sent nothing more.
_ENDS = ("refused", "given up", "failed")


def send(
    events: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="Rows (Parquet, Arrow, NDJSON, CSV), a stream (.bin), or a capture; - is stdin.",
        ),
    ],
    host: Annotated[str, typer.Argument(help="The peer's name or address.")],
    port: Annotated[int, typer.Argument(help="Its port.", min=1, max=65535)],
    row_format: Annotated[
        RowFormat | None,
        typer.Option("--format", "-f", help="The format of IN; by its suffix if not given."),
    ] = None,
    called_ae: Annotated[str, typer.Option(help="The peer's AE title.")] = "ANY-SCP",
    calling_ae: Annotated[str, typer.Option(help="This end's AE title.")] = "EVENT-SCP",
    peers: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="HOST:PORT[:AE]",
            help="Another peer that gets the same events; can be repeated.",
        ),
    ] = None,
    window: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="How many events may be unanswered, if the peer agrees; 0: any."
        ),
    ] = 64,
    outbox: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep events here until they are answered: the same command goes on after a kill.",
        ),
    ] = None,
    give_up_after: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Give up a peer that has given no answer for so long; inf: never.",
        ),
    ] = 60.0,
    retry_statuses: Annotated[
        list[str] | None,
        typer.Option(
            "--retry-status",
            metavar="STATUS",
            help="A Status, in hexadecimal, with which an event is sent again, until "
            "--give-up-after ends; can be repeated. 0110 and 0213 if not given; none: every Status "
            "settles.",
        ),
    ] = None,
    response_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long an answer may take.")
    ] = 30.0,
    transfer_syntax: Annotated[
        str | None,
        typer.Option(
            metavar="UID",
            help="What data sets that are bytes are encoded in, Implicit VR Little Endian, the "
            "default, or Explicit VR Little Endian. A capture says it itself.",
        ),
    ] = None,
    lenient_uids: Annotated[
        bool, typer.Option("--lenient-uids", help="Accept UIDs against PS3.5 9.1.")
    ] = False,
    outcomes: Annotated[
        str | None,
        typer.Option(metavar="OUT", help="Write what became of each event; format by the suffix."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw latencies and the rate over time, .svg or .png by suffix."
        ),
    ] = None,
    tls: UseTls = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    no_hostname_check: NoHostnameCheck = False,
    username: Username = None,
    passcode: Passcode = None,
) -> None:
    """Send events to a peer, or to several, and say what became of them.

    Associations that fail are opened again, and what was not answered is sent again.
    Ctrl-C sends no more, waits for the answers to what was sent and releases the
    associations; once more leaves at once. The exit code is 1 where an event was not
    delivered, or was answered with a Status that is a failure, in an earlier run with
    this outbox too; 130 after Ctrl-C.

    Example: fastdimse send reports.ndjson pacs.example.org 104 --called-ae PACS
    """
    chosen = None if outcomes is None else format_of(outcomes)
    if picture is not None:
        picture_format(picture)
    options: dict[str, Any] = {
        "calling_ae": calling_ae,
        "window": window,
        "response_timeout": response_timeout,
        "username": username,
        "passcode": passcode,
        "tls": client_tls(
            tls=tls,
            ca=ca,
            certificate=certificate,
            key=key,
            server_name=server_name,
            no_hostname_check=no_hostname_check,
        ),
    }
    addresses = [(host, port, called_ae), *map(_address, peers or ())]
    retry = _retry_statuses(retry_statuses)
    with refused_values():
        to = [Peer(host, port, called_ae=title, **options) for host, port, title in addresses]
    with open_requests(events, row_format, transfer_syntax) as requests:
        source = None if outbox is None else _source(events)
        with refused_values():
            delivery = Delivery(
                to, outbox=outbox, give_up_after=give_up_after, retry_statuses=retry
            )
        sources: list[str] = []
        _tell_what_is_there(delivery)
        begin = time.monotonic()
        try:
            putting = _Putting(delivery, requests, source, sources, lenient_uids=lenient_uids)
            was_interrupted = _deliver(delivery, putting, requests, source)
        finally:
            if any(one.due or one.answered or one.failures for one in delivery.progress()):
                print_summary(delivery.progress(), time.monotonic() - begin)
    for line in requests.left_out:
        note(f"not sent: {line}")
    if outcomes is not None and chosen is not None:
        _write(delivery, outcomes, chosen)
    if picture is not None:
        draw([(peer.name, delivery.outcomes(peer)) for peer in delivery.peers], picture)
    if was_interrupted:
        raise typer.Exit(_INTERRUPTED)
    is_all_taken = _were_all_taken_before(delivery, sources) and _is_all_taken(delivery)
    if requests.left_out or not is_all_taken:
        raise typer.Exit(1)


def _address(text: str) -> tuple[str, int, str]:
    """Read ``HOST:PORT`` or ``HOST:PORT:AE``, an IPv6 address in brackets."""
    host, _, rest = text[1:].partition("]:") if text[:1] == "[" else text.partition(":")
    port, _, title = rest.partition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--peer {text}: it must be HOST:PORT or HOST:PORT:AE")
    return host, int(port), title or "ANY-SCP"


def _retry_statuses(given: list[str] | None) -> list[int]:
    """Read Statuses: ``0110``, ``0x0110`` or ``0110H``, or ``none`` alone."""
    if given is None:
        return list(RETRY_STATUSES)
    if given == ["none"]:
        return []
    for text in given:
        if re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,4}[hH]?", text) is None:
            raise InputError(
                f"--retry-status {text}: it must be a Status in hexadecimal, such as 0110, or none"
            )
    return [int(text.rstrip("hH"), 16) for text in given]


def _source(path: str) -> str | None:
    """Return a name for what is in a file, whatever the file is called."""
    if path == PIPE:
        return None
    with open(path, "rb") as file:
        return f"SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _tell_what_is_there(delivery: Delivery) -> None:
    for progress in delivery.progress():
        if progress.due:
            note(f"{progress.peer.name}: {plural(progress.due, 'event')} due from before")
    for name, due in delivery.due_to_other_peers().items():
        note(f"{name}: {plural(due, 'event')} due too, but not named now")


class _Putting(threading.Thread):
    """Events on their way into a delivery, while another thread watches it."""

    def __init__(
        self,
        delivery: Delivery,
        requests: Requests,
        source: str | None,
        sources: list[str],
        *,
        lenient_uids: bool,
    ) -> None:
        # A daemon: what it reads may be a pipe in which nothing comes.
        super().__init__(daemon=True)
        self.count = 0
        self.failure: BaseException | None = None
        self._delivery = delivery
        self._requests = requests
        self._source = source
        self._sources = sources
        self._lenient_uids = lenient_uids

    def run(self) -> None:
        """Put them."""
        try:
            for number, (events, transfer_syntax) in enumerate(self._requests.parts):
                source = None if self._source is None else f"{self._source}, part {number}"
                if source is not None:
                    self._sources.append(source)
                put = self._delivery.put(
                    events,
                    transfer_syntax=transfer_syntax,
                    enforce_uid_conformance=not self._lenient_uids,
                    source=source,
                )
                self.count += len(put)
        except BaseException as error:
            self.failure = error


def _deliver(delivery: Delivery, putting: _Putting, requests: Requests, source: str | None) -> bool:
    """Deliver everything that is put, and return whether that was interrupted."""
    with LiveTable() as shown:
        try:
            putting.start()
            while putting.is_alive() or not delivery.wait(_LOOK):
                putting.join(_LOOK)
                progress = delivery.progress()
                table = partial(delivery_table, progress, requests.total)
                shown.show(sum(one.answered for one in progress), table)
                if all(one.state in _ENDS for one in progress):
                    delivery.wait(0)
                    break
        except (KeyboardInterrupt, SystemExit):
            note("waiting for the answers to what was sent; once more to leave at once")
            _close(delivery)
            return True
        except BaseException:
            delivery.close()
            raise
    # What it raises from now on is that the delivery is closed.
    failure = putting.failure
    _close(delivery)
    if failure is not None:
        _raise(failure, requests)
    if source is not None and requests.total is not None and putting.count < requests.total:
        before = requests.total - putting.count
        note(f"{plural(before, 'event')} of this content put into the outbox before")
    return False


def _close(delivery: Delivery) -> None:
    try:
        delivery.close()
    except (KeyboardInterrupt, SystemExit):
        delivery.close(at_once=True)


def _raise(failure: BaseException, requests: Requests) -> None:
    """Raise what putting raised, what the user gave as `InputError`."""
    if requests.rows is None:
        raise failure
    with refusals(requests.rows):
        raise failure


def _is_all_taken(delivery: Delivery) -> bool:
    return all(
        not progress.due
        and not progress.failures
        and all(status_category(status) in _TAKEN for status in progress.statuses)
        for progress in delivery.progress()
    )


def _were_all_taken_before(delivery: Delivery, sources: list[str]) -> bool:
    """Return whether earlier runs delivered what they settled of this content, and tell."""
    all_taken = True
    for progress in delivery.progress():
        for (status, code), count in delivery.count_outcomes(progress.peer, sources).items():
            if status is not None and status_category(status) in _TAKEN:
                continue
            now = progress.failures.get(code or "", 0)
            outcome = f"not sent: {code}"
            if status is not None:
                now, outcome = progress.statuses.get(status, 0), describe_status(status)
            if count > now:
                events = plural(count - now, "event")
                note(f"{progress.peer.name}: {events} of this content settled before: {outcome}")
                all_taken = False
    return all_taken


def _write(delivery: Delivery, path: str, chosen: RowFormat) -> None:
    with whole_output(path) as sink:
        rows = RowsOut(sink, path, chosen, _OUTCOMES)
        for peer in delivery.peers:
            columns = delivery.outcomes(peer)
            count = len(columns["Event"])
            rows.write(pa.table({"Peer": [peer.name] * count, **columns}, schema=_OUTCOMES))
        rows.close()
