"""Deadlines apply to a complete unit: slow peers that send single bytes reach them."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from associations import until
from fastdimse import TLS, Association, AssociationError, Listener, connect, echo, listen
from scripted_peer import HOST, Conversation, peer
from test_delivery import events
from test_receiving import request
from test_tls import Authority

TIMEOUT = 0.4
# Extra seconds for a busy machine. The data in these tests would take longer.
LATE = 3.0
PAUSE = 0.03
ENDED = "(?i)reset|broken pipe|eof|closed"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that all applications trust."""
    return Authority(tmp_path_factory.mktemp("tls"))


def drip(connection: socket.socket, data: bytes) -> None:
    """Send data in single bytes."""
    for at in range(len(data)):
        connection.sendall(data[at : at + 1])
        time.sleep(PAUSE)


class Relay:
    """A relay between the two sides of a connection, which forwards one side's bytes slowly.

    Attributes
    ----------
    port : int
        Port for the connecting side.
    slow : str
        The side whose bytes are forwarded one by one: "connects", "listens" or "" for none.
    """

    def __init__(self, port: int, slow: str = "") -> None:
        self._server = socket.create_server((HOST, 0))
        self.port = int(self._server.getsockname()[1])
        self.slow = slow
        self._to = port
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        one, _ = self._server.accept()
        with one, socket.create_connection((HOST, self._to)) as other:
            back = threading.Thread(target=self._pass_on, args=(other, one, "listens"))
            back.start()
            self._pass_on(one, other, "connects")
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, who: str) -> None:
        with suppress(OSError):
            while found := source.recv(1 << 16):
                (drip if self.slow == who else socket.socket.sendall)(target, found)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Wait until both sides have closed the connection."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._server.close()


def tls_options(ours: Authority, secure: bool) -> tuple[TLS | None, TLS | None]:
    """Return the TLS options of the listener and of the connecting side, empty without TLS."""
    if not secure:
        return None, None
    return TLS(**ours.certify("localhost")), TLS(ca=ours.file, server_name="localhost")


def ends_in_time(listener: Listener) -> None:
    """Check that the listener closes the connection in time."""
    until(lambda: listener.connections == 1)
    begin = time.monotonic()
    until(lambda: listener.connections == 0)
    assert time.monotonic() - begin < TIMEOUT + LATE
    [failure] = listener.take_failures()
    assert f"sent no complete PDU for {TIMEOUT} s" in failure


@contextmanager
def fails_in_time() -> Iterator[None]:
    """Check that a call fails in time."""
    begin = time.monotonic()
    with pytest.raises(AssociationError, match=f"sent no complete PDU for {TIMEOUT} s") as caught:
        yield
    assert time.monotonic() - begin < TIMEOUT + LATE
    assert (caught.value.code, caught.value.permanent) == ("silent", False)


def test_a_request():
    with (
        listen(0, host=HOST, association_timeout=TIMEOUT) as listener,
        closing(Relay(listener.port, "connects")) as slow,
        socket.create_connection((HOST, slow.port)) as connection,
    ):
        connection.sendall(request())
        ends_in_time(listener)


def test_a_handshake(ours):
    tls = TLS(**ours.certify("localhost"))
    with (
        listen(0, host=HOST, tls=tls, association_timeout=TIMEOUT) as listener,
        closing(Relay(listener.port, "connects")) as slow,
        socket.create_connection((HOST, slow.port)) as connection,
    ):
        context = ssl.create_default_context(cafile=str(ours.file))
        shaking = threading.Thread(target=shake_hands, args=(context, connection))
        shaking.start()
        ends_in_time(listener)
        shaking.join()


def shake_hands(context: ssl.SSLContext, connection: socket.socket) -> None:
    """Try a handshake, which fails."""
    with pytest.raises(OSError, match=ENDED):
        context.wrap_socket(connection, server_hostname="localhost")


@pytest.mark.parametrize("records", ["one", "many"])
def test_a_request_in_records(ours, records):
    tls = TLS(**ours.certify("localhost"))
    context = ssl.create_default_context(cafile=str(ours.file))
    with (
        listen(0, host=HOST, tls=tls, association_timeout=TIMEOUT) as listener,
        closing(Relay(listener.port)) as between,
        socket.create_connection((HOST, between.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        if records == "one":
            between.slow = "connects"
            connection.sendall(request())
            ends_in_time(listener)
        else:
            dripping = threading.Thread(target=drip_request, args=(connection,))
            dripping.start()
            ends_in_time(listener)
            dripping.join()


def drip_request(connection: socket.socket) -> None:
    """Send an A-ASSOCIATE-RQ in single bytes."""
    with pytest.raises(OSError, match=ENDED):
        drip(connection, request())


def test_other_peers_are_served():
    with listen(0, host=HOST, association_timeout=TIMEOUT, max_connections=2) as listener:
        for _ in range(3):
            with (
                closing(Relay(listener.port, "connects")) as slow,
                socket.create_connection((HOST, slow.port)) as connection,
            ):
                connection.sendall(request())
                until(lambda: listener.connections == 1)
                with connect(HOST, listener.port) as association:
                    assert association.send(events(2)).answered == 2
                until(lambda: listener.connections == 0)


@pytest.mark.parametrize("call", [connect, echo])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "secure"])
def test_a_response_to_a_request(ours, call: Callable[..., object], secure):
    tls, sender = tls_options(ours, secure)
    with (
        listen(0, host=HOST, tls=tls) as listener,
        closing(Relay(listener.port, "listens")) as slow,
        fails_in_time(),
    ):
        call(HOST, slow.port, tls=sender, association_timeout=TIMEOUT)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "secure"])
def test_a_response_to_an_event(ours, secure):
    tls, sender = tls_options(ours, secure)
    with listen(0, host=HOST, tls=tls) as listener, closing(Relay(listener.port)) as between:
        association = connect(HOST, between.port, tls=sender, response_timeout=TIMEOUT)
        between.slow = "listens"
        begin = time.monotonic()
        outcomes = association.send(events(1))
        assert time.monotonic() - begin < TIMEOUT + LATE
        assert outcomes.to_pydict()["Failure"] == ["silent"]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "secure"])
def test_a_sender_that_is_stopped(ours, secure):
    tls, sender = tls_options(ours, secure)
    with listen(0, host=HOST, tls=tls) as listener, closing(Relay(listener.port)) as between:
        association: Association = connect(HOST, between.port, tls=sender)
        between.slow = "listens"
        leaving = threading.Timer(0.5, association.stop, kwargs={"at_once": True})
        leaving.start()
        begin = time.monotonic()
        outcomes = association.send(events(1))
        assert time.monotonic() - begin < LATE
        assert outcomes.to_pydict()["Failure"] == ["interrupted"]


def test_a_peer_that_reads_nothing():
    done = threading.Event()

    def script(talk: Conversation) -> None:
        talk.accept()
        assert done.wait(30)

    # More than the buffers of sockets hold.
    large = b"\x08\0\x60\0" + (1 << 26).to_bytes(4, "little") + bytes(1 << 26)
    with peer(script) as port:
        association = connect(HOST, port, connection_timeout=TIMEOUT)
        begin = time.monotonic()
        outcomes = association.send(events(1, EventInformation=[large]))
        assert time.monotonic() - begin < 2 * TIMEOUT + LATE
        done.set()
    assert outcomes.failure == f"the peer accepted no data for {TIMEOUT} s"
    assert outcomes.to_pydict()["Failure"] == ["silent"]
