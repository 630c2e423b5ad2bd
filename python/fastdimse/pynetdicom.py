"""A seat inside pynetdicom: its own associations run on our class and our codec.

One line, before the first association is made::

    import fastdimse.pynetdicom

    fastdimse.pynetdicom.install()

What is put in place, and taken back by :func:`uninstall`:

- ``N_EVENT_REPORT`` in every module of pynetdicom that has it.
- N-EVENT-REPORT messages are encoded and decoded by the core. ``command_set`` is made when
  someone looks at it.
- A message leaves in one write, and TCP_NODELAY is set on new connections.
- A thread that would sleep wakes when there is something to do, and sleeps longer when there is
  nothing.
"""

from __future__ import annotations

import logging
import select
import socket
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import pairwise
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

from fastdimse import EncodeError
from fastdimse._core import frame_message, read_message
from fastdimse._primitive import N_EVENT_REPORT

__all__ = ["TESTED_VERSIONS", "install", "installed", "is_installed", "uninstall"]

# 2.1.1 says of itself that it is 2.1.0; they differ in the timers of Windows.
TESTED_VERSIONS = ("2.0.2", "2.1.0", "2.1.1", "3.0.4")
"""The versions of pynetdicom whose inner parts are known."""

_lock = threading.RLock()
_patches: _Patches | None = None
_asked_for = False  # by install(), until uninstall()
_blocks = 0  # of installed(), open in whatever thread


def is_installed() -> bool:
    """Return whether pynetdicom runs on fastdimse."""
    return _patches is not None


def install() -> None:
    """Let pynetdicom run on fastdimse.

    Associations that exist already keep their sockets as they are. Calling this again changes
    nothing.

    Warns
    -----
    UserWarning
        If the version of pynetdicom is not one of :data:`TESTED_VERSIONS`: then only the class is
        put in place, not the codec and the wire.

    Raises
    ------
    ImportError
        If there is no pynetdicom.

    Examples
    --------
    >>> import pynetdicom.dimse_primitives
    >>> import fastdimse.pynetdicom
    >>> with fastdimse.pynetdicom.installed():
    ...     pynetdicom.dimse_primitives.N_EVENT_REPORT is fastdimse.N_EVENT_REPORT
    True
    """
    global _asked_for
    with _lock:
        _put_in_place()
        _asked_for = True


def uninstall() -> None:
    """Leave pynetdicom as it was before :func:`install`."""
    global _asked_for
    with _lock:
        _asked_for = False
        _take_back()


@contextmanager
def installed() -> Iterator[None]:
    """Let pynetdicom run on fastdimse inside a ``with`` block.

    Inside a block of another :func:`installed`, or after :func:`install`, it changes nothing.
    Blocks may be open in several threads: the last one takes it back.
    """
    global _blocks
    with _lock:
        _put_in_place()
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks and not _asked_for:
                _take_back()


def _put_in_place() -> None:
    global _patches
    if _patches is not None:
        return
    import pynetdicom

    version = pynetdicom.__version__
    patches = _Patches()
    try:
        _install_class(patches)
        if version in TESTED_VERSIONS:
            _install_messages(patches)
            _install_wire(patches)
    except BaseException:
        patches.undo()
        raise
    _patches = patches
    if version not in TESTED_VERSIONS:
        tested = ", ".join(TESTED_VERSIONS)
        warnings.warn(
            f"pynetdicom {version} is not one of the versions that fastdimse knows ({tested}): "
            "its N_EVENT_REPORT is replaced, its codec and its sockets are left as they are",
            stacklevel=3,
        )


def _take_back() -> None:
    global _patches
    if _patches is not None:
        _patches.undo()
        _patches = None


class _Patches:
    """What was replaced, to be put back in reverse."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def attribute(self, owner: Any, name: str, value: Any) -> Any:
        """Replace an attribute of a module or class; return what it was."""
        before = owner.__dict__.get(name)
        if name in owner.__dict__:
            self._undo.append(lambda: setattr(owner, name, before))
        else:
            self._undo.append(lambda: delattr(owner, name))
        setattr(owner, name, value)
        return before

    def item(self, owner: dict[Any, Any], key: Any, value: Any) -> None:
        """Replace or add an item of a dictionary."""
        if key in owner:
            before = owner[key]
            self._undo.append(lambda: owner.__setitem__(key, before))
        else:
            self._undo.append(lambda: owner.pop(key, None))
        owner[key] = value

    def call(self, undo: Callable[[], None]) -> None:
        """Call this when it is undone."""
        self._undo.append(undo)

    def undo(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()


# ----------------------------------------------------------------- the class


def _modules() -> list[ModuleType]:
    return [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "pynetdicom" and isinstance(module, ModuleType)
    ]


def _swap_class(old: type, new: type) -> None:
    for module in _modules():
        for name, value in list(vars(module).items()):
            if value is old:
                setattr(module, name, new)


def _install_class(patches: _Patches) -> None:
    from pynetdicom import association, dimse, dimse_messages, dimse_primitives, service_class

    # Imported, so that they have it before it is replaced.
    del service_class
    reactor = association.Association
    theirs = dimse_primitives.N_EVENT_REPORT
    # Looked for again when it is undone: modules may have been imported in between.
    patches.call(lambda: _swap_class(N_EVENT_REPORT, theirs))
    _swap_class(theirs, N_EVENT_REPORT)
    patches.item(dimse_messages._MSG_TO_PRIMITVE, "N_EVENT_REPORT", N_EVENT_REPORT)
    # Their class keeps its place: a program may have instances of it.
    both = (dimse._RQ_TO_MESSAGE, dimse._RSP_TO_MESSAGE)
    for messages in both:
        messages[N_EVENT_REPORT] = messages[theirs]

    def forget() -> None:
        # An association that lives on may be about to send one of ours.
        if not any(isinstance(thread, reactor) for thread in threading.enumerate()):
            for messages in both:
                messages.pop(N_EVENT_REPORT, None)

    patches.call(forget)


# -------------------------------------------------------------- the messages


class _Encoded:
    """What a message holds instead of a `Dataset` as long as nobody looks at it."""

    __slots__ = ("command_set", "event")

    def __init__(self, command_set: bytes, event: N_EVENT_REPORT | None) -> None:
        self.command_set = command_set
        self.event = event


def _install_messages(patches: _Patches) -> None:
    from pydicom.dataset import Dataset
    from pydicom.filereader import read_dataset
    from pynetdicom import _handlers, dimse_messages, dsutils

    base = dimse_messages.DIMSEMessage
    requests, responses = dimse_messages.N_EVENT_REPORT_RQ, dimse_messages.N_EVENT_REPORT_RSP
    p_data = dimse_messages.P_DATA
    init, decode_msg, encode_msg = base.__init__, base.decode_msg, base.encode_msg
    to_primitive, to_message = base.message_to_primitive, base.primitive_to_message

    ours = (base, requests, responses)
    unseen: WeakValueDictionary[int, Any] = WeakValueDictionary()

    def make_command_set(message: Any) -> Any:
        held = message.__dict__.get("_fastdimse_encoded")
        if held is not None:
            command_set = read_dataset(BytesIO(held.command_set), True, True)
        else:
            # The empty elements of a new message.
            command_set = Dataset()
            name = type(message).__name__.replace("_", "-")
            for keyword in dimse_messages._COMMAND_SET_KEYWORDS.get(name, ()):
                setattr(command_set, keyword, None)
        return message.__dict__.setdefault("command_set", command_set)

    def get_missing(self: Any, name: str) -> Any:
        if name == "command_set":
            return make_command_set(self)
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(text, name=name, obj=self)

    def hold(message: Any, encoded: _Encoded | None) -> None:
        """Let a message have no command set until someone looks at it."""
        message.__dict__.pop("command_set", None)
        message._fastdimse_encoded = encoded
        unseen[id(message)] = message
        if base.__dict__.get("decode_msg") is not new_decode_msg:
            make_command_set(message)  # It has been undone meanwhile.

    def held_by(message: Any) -> _Encoded | None:
        if "command_set" in message.__dict__:
            return None  # Someone has looked at it, and may have changed it.
        held: _Encoded | None = message.__dict__.get("_fastdimse_encoded")
        return held

    def show_all() -> None:
        for reference in unseen.valuerefs():
            message = reference()
            if message is not None:
                make_command_set(message)

    def new_init(self: Any) -> None:
        if type(self) not in ours:
            init(self)
            return
        hold(self, None)
        self.context_id = None
        self.encoded_command_set = BytesIO()
        self.data_set = BytesIO()
        self._data_set_path = None
        self._data_set_file = None

    def new_to_message(self: Any, primitive: Any) -> None:
        expects_response = type(self) is responses
        if (
            type(primitive) is not N_EVENT_REPORT
            or (primitive.MessageIDBeingRespondedTo is not None) != expects_response
            or primitive._dataset_path
        ):
            to_message(self, primitive)
            return
        encoded = None
        with suppress(EncodeError, TypeError):
            encoded = primitive.encode_command_set()
        if encoded is None:
            # Theirs tells what is wrong in its own way.
            to_message(self, primitive)
            return
        self.data_set = primitive.EventInformation
        self._data_set_path = primitive._dataset_path
        hold(self, _Encoded(encoded, None))

    def new_encode_msg(self: Any, context_id: int, max_pdu_length: int) -> Iterator[Any]:
        held = held_by(self)
        # Too little room for a fragment: theirs raises the error that programs know.
        no_room = 0 < max_pdu_length < 7
        if held is None or self._data_set_path is not None or no_room:
            yield from encode_msg(self, context_id, max_pdu_length)
            return
        self.context_id = context_id
        data_set = b"" if self.data_set is None else self.data_set.getvalue()
        pdus = frame_message(held.command_set, data_set, context_id, max_pdu_length)
        for pdu in pdus:
            fragment = p_data()
            # Behind the PDU's header, the PDV's length and its context ID.
            fragment.presentation_data_value_list.append((context_id, pdu[11:]))
            fragment._fastdimse_pdu = pdu
            yield fragment

    def new_decode_msg(self: Any, primitive: Any, assoc: Any = None) -> Any:
        pdvs = primitive.presentation_data_value_list if type(primitive) is p_data else []
        # Theirs logs at DEBUG that it reads a command set.
        is_logged = dsutils.LOGGER.isEnabledFor(logging.DEBUG)
        if is_logged or not pdvs or type(self) is not base or self.encoded_command_set.tell():
            return decode_msg(self, primitive, assoc)
        context_id, data = pdvs[0]
        read = read_message(bytes(data[1:])) if data and data[0] & 3 == 3 else None
        if read is None:
            return decode_msg(self, primitive, assoc)
        event, data_set_follows = read
        encoded = bytes(data[1:])
        self.encoded_command_set.write(encoded)
        self.context_id = context_id
        is_request = event.MessageIDBeingRespondedTo is None
        self.__class__ = requests if is_request else responses
        hold(self, _Encoded(encoded, event))
        if not data_set_follows:
            return True
        rest = p_data()
        rest.presentation_data_value_list.extend(pdvs[1:])
        return decode_msg(self, rest, assoc)

    def new_to_primitive(self: Any) -> Any:
        held = held_by(self)
        event = None if held is None else held.event
        if event is None:
            return to_primitive(self)
        event.EventInformation = self.data_set
        event._context_id = self.context_id
        event._dataset_path = self._data_set_path
        event._dataset_file = self._data_set_file
        return event

    patches.call(show_all)
    patches.attribute(base, "__getattr__", get_missing)
    patches.attribute(base, "__init__", new_init)
    patches.attribute(base, "decode_msg", new_decode_msg)
    for message in (requests, responses):
        patches.attribute(message, "primitive_to_message", new_to_message)
        patches.attribute(message, "encode_msg", new_encode_msg)
        patches.attribute(message, "message_to_primitive", new_to_primitive)

    def is_whole(message: Any) -> bool:
        """Return whether a logging handler would find all that it writes."""
        held = held_by(message)
        read = None if held is None else read_message(held.command_set)
        if read is None:
            return False
        event = read[0]
        found = [event.MessageID if type(message) is requests else event.Status]
        found += [event.EventTypeID, event.AffectedSOPClassUID, event.AffectedSOPInstanceUID]
        return None not in found and "" not in found

    for name in ("recv_n_event_report_rq", "recv_n_event_report_rsp"):
        _quiet(patches, _handlers, f"_{name}", is_whole)
        _quiet(patches, _handlers, f"_{name.replace('recv', 'send')}", is_whole)


def _quiet(
    patches: _Patches, handlers: ModuleType, name: str, is_whole: Callable[[Any], bool]
) -> None:
    """Let a logging handler that writes only at DEBUG look at a message only then.

    What it can't find in a message is logged at every level.
    """
    handler = getattr(handlers, name)
    logger = handlers.LOGGER

    def when_debugging(event: Any) -> list[str]:
        if logger.isEnabledFor(logging.DEBUG) or not is_whole(event.message):
            lines: list[str] = handler(event)
            return lines
        return []

    patches.attribute(handlers, name, when_debugging)


# ------------------------------------------------------------------ the wire


def _install_wire(patches: _Patches) -> None:
    from pynetdicom import PYNETDICOM_UID_PREFIX, association, dimse, dul, evt, transport

    responses = dimse.N_EVENT_REPORT_RSP
    init = transport.AssociationSocket.__init__
    provider, reactor = dul.DULServiceProvider, association.Association

    def new_init(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        _set_no_delay(self.socket)

    def new_send(self: Any, bytestream: bytes) -> Any:
        ahead = self.__dict__.setdefault("_fastdimse_ahead", deque())
        if ahead and ahead[0] == bytestream:
            # Written with one before it.
            ahead.popleft()
            evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})
            return None
        following = _pdus_behind(bytestream, self.assoc.dul.to_provider_queue)
        if not following:
            return send(self, bytestream)
        try:
            self.socket.sendall(b"".join([bytestream, *following]))
        except Exception:
            # As theirs: the transport connection is closed.
            self.event_queue.put("Evt17")
            return None
        ahead.extend(following)
        evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})
        return None

    def new_send_pdu(self: Any, primitive: Any) -> None:
        send_pdu(self, primitive)
        _wake(self)

    def new_send_msg(self: Any, primitive: Any, context_id: int) -> None:
        if type(primitive) is not N_EVENT_REPORT:
            send_msg(self, primitive, context_id)
            return
        is_request = primitive.MessageIDBeingRespondedTo is None
        messages = dimse._RQ_TO_MESSAGE if is_request else dimse._RSP_TO_MESSAGE
        message = messages[N_EVENT_REPORT]()
        message.primitive_to_message(primitive)
        message.context_id = context_id
        evt.trigger(self.assoc, evt.EVT_DIMSE_SENT, {"message": message})
        fragments = list(message.encode_msg(context_id, self.maximum_pdu_size))
        for before, fragment in pairwise(fragments):
            fragment._fastdimse_follows = getattr(before, "_fastdimse_pdu", None)
        if type(self.dul) is not provider or "send_pdu" in vars(self.dul):
            # A program's own upper layer.
            for fragment in fragments:
                self.dul.send_pdu(fragment)
            return
        # All at once, so that the upper layer's thread finds the message whole.
        waiting = self.dul.to_provider_queue
        with waiting.mutex:
            waiting.queue.extend(fragments)
            waiting.unfinished_tasks += len(fragments)
            waiting.not_empty.notify()
        _wake(self.dul)

    def new_receive_primitive(self: Any, primitive: Any) -> None:
        receive_primitive(self, primitive)
        if self.message is None:
            return
        peer = self.assoc.acceptor if self.assoc.is_requestor else self.assoc.requestor
        # A plain pynetdicom had better not have its requests answered so quickly: now and then
        # its reactor takes the answer away, as `_Checkpoint` tells.
        is_plain = str(peer.implementation_class_uid).startswith(PYNETDICOM_UID_PREFIX)
        if type(self.message) is responses or not is_plain:
            _acknowledge(self.dul)

    def new_kill_dul(self: Any) -> None:
        kill_dul(self)
        _wake(self)

    def new_run_reactor(self: Any) -> None:
        # Without file descriptors to spare it sleeps as theirs does.
        with suppress(OSError):
            self._fastdimse_waker = _Waker()
        try:
            run_reactor(self)
        finally:
            if "_fastdimse_waker" in self.__dict__:
                self._fastdimse_waker.close()

    def new_reactor_init(self: Any, *args: Any, **kwargs: Any) -> None:
        reactor_init(self, *args, **kwargs)
        self._reactor_checkpoint = _Checkpoint(self)

    def new_serve_request(self: Any, msg: Any, context_id: int) -> None:
        if type(msg) is not N_EVENT_REPORT or threading.current_thread() is self:
            serve_request(self, msg, context_id)
            return
        _until_established(self)
        _served.association = self
        try:
            serve_request(self, msg, context_id)
        finally:
            _served.association = None

    def get_paused(self: Any) -> bool:
        paused: bool = self.__dict__["_is_paused"]
        return paused

    def set_paused(self: Any, paused: bool) -> None:
        # The thread that serves an event says it too, but it is not the one that others wait for.
        serves = getattr(_served, "association", None) is self
        if not serves or (paused and self._kill):
            self.__dict__["_is_paused"] = paused

    patches.attribute(transport.AssociationSocket, "__init__", new_init)
    reactor_init = patches.attribute(reactor, "__init__", new_reactor_init)
    serve_request = patches.attribute(reactor, "_serve_request", new_serve_request)
    patches.attribute(reactor, "_is_paused", property(get_paused, set_paused))
    send = patches.attribute(transport.AssociationSocket, "send", new_send)
    send_pdu = patches.attribute(provider, "send_pdu", new_send_pdu)
    kill_dul = patches.attribute(provider, "kill_dul", new_kill_dul)
    run_reactor = patches.attribute(provider, "run_reactor", new_run_reactor)
    send_msg = patches.attribute(dimse.DIMSEServiceProvider, "send_msg", new_send_msg)
    receive_primitive = patches.attribute(
        dimse.DIMSEServiceProvider, "receive_primitive", new_receive_primitive
    )
    patches.attribute(dul, "time", _Clock(provider, _wait_for_work))
    patches.attribute(association, "time", _Clock(reactor, _rest_of_the_reactor))


def _pdus_behind(first: bytes, waiting: Any) -> list[bytes]:
    """Return the PDUs that wait behind one that is being sent, and belong to its message."""
    following: list[bytes] = []
    before, size = first, len(first)
    with waiting.mutex:
        for primitive in waiting.queue:
            pdu = getattr(primitive, "_fastdimse_pdu", None)
            if pdu is None or getattr(primitive, "_fastdimse_follows", None) != before:
                break
            size += len(pdu)
            if size > _ONE_WRITE:
                break
            following.append(pdu)
            before = pdu
    return following


# Bytes. A longer message is written in several pieces.
_ONE_WRITE = 1 << 16


def _wake(provider: Any) -> None:
    waker = provider.__dict__.get("_fastdimse_waker")
    if waker is not None:
        waker.wake()


def _set_no_delay(connection: Any) -> None:
    # A program's own socket may be of another kind.
    with suppress(AttributeError, OSError, TypeError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _acknowledge(provider: Any) -> None:
    """Let the peer know at once that a piece of a message has arrived.

    A peer that writes command set and data set apart waits for that before it sends the rest
    (Nagle's algorithm), and TCP would let it wait for 40 ms.
    """
    # Linux has it; and a program's own upper layer may have no connection.
    with suppress(AttributeError, OSError, TypeError):
        provider.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class _Clock:
    """The module `time`, but for the sleeps of one kind of thread."""

    def __init__(self, kind: type, sleep: Callable[[Any, float], None]) -> None:
        self._kind = kind
        self._sleep = sleep

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        thread = threading.current_thread()
        if isinstance(thread, self._kind):
            self._sleep(thread, seconds)
        else:
            time.sleep(seconds)


class _Waker:
    """Ends the wait of an upper layer's thread from another thread."""

    def __init__(self) -> None:
        # Its descriptor must not be another file's by the time that it is written to.
        self._lock = threading.Lock()
        self.receiver, self._sender = socket.socketpair()
        self.receiver.setblocking(False)
        self._sender.setblocking(False)

    def wake(self) -> None:
        # Full: it will wake; closed: it has ended.
        with self._lock, suppress(OSError):
            self._sender.send(b"\0")

    def clear(self) -> None:
        with suppress(OSError):
            self.receiver.recv(4096)

    def close(self) -> None:
        with self._lock:
            self.receiver.close()
            self._sender.close()


def _wait_for_work(provider: Any, seconds: float) -> None:
    """Sleep until there is something to send or to receive, or as long as must be."""
    waker = provider.__dict__.get("_fastdimse_waker")
    if waker is None:
        time.sleep(seconds)
        return
    if provider.to_provider_queue.queue or provider.event_queue.queue:
        return
    watched = [waker.receiver]
    held = provider.socket
    if held is not None and held._is_connected and held.socket is not None:
        watched.append(held.socket)
    # Established, it waits for no timer (PS3.8 9.2.3), and whatever comes wakes it.
    idle = provider.state_machine.current_state == "Sta6" and provider.assoc._dul_ready.is_set()
    try:
        ready, _, _ = select.select(watched, [], [], seconds * _IDLE if idle else seconds)
    except (OSError, ValueError, TypeError):
        time.sleep(seconds)
        return
    if waker.receiver in ready:
        waker.clear()


# Times as long as pynetdicom's thread sleeps. What changes its attributes doesn't wake it.
_IDLE = 20


class _Checkpoint(threading.Event):
    """Where an association's reactor is held while a user's thread waits for an answer.

    Of a plain event the reactor can be past the wait and not yet have said so: a user's thread
    that comes back quickly takes it for paused, and the reactor takes the answer away.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; the reactor is no longer paused before it can be cleared."""
        with self._cond:  # type: ignore[attr-defined]
            passed = self._cond.wait_for(self.is_set, timeout)  # type: ignore[attr-defined]
            # Taken back, it is as of a plain one: its sleep says no longer that it is paused.
            if passed and is_installed():
                self._reactor._is_paused = False
            return bool(passed)


# The association whose event this thread serves.
_served = threading.local()


def _until_established(association: Any) -> None:
    """Wait while the association's thread has accepted but not yet said so.

    A quick peer's first event arrives in between. It is served in a thread of its own, and is
    not answered on an association that doesn't count as established.
    """
    end = time.monotonic() + (association.acse_timeout or _ESTABLISHING)
    while (
        not association.is_established
        and not association.is_aborted
        and not association.is_released
        and not association._kill
        and time.monotonic() < end
    ):
        time.sleep(_REACTOR_SLEEP / 4)


# Seconds, where a program has set no timeout.
_ESTABLISHING = 30.0


def _rest_of_the_reactor(reactor: Any, seconds: float) -> None:
    """Sleep, and be paused meanwhile: nothing is done that a user would have to wait for.

    It is so too when it waits for itself, to release an association that has been idle.
    """
    if isinstance(reactor._reactor_checkpoint, _Checkpoint):
        reactor._is_paused = True
    time.sleep(seconds)


# What only the association's reactor sleeps between its rounds.
_REACTOR_SLEEP = 0.001
