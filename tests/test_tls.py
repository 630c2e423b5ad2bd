"""TLS connections with pynetdicom and with Python's ssl module."""

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import trustme
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import StorageCommitmentPushModel

from associations import DEADLINE, until
from fastdimse import TLS, AssociationError, Delivery, Peer, connect, echo, listen
from outbox_sender import numbered
from scripted_peer import HOST
from test_delivery import events
from test_outbox import RecordingReceiver, instances


class Authority:
    """A certificate authority that writes certificates to files."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def certify(self, *names: str, **options: Any) -> dict[str, Path]:
        """Create a certificate; return its file and the file of its key."""
        made = self._ca.issue_cert(*names, **options)
        files = {
            "certificate": self._folder / f"{names[0]}.pem",
            "key": self._folder / f"{names[0]}.key",
        }
        files["certificate"].write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        made.private_key_pem.write_to_path(files["key"])
        return files


def authority(folder: Path) -> Authority:
    """Return an authority with a new folder."""
    folder.mkdir()
    return Authority(folder)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that all applications trust."""
    return authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that no application trusts."""
    return authority(tmp_path_factory.mktemp("tls") / "theirs")


def server_context(files: dict[str, Path], ca: Path | None = None) -> ssl.SSLContext:
    """Return a context of the ssl module, which requires a client certificate if `ca` is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["certificate"], files["key"])
    if ca is not None:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextmanager
def pynetdicom_listener(context: ssl.SSLContext | None) -> Iterator[tuple[int, list[Any]]]:
    """Receive events with pynetdicom; yield the port and the instances."""
    got: list[Any] = []

    def handle(event: Any) -> tuple[int, None]:
        got.append(str(event.request.AffectedSOPInstanceUID))
        return 0, None

    ae = AE()
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = ae.start_server(
        (HOST, 0),
        block=False,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, handle)],
        ssl_context=context,
    )
    try:
        yield server.socket.getsockname()[1], got
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name
)
@pytest.mark.parametrize("mutual", [False, True], ids=["one", "both"])
def test_send_to_pynetdicom(ours, version, mutual):
    context = server_context(ours.certify("localhost"), ours.file if mutual else None)
    context.minimum_version = context.maximum_version = version
    own = ours.certify("sender") if mutual else {}
    tls = TLS(ca=ours.file, **own)
    with (
        pynetdicom_listener(context) as (port, got),
        connect("localhost", port, tls=tls) as association,
    ):
        assert association.send(numbered(20)).answered == 20
    assert got == instances(20)


@pytest.mark.parametrize("mutual", [False, True], ids=["one", "both"])
def test_receive_from_pynetdicom(ours, mutual):
    tls = TLS(**ours.certify("localhost"), ca=ours.file if mutual else None)
    context = ssl.create_default_context(cafile=str(ours.file))
    if mutual:
        files = ours.certify("sender")
        context.load_cert_chain(files["certificate"], files["key"])
    with listen(0, host="localhost", tls=tls) as listener:
        ae = AE()
        ae.add_requested_context(StorageCommitmentPushModel)
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid = StorageCommitmentPushModel
        role.scu_role, role.scp_role = False, True
        association = ae.associate(
            "localhost", listener.port, ext_neg=[role], tls_args=(context, "localhost")
        )
        assert association.is_established
        status, _ = association.send_n_event_report(
            None, 1, StorageCommitmentPushModel, "1.2.3", msg_id=5
        )
        assert status.Status == 0
        association.release()
        received = listener.receive(timeout=10)
        assert received is not None
    assert pa.table(received)["MessageID"].to_pylist() == [5]


def test_many_events_in_a_window(ours):
    tls = TLS(**ours.certify("localhost"), ca=ours.file)
    receiver = RecordingReceiver(tls=tls)
    try:
        sender = TLS(**ours.certify("sender"), ca=ours.file, server_name="localhost")
        with Delivery(Peer(HOST, receiver.listener.port, tls=sender)) as delivery:
            delivery.put(numbered(10_000))
        assert delivery.progress()[0].attempts == 1
        # A message of many TLS records, read in small parts.
        with connect(HOST, receiver.listener.port, tls=sender) as association:
            large = b"\x08\0\x60\0" + (1 << 20).to_bytes(4, "little") + bytes(1 << 20)
            outcomes = association.send(events(2, EventInformation=[large, None]))
            assert outcomes.answered == 2
        assert echo(HOST, receiver.listener.port, tls=sender) > 0
    finally:
        receiver.close()
    assert receiver.instances[:10_000] == instances(10_000)
    assert len(receiver.instances) == 10_002
    assert receiver.listener.take_failures() == []


EXPIRED = datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("names", "options", "tls", "text"),
    [
        (("localhost",), {}, {"ca": "theirs"}, "UnknownIssuer"),
        (("localhost",), {"not_after": EXPIRED}, {}, "expired"),
        (("elsewhere",), {}, {}, "not valid for name"),
        (("elsewhere",), {}, {"server_name": "elsewhere"}, None),
        (("elsewhere",), {}, {"check_hostname": False}, None),
        (("localhost",), {}, {"ca": "theirs", "check_hostname": False}, "UnknownIssuer"),
        (("elsewhere",), {"not_after": EXPIRED}, {"check_hostname": False}, "expired"),
    ],
)
def test_certificate_of_a_peer(ours, theirs, names, options, tls, text):
    given = dict(tls)
    given["ca"] = theirs.file if given.get("ca") == "theirs" else ours.file
    context = server_context(ours.certify(*names, **options))
    with pynetdicom_listener(context) as (port, got):
        if text is None:
            with connect("localhost", port, tls=TLS(**given)) as association:
                assert association.send(numbered(1)).answered == 1
            return
        with pytest.raises(AssociationError, match=text) as caught:
            connect("localhost", port, tls=TLS(**given))
        assert (caught.value.code, caught.value.permanent) == ("tls", True)
        assert str(caught.value).startswith("no secure connection: ")
    assert got == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("of", [None, "theirs"])
def test_peer_that_requires_a_certificate(ours, theirs, version, of):
    context = server_context(ours.certify("localhost"), ours.file)
    context.minimum_version = context.maximum_version = version
    own = {} if of is None else theirs.certify("sender")
    with pynetdicom_listener(context) as (port, _), pytest.raises(AssociationError) as caught:
        connect("localhost", port, tls=TLS(ca=ours.file, **own))
    # pynetdicom can close the connection before its alert is read.
    assert caught.value.code in ("tls", "closed")


@pytest.mark.parametrize("of", [None, "theirs"])
def test_client_without_a_valid_certificate(ours, theirs, of):
    tls = TLS(**ours.certify("localhost"), ca=ours.file)
    own = {} if of is None else theirs.certify("sender")
    with listen(0, host=HOST, tls=tls) as listener:
        sender = TLS(ca=ours.file, server_name="localhost", **own)
        with pytest.raises(
            AssociationError, match=r"alert: (CertificateRequired|UnknownCA)"
        ) as caught:
            connect(HOST, listener.port, tls=sender)
        assert (caught.value.code, caught.value.permanent) == ("tls", True)
        # The client can see the alert before the listener has noted its failure.
        until(lambda: listener.connections == 0)
        [failure] = listener.take_failures()
    assert "no secure connection: " in failure
    assert "certificate" in failure


def test_listener_reports_the_alert(ours, theirs):
    tls = TLS(**ours.certify("localhost"))
    with listen(0, host=HOST, tls=tls) as listener:
        for _ in range(20):
            with pytest.raises(AssociationError, match="UnknownIssuer"):
                connect(HOST, listener.port, tls=TLS(ca=theirs.file, server_name="localhost"))
        until(lambda: listener.connections == 0)
        failures = listener.take_failures()
    assert ["alert: UnknownCA" in failure for failure in failures] == [True] * 20


def test_connect_without_tls_to_a_tls_listener(ours):
    tls = TLS(**ours.certify("localhost"))
    with listen(0, host=HOST, tls=tls) as listener:
        with pytest.raises(
            AssociationError, match="the peer uses TLS, but the local side does not"
        ) as caught:
            connect(HOST, listener.port)
        assert (caught.value.code, caught.value.permanent) == ("tls", True)
        until(lambda: listener.connections == 0)
        assert "no secure connection: the peer does not use TLS" in listener.take_failures()[0]


def test_connect_with_tls_to_a_listener_without_tls(ours):
    with listen(0, host=HOST) as listener:
        with pytest.raises(AssociationError, match="the peer does not use TLS") as caught:
            connect(HOST, listener.port, tls=TLS(ca=ours.file))
        assert (caught.value.code, caught.value.permanent) == ("tls", True)
        until(lambda: listener.connections == 0)
        assert "the peer uses TLS, but the local side does not" in listener.take_failures()[0]


def test_connect_with_tls_to_pynetdicom_without_tls(ours):
    with (
        pynetdicom_listener(None) as (port, _),
        pytest.raises(AssociationError, match="does not use TLS") as caught,
    ):
        connect(HOST, port, tls=TLS(ca=ours.file))
    assert caught.value.code == "tls"


def test_retry_if_a_tls_listener_is_full(ours):
    """It closes the connection without a reason, unlike a listener without TLS."""
    tls = TLS(**ours.certify("localhost"))
    sender = TLS(ca=ours.file, server_name="localhost")
    with listen(0, host=HOST, tls=tls, max_connections=1) as listener:
        first = connect(HOST, listener.port, tls=sender)
        with pytest.raises(AssociationError, match="overloaded") as caught:
            connect(HOST, listener.port, tls=sender)
        assert (caught.value.code, caught.value.permanent) == ("tls", False)
        delivery = Delivery(Peer(HOST, listener.port, tls=sender))
        with closing(delivery):
            delivery.put(numbered(3))
            until(lambda: delivery.progress()[0].attempts >= 3)
            assert "overloaded" in (delivery.progress()[0].failure or "")
            first.release()
            assert delivery.wait(DEADLINE)
            assert delivery.progress()[0].answered == 3


def test_retry_during_a_restart_of_a_tls_peer(ours):
    """At first, its port is open and closes each connection."""
    tls = TLS(**ours.certify("localhost"))
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        delivery = Delivery(Peer(HOST, port, tls=TLS(ca=ours.file, server_name="localhost")))
        with closing(delivery):
            delivery.put(numbered(3))
            for hello in (b"", b"\x16\x03\x03\0\x50\x02"):
                connection, _ = server.accept()
                connection.sendall(hello)
                connection.close()
            server.close()
            with listen(port, host=HOST, tls=tls):
                assert delivery.wait(DEADLINE)
            assert delivery.progress()[0].answered == 3


def test_hanging_handshakes(ours):
    tls = TLS(**ours.certify("localhost"))
    with listen(0, host=HOST, tls=tls, association_timeout=0.5) as listener:
        hanging = [socket.create_connection((HOST, listener.port)) for _ in range(20)]
        hanging[0].sendall(b"\x16\x03\x01\x02\x00")
        sender = TLS(ca=ours.file, server_name="localhost")
        with connect(HOST, listener.port, tls=sender) as association:
            assert association.send(numbered(3)).answered == 3
        until(lambda: listener.connections == 0)
        assert len(listener.take_failures()) == 20
        for connection in hanging:
            connection.close()


def test_peer_with_a_hanging_handshake(ours):
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        begin = time.monotonic()
        with pytest.raises(AssociationError, match=r"no complete PDU for 0\.3 s"):
            connect(HOST, port, tls=TLS(ca=ours.file), association_timeout=0.3)
        assert time.monotonic() - begin < 5


def test_closed_listener_ends_connections(ours):
    tls = TLS(**ours.certify("localhost"))
    sender = TLS(ca=ours.file, server_name="localhost")
    listener = listen(0, host=HOST, tls=tls)
    association = connect(HOST, listener.port, tls=sender)
    closing = threading.Thread(target=listener.close)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    assert association.send(numbered(2)).failure is not None


def test_invalid_files(ours, tmp_path):
    files = ours.certify("localhost")
    text = tmp_path / "text.pem"
    text.write_text("no certificate\n")
    other_key = ours.certify("other")["key"]
    for options, error, why in [
        ({"ca": tmp_path / "nothing.pem"}, FileNotFoundError, "nothing.pem"),
        ({"ca": text}, ValueError, "text.pem: the file has no certificate"),
        ({"certificate": files["certificate"]}, ValueError, "a certificate needs its key"),
        ({"key": files["key"]}, ValueError, "a key needs its certificate"),
        ({**files, "key": text}, ValueError, "text.pem: the file has no private key"),
    ]:
        with pytest.raises(error, match=why):
            TLS(**options)
    with pytest.raises(ValueError, match="a listener needs a certificate and its key"):
        listen(0, host=HOST, tls=TLS(ca=ours.file))
    for use in (lambda tls: listen(0, host=HOST, tls=tls), lambda tls: Peer(HOST, 1, tls=tls)):
        with pytest.raises(ValueError, match=r"(?i)key"):
            use(TLS(**{**files, "key": other_key}))
    with pytest.raises(ValueError, match="server_name"):
        Peer(HOST, 1, tls=TLS(ca=ours.file, server_name="no name"))


def test_authorities_of_the_system(ours):
    context = server_context(ours.certify("localhost"))
    with (
        pynetdicom_listener(context) as (port, _),
        pytest.raises(AssociationError, match="UnknownIssuer"),
    ):
        connect("localhost", port, tls=True)
