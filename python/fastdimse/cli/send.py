"""``fastdimse send``: deliver events to peers."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import typer

from fastdimse import Delivery, Peer
from fastdimse._core import describe_status, status_category
from fastdimse._delivery import RETRY_STATUSES
from fastdimse._outbox import PutOptions

from .atomic_output import atomic_output
from .delivery_plot import draw, picture_format
from .delivery_table import delivery_table, print_summary, summary
from .errors import InputError, invalid_options
from .exit_codes import ExitCode
from .options import (
    ASSOCIATION,
    DELIVERY,
    RESULTS,
    Ca,
    Certificate,
    EncodedSyntax,
    Host,
    IgnoreColumns,
    InputFormat,
    Key,
    LenientUIDs,
    LocalAE,
    NoHostnameCheck,
    Passcode,
    PeerAE,
    Port,
    ServerName,
    Username,
    UseTLS,
    client_tls,
    flag,
    in_range,
)
from .row_files.formats import RowFormat
from .row_files.formats import row_format as format_of
from .row_files.write import RowWriter
from .send_input import EventsToSend, Part, open_events
from .terminal import LiveTable, note, plural, print_json

_OUTCOME_COLUMNS = pa.schema(
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
# Categories of a Status of an event that the peer processed (PS3.7 C).
_DELIVERED = ("Success", "Warning")
# Seconds between two updates of the progress.
_UPDATE_INTERVAL = 0.1
# States of a peer to which no more events are sent.
_FINAL_STATES = ("refused", "given up", "failed")
_DEFAULT_AE = "ANY-SCP"


def send(
    events: Annotated[
        list[str],
        typer.Argument(
            metavar="IN",
            help="Rows (Parquet, Arrow, NDJSON, CSV), P-DATA streams (.bin), or captures (.pcap, "
            ".pcapng): files, folders of them, or - for rows from standard input.",
        ),
    ],
    host: Host,
    port: Port,
    row_format: InputFormat = None,
    called_ae: PeerAE = _DEFAULT_AE,
    calling_ae: LocalAE = "EVENT-SCP",
    peers: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="PEER",
            help="Another peer to send the same events to, as HOST:PORT or HOST:PORT:AE. "
            "Repeatable.",
            rich_help_panel=DELIVERY,
        ),
    ] = None,
    window: Annotated[
        int,
        typer.Option(
            metavar="N",
            callback=in_range(0, 65535),
            help="Maximum number of outstanding requests to propose to the peer. 0: no limit.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = 64,
    outbox: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Store events in this file until they are delivered. After a crash, the same "
            "command continues.",
            rich_help_panel=DELIVERY,
        ),
    ] = None,
    give_up_after: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            callback=in_range(0),
            help="Give up a peer when it has completed no event for this time. inf: never.",
            rich_help_panel=DELIVERY,
        ),
    ] = 60.0,
    retry_statuses: Annotated[
        list[str] | None,
        typer.Option(
            "--retry-status",
            metavar="STATUS",
            help="Retry an event whose response has this Status (hexadecimal). Repeatable. "
            "Default: 0110 and 0213. none: accept every Status as the outcome.",
            rich_help_panel=DELIVERY,
        ),
    ] = None,
    response_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Abort the association if a response takes longer.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = 30.0,
    transfer_syntax: EncodedSyntax = None,
    lenient_uids: LenientUIDs = False,
    ignore_columns: IgnoreColumns = False,
    outcomes: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write the outcome of each event to this file of rows; format by the suffix.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Plot the latencies, and the rate over time, as .svg or .png.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    as_json: Annotated[
        bool, flag("--json", "Print the outcomes as a JSON object instead of a table.", RESULTS)
    ] = False,
    tls: UseTLS = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    no_hostname_check: NoHostnameCheck = False,
    username: Username = None,
    passcode: Passcode = None,
) -> None:
    """Deliver events to one or more peers, and report the outcomes.

    Several files are sent in the given order, and sorted by name in a folder. All columns are
    checked before the first event is sent.

    Each event is sent to all peers. If the rows have a column Peer, each is sent only to the peer
    with this called AE title (--called-ae, --peer HOST:PORT:AE).

    If an association fails, a new one is opened, and events without a response are sent again.

    Ctrl-C stops sending, waits for the outstanding responses, releases the associations and exits
    with code 130. A second Ctrl-C exits immediately. The exit code is 1 if an event was not
    delivered, or if the Status of its response is a failure. With --outbox, this includes the
    events of IN that an earlier run completed.

    Example: fastdimse send reports.ndjson pacs.example.org 104 --called-ae PACS
    """
    outcomes_format = None if outcomes is None else format_of(outcomes, option="")
    if picture is not None:
        picture_format(picture)
    common: dict[str, Any] = {
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
    retry = _parse_statuses(retry_statuses)
    with invalid_options():
        to = [Peer(host, port, called_ae=title, **common) for host, port, title in addresses]
    with open_events(
        events,
        row_format,
        transfer_syntax,
        ignore_columns=ignore_columns,
        identify=outbox is not None,
        peers=_names_of(to),
    ) as (to_send, parts):
        with invalid_options():
            delivery = Delivery(
                to, outbox=outbox, give_up_after=give_up_after, retry_statuses=retry
            )
        sources: list[str] = []
        _report_outbox(delivery)
        begin = time.monotonic()
        try:
            putter = _Putter(
                delivery,
                parts,
                sources,
                enforce_uid_conformance=not lenient_uids,
                other_columns="ignore" if ignore_columns else "raise",
            )
            was_interrupted = _deliver(delivery, putter, to_send)
        finally:
            progress, seconds = delivery.progress(), time.monotonic() - begin
            if as_json:
                print_json(summary(progress, seconds))
            elif any(one.due or one.answered or one.failures for one in progress):
                print_summary(progress, seconds)
    for line in to_send.omitted:
        note(f"not sent: {line}")
    for line in to_send.unreadable.first:
        note(f"not sent: {line}")
    if (more := to_send.unreadable.count - len(to_send.unreadable.first)) > 0:
        note(f"not sent: {plural(more, 'more row')}; --outcomes FILE writes all of them")
    if outcomes is not None and outcomes_format is not None:
        _write_outcomes(delivery, outcomes, outcomes_format)
    if picture is not None:
        draw([(peer.name, delivery.outcomes(peer)) for peer in delivery.peers], picture)
    if was_interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    all_delivered = _report_earlier_failures(delivery, sources) and _all_delivered(delivery)
    if to_send.omitted or not all_delivered:
        raise typer.Exit(ExitCode.INCOMPLETE)


# -------------------------------------------------------------------- options


def _address(text: str) -> tuple[str, int, str]:
    """Parse ``HOST:PORT`` or ``HOST:PORT:AE``; an IPv6 address is in brackets."""
    host, _, rest = text[1:].partition("]:") if text[:1] == "[" else text.partition(":")
    port, _, title = rest.partition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--peer must be HOST:PORT or HOST:PORT:AE, not '{text}'")
    return host, int(port), title or _DEFAULT_AE


def _names_of(peers: list[Peer]) -> list[str]:
    """Return the values of a column Peer: names of peers, and titles that one of them has."""
    titles = Counter(peer.called_ae for peer in peers)
    return [
        *(peer.name for peer in peers),
        *(title for title, count in titles.items() if count == 1),
    ]


def _parse_statuses(given: list[str] | None) -> list[int]:
    """Parse Statuses: ``0110``, ``0x0110`` or ``0110H``, or the single word ``none``."""
    if given is None:
        return list(RETRY_STATUSES)
    if given == ["none"]:
        return []
    for text in given:
        if re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,4}[hH]?", text) is None:
            raise InputError(
                f"--retry-status must be a hexadecimal Status such as 0110, or none, not '{text}'"
            )
    return [int(text.rstrip("hH"), 16) for text in given]


# ------------------------------------------------------------------- delivery


class _Putter(threading.Thread):
    """Puts events into a delivery while the main thread shows its progress."""

    def __init__(
        self,
        delivery: Delivery,
        parts: Iterator[Part],
        sources: list[str],
        *,
        enforce_uid_conformance: bool,
        other_columns: Literal["raise", "ignore"],
    ) -> None:
        # A daemon: it may block on a pipe that stays empty.
        super().__init__(daemon=True)
        self.count = 0
        self.failure: BaseException | None = None
        self._delivery = delivery
        self._parts = parts
        self.sources = sources
        self._enforce_uid_conformance = enforce_uid_conformance
        self._other_columns = other_columns

    def run(self) -> None:
        """Put all events."""
        try:
            for part in self._parts:
                if part.source is not None:
                    self.sources.append(part.source)
                with part.invalid_events():
                    put = self._delivery._put(
                        part.events,
                        None,
                        PutOptions(
                            part.transfer_syntax, self._enforce_uid_conformance, part.source
                        ),
                        self._other_columns,
                        part.unreadable,
                    )
                self.count += len(put)
        except BaseException as error:
            self.failure = error


def _deliver(delivery: Delivery, putter: _Putter, to_send: EventsToSend) -> bool:
    """Deliver all events, and return whether a signal interrupted that."""
    with LiveTable() as live:
        try:
            putter.start()
            while putter.is_alive() or not delivery.wait(_UPDATE_INTERVAL):
                putter.join(_UPDATE_INTERVAL)
                progress = delivery.progress()
                table = partial(delivery_table, progress, to_send.total)
                live.show(sum(one.answered for one in progress), table)
                if all(one.state in _FINAL_STATES for one in progress):
                    delivery.wait(0)
                    break
        except (KeyboardInterrupt, SystemExit):
            note("waiting for outstanding responses; press Ctrl-C again to exit immediately")
            _close(delivery)
            return True
        except BaseException:
            delivery.close()
            raise
    # Before the delivery is closed: the thread fails after that in any case.
    failure = putter.failure
    _close(delivery)
    if failure is not None:
        raise failure
    if putter.sources and to_send.total is not None and putter.count < to_send.total:
        earlier = to_send.total - putter.count
        note(f"{plural(earlier, 'event')} of this input already in the outbox")
    return False


def _close(delivery: Delivery) -> None:
    try:
        delivery.close()
    except (KeyboardInterrupt, SystemExit):
        delivery.close(at_once=True)


# -------------------------------------------------------------------- results


def _report_outbox(delivery: Delivery) -> None:
    for progress in delivery.progress():
        if progress.due:
            note(f"{progress.peer.name}: {plural(progress.due, 'event')} due from an earlier run")
    for name, due in delivery.due_to_other_peers().items():
        note(f"{name}: {plural(due, 'event')} due, but this run does not send to that peer")


def _all_delivered(delivery: Delivery) -> bool:
    return all(
        not progress.due
        and not progress.failures
        and all(status_category(status) in _DELIVERED for status in progress.statuses)
        for progress in delivery.progress()
    )


def _report_earlier_failures(delivery: Delivery, sources: list[str]) -> bool:
    """Report events of this input that failed in earlier runs; return whether there are none."""
    none_failed = True
    for progress in delivery.progress():
        for (status, code), count in delivery.count_outcomes(progress.peer, sources).items():
            if status is not None and status_category(status) in _DELIVERED:
                continue
            now = progress.failures.get(code or "", 0)
            outcome = f"not sent: {code}"
            if status is not None:
                now, outcome = progress.statuses.get(status, 0), describe_status(status)
            if count > now:
                events = plural(count - now, "event")
                note(f"{progress.peer.name}: {events} of this input failed earlier: {outcome}")
                none_failed = False
    return none_failed


def _write_outcomes(delivery: Delivery, path: str, chosen: RowFormat) -> None:
    with atomic_output(path) as sink:
        rows = RowWriter(sink, path, chosen, _OUTCOME_COLUMNS)
        for peer in delivery.peers:
            columns = delivery.outcomes(peer)
            count = len(columns["Event"])
            table = pa.table({"Peer": [peer.name] * count, **columns}, schema=_OUTCOME_COLUMNS)
            rows.write(table)
        rows.close()
