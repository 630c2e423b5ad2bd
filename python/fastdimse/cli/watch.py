"""``fastdimse watch``: subscribe to UPS events, and print them as they arrive."""

import base64
import queue
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import typer

from fastdimse import AssociationError, Listener, Peer, events, listen, ups
from fastdimse._pydicom import load as load_pydicom

from .errors import InputError, invalid_options
from .exit_codes import ExitCode
from .options import (
    ASSOCIATION,
    Ca,
    Certificate,
    Host,
    Key,
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
    server_tls,
)
from .signals import first_signal
from .terminal import error_line, note, print_json, print_line

_SUCCESS = 0x0000
# PS3.7 10.1.1.1.8.
_NO_SUCH_EVENT_TYPE = 0x0113
_INVALID_ARGUMENT_VALUE = 0x0115
# Seconds between two looks at signals.
_INTERVAL = 0.1
# Seconds without an event after which an association is aborted: an SCP can keep it open.
_IDLE_SECONDS = 3600.0
# Seconds that the SCP has, after the last response, to release its associations.
_RELEASE_SECONDS = 2.0


def watch(
    host: Host,
    port: Port,
    listen_port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="PORT",
            callback=in_range(0, 65535),
            help="Local port to listen on. The SCP must be configured with it. 0: a free port.",
        ),
    ] = 11113,
    listen_host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Local address to listen on.")
    ] = "0.0.0.0",
    steps: Annotated[
        list[str] | None,
        typer.Option(
            "--ups",
            metavar="UID",
            help="SOP Instance UID of a UPS to watch. Repeatable. Default: all UPS.",
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="KEY=VALUE",
            help="Watch only UPS with this attribute, as in a C-FIND: wild cards and ranges are "
            "possible. Repeatable. KEY is a keyword, or the keywords of a sequence and of its "
            "attribute with a full stop between them.",
        ),
    ] = None,
    deletion_lock: Annotated[
        bool,
        flag("--deletion-lock", "Request that the SCP keeps the UPS until the watch ends."),
    ] = False,
    as_json: Annotated[bool, flag("--json", "Print each event as a line of JSON.")] = False,
    stop_after: Annotated[
        int | None,
        typer.Option(metavar="N", callback=in_range(1), help="Exit after this many events."),
    ] = None,
    called_ae: PeerAE = "ANY-SCP",
    calling_ae: Annotated[
        str,
        typer.Option(
            "--calling-ae",
            metavar="AE",
            help="Local AE title, to which the SCP sends the events.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = "WATCHER",
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Timeout of each step of a request: the connection, the association, the "
            "response.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = 10.0,
    tls: UseTLS = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    no_hostname_check: NoHostnameCheck = False,
    username: Username = None,
    passcode: Passcode = None,
) -> None:
    """Subscribe to the events of unified procedure steps (UPS), and print them as they arrive.

    The SCP sends the events on associations that it opens: it must be configured with the address
    of the local AE title. With --certificate and --key, these associations must use TLS too.

    Ctrl-C (or SIGTERM) ends the subscriptions and exits with code 0. A second signal exits
    immediately. The exit code is 1 if the SCP refuses a subscription or does not respond.

    Example: fastdimse watch worklist.example.org 11112 --called-ae WORKLIST
    """
    # The handler's threads need it.
    load_pydicom()
    if steps and filters:
        raise InputError("--ups and --filter cannot be combined")
    keys = _matching_keys(filters) if filters else None
    secure = client_tls(
        tls=tls,
        ca=ca,
        certificate=certificate,
        key=key,
        server_name=server_name,
        no_hostname_check=no_hostname_check,
    )
    received: queue.SimpleQueue[_Event] = queue.SimpleQueue()
    with first_signal() as is_signalled:
        with invalid_options():
            peer = Peer(
                host,
                port,
                called_ae=called_ae,
                calling_ae=calling_ae,
                role="scu",
                sop_classes=[ups.WATCH],
                connection_timeout=timeout,
                association_timeout=timeout,
                response_timeout=timeout,
                tls=secure,
                username=username,
                passcode=passcode,
            )
            # The first events can arrive before the response to the subscription.
            listener = listen(
                listen_port,
                host=listen_host,
                event_handler=_Handler(received).respond,
                sop_classes=[ups.EVENT],
                idle_timeout=_IDLE_SECONDS,
                tls=server_tls(None if certificate is None else ca, certificate, key),
            )
        with listener:
            note(f"{calling_ae} listens on {listen_host}:{listener.port}")
            show = _print_json if as_json else _print_text
            subscription = _Subscription(peer, steps or [None], keys, deletion_lock)
            try:
                is_complete = subscription.begin()
                if is_complete:
                    for event in _events(received, stop_after, is_signalled):
                        show(event)
                        if _has_lost_subscriptions(event.information):
                            note("the SCP has lost its subscriptions: subscribing again")
                            subscription.begin()
            finally:
                is_ended = subscription.end()
                _wait_for_release(listener)
            if is_complete and stop_after is None:
                for event in _events(received, received.qsize(), lambda: False):
                    show(event)
    if not (is_complete and is_ended):
        raise typer.Exit(ExitCode.INCOMPLETE)


def _matching_keys(filters: list[str]) -> dict[str, Any]:
    """Return the matching keys of options KEY=VALUE."""
    keys: dict[str, Any] = {}
    for text in filters:
        path, separator, value = text.partition("=")
        *sequences, keyword = path.split(".")
        if not separator or not all((*sequences, keyword)):
            raise InputError(f"--filter must be KEY=VALUE, not {text}")
        item = keys
        for sequence in sequences:
            items = item.setdefault(sequence, [{}])
            if not isinstance(items, list):
                raise InputError(f"--filter {text}: {sequence} has a value already")
            item = items[0]
        if keyword in item:
            raise InputError(f"--filter {text}: {keyword} has a value already")
        item[keyword] = value
    return keys


class _Subscription:
    """The subscriptions of a watch. Failures are printed."""

    def __init__(
        self,
        peer: Peer,
        steps: list[str] | list[None],
        keys: dict[str, Any] | None,
        deletion_lock: bool,
    ) -> None:
        self._peer, self._steps, self._keys = peer, steps, keys
        self._deletion_lock = deletion_lock
        self._subscribed: list[str | None] = []

    def begin(self) -> bool:
        """Subscribe, and return whether all subscriptions were accepted."""
        self._subscribed.clear()
        with _Failures(self._peer) as failures, self._peer.connect() as association:
            for uid in self._steps:
                with invalid_options():
                    status = ups.subscribe(
                        association,
                        uid,
                        filter=self._keys,
                        deletion_lock=self._deletion_lock,
                        receiving_ae=self._peer.calling_ae,
                    )
                self._subscribed.append(uid)
                if status is ups.UPSStatus.DELETION_LOCK_NOT_GRANTED:
                    note(f"{uid or 'all UPS'}: {status.meaning}")
        return not failures.found

    def end(self) -> bool:
        """Unsubscribe, and return whether that succeeded."""
        if not self._subscribed:
            return True
        with _Failures(self._peer) as failures, self._peer.connect() as association:
            for uid in self._subscribed:
                ups.unsubscribe(association, uid, receiving_ae=self._peer.calling_ae)
        return not failures.found


class _Failures:
    """Prints the failure of the requests in a ``with`` block."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.found = False

    def __enter__(self) -> "_Failures":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, AssociationError | ups.UPSError):
            return False
        self.found = True
        peer = self._peer
        error_line(f"{peer.called_ae}@{peer.host}:{peer.port}: {error}")
        return True


class _Event(NamedTuple):
    """A received event."""

    time: datetime
    sender: str
    uid: str
    event_type: int
    name: str
    information: dict[str, Any]


class _Handler:
    """Puts events into a queue, and returns their Status."""

    def __init__(self, received: "queue.SimpleQueue[_Event]") -> None:
        self._received = received

    def respond(self, received: Any) -> int:
        """Respond to an event."""
        request = received.request
        event_type = events.event_type(ups.PUSH, request.EventTypeID)
        if event_type is None:
            return _NO_SUCH_EVENT_TYPE
        try:
            information = received.attributes or {}
        except ValueError:
            # Not a data set of the negotiated transfer syntax.
            return _INVALID_ARGUMENT_VALUE
        self._received.put(
            _Event(
                received.time,
                received.calling_ae,
                str(request.AffectedSOPInstanceUID),
                event_type.id,
                event_type.name,
                information,
            )
        )
        return _SUCCESS


def _events(
    received: "queue.SimpleQueue[_Event]",
    count: int | None,
    is_signalled: Callable[[], bool],
) -> Iterator[_Event]:
    """Yield events until a signal was received, or `count` of them were yielded."""
    yielded = 0
    while yielded != count and not is_signalled():
        try:
            event = received.get(timeout=_INTERVAL)
        except queue.Empty:
            continue
        yield event
        yielded += 1


def _has_lost_subscriptions(information: dict[str, Any]) -> bool:
    """Return whether an event is an SCP Status Change after a cold start (PS3.4 CC.2.4.2).

    CC.2.4.3 has two spellings: COLD START and COLD STARTED.
    """
    status = _text(information.get("SubscriptionListStatus"))
    return information.get("SCPStatus") == "RESTARTED" and status.startswith("COLD")


def _wait_for_release(listener: Listener) -> None:
    """Let the SCP read the last responses and release its associations."""
    end = time.monotonic() + _RELEASE_SECONDS
    while listener.connections and time.monotonic() < end:
        time.sleep(0.01)


def _print_json(event: _Event) -> None:
    print_json(
        {
            "Time": event.time.isoformat(),
            "CallingAETitle": event.sender,
            "AffectedSOPInstanceUID": event.uid,
            "EventTypeID": event.event_type,
            "EventTypeName": event.name,
            "EventInformation": event.information,
        },
        default=_encoded,
    )


def _encoded(value: Any) -> Any:
    """Return binary values as `decode` writes them."""
    return {"InlineBinary": base64.b64encode(value).decode()}


def _print_text(event: _Event) -> None:
    time = event.time.strftime("%Y-%m-%d %H:%M:%S")
    details = ", ".join(filter(None, _details(event.information)))
    print_line("  ".join((time, event.sender, event.uid, event.name, details)).rstrip())
    sys.stdout.flush()


def _details(information: dict[str, Any]) -> Iterator[str]:
    """Yield the values of an event that a person needs."""
    for keyword in _SHOWN:
        yield _text(information.get(keyword))
    for item in information.get("ProcedureStepProgressInformationSequence") or []:
        progress = _text(item.get("ProcedureStepProgress"))
        yield progress and f"{progress} %"
        yield _text(item.get("ProcedureStepProgressDescription"))
    for keyword in _CODES:
        for code in information.get(keyword) or []:
            yield _text(code.get("CodeMeaning") or code.get("CodeValue"))


_SHOWN = (
    "ProcedureStepState",
    "InputReadinessState",
    "RequestingAE",
    "ReasonForCancellation",
    "ContactDisplayName",
    "ContactURI",
    "SCPStatus",
    "SubscriptionListStatus",
    "UnifiedProcedureStepListStatus",
    "HumanPerformerOrganization",
)
_CODES = (
    "ProcedureStepDiscontinuationReasonCodeSequence",
    "ScheduledStationNameCodeSequence",
    "HumanPerformerCodeSequence",
)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
