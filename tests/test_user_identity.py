"""User identity negotiation (PS3.7 D.3.3.7) with pynetdicom."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import StorageCommitmentPushModel

from fastdimse import AssociationError, connect, listen
from outbox_sender import numbered
from scripted_peer import HOST


@contextmanager
def pynetdicom_listener(*, admits: bool) -> Iterator[tuple[int, list[Any]]]:
    """Check user identities with pynetdicom; yield the port and the identities."""
    came: list[Any] = []

    def handle(event: Any) -> tuple[bool, bytes | None]:
        came.append((event.user_id_type, event.primary_field, event.secondary_field))
        return admits, None

    ae = AE()
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    handlers = [
        (evt.EVT_USER_ID, handle),
        (evt.EVT_N_EVENT_REPORT, lambda event: (0, None)),
    ]
    server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1], came
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"username": "anna"}, (1, b"anna", b"")),
        ({"username": "jürgen", "passcode": "geheim"}, (2, "jürgen".encode(), b"geheim")),
        ({"username": "anna", "passcode": ""}, (2, b"anna", b"")),
    ],
)
def test_identity_is_sent(user, expected):
    with (
        pynetdicom_listener(admits=True) as (port, came),
        connect(HOST, port, **user) as association,
    ):
        assert association.send(numbered(1)).answered == 1
    [(kind, primary, secondary)] = came
    assert (kind, primary, secondary or b"") == expected


def test_rejected_identity():
    with (
        pynetdicom_listener(admits=False) as (port, _),
        pytest.raises(AssociationError, match="rejected"),
    ):
        connect(HOST, port, username="anna")


def associate(port: int, user: dict[str, Any]) -> Any:
    """Open an association with pynetdicom."""
    ae = AE()
    ae.add_requested_context(StorageCommitmentPushModel)
    identity = UserIdentityNegotiation()
    for name, value in user.items():
        setattr(identity, name, value)
    return ae.associate(HOST, port, ext_neg=[identity] if user else [])


@pytest.mark.parametrize(
    ("user", "seen"),
    [
        ({}, (None, None)),
        ({"user_identity_type": 1, "primary_field": b"anna"}, ("anna", None)),
        (
            {
                "user_identity_type": 2,
                "primary_field": "jürgen".encode(),
                "secondary_field": b"geheim",
                "positive_response_requested": True,
            },
            ("jürgen", "geheim"),
        ),
    ],
)
@pytest.mark.parametrize("admitted", [True, False])
def test_identity_is_checked(user, seen, admitted):
    came = []

    def authenticate(username: str | None, passcode: str | None) -> bool:
        came.append((username, passcode))
        return admitted

    with listen(0, host=HOST, authenticate=authenticate) as listener:
        association = associate(listener.port, user)
        assert association.is_established == admitted
        if admitted:
            answer = association.acceptor.user_identity
            wanted = user.get("positive_response_requested", False)
            assert (answer is not None) == wanted
            association.release()
    assert came == [seen]


@pytest.mark.parametrize(
    "user",
    [
        {"user_identity_type": 3, "primary_field": b"ticket"},
        {"user_identity_type": 5, "primary_field": b"token"},
        {"user_identity_type": 1, "primary_field": b"\xff"},
    ],
)
def test_other_identities_are_rejected(user):
    with listen(0, host=HOST, authenticate=lambda username, passcode: True) as listener:
        assert not associate(listener.port, user).is_established


def test_exception_is_logged_without_the_passcode(caplog):
    def authenticate(username: str | None, passcode: str | None) -> bool:
        raise KeyError(username)

    with (
        listen(0, host=HOST, authenticate=authenticate) as listener,
        pytest.raises(AssociationError, match="the peer rejected the association") as caught,
    ):
        connect(HOST, listener.port, username="anna", passcode="geheim")
    assert caught.value.permanent
    assert "authenticate failed: the association is rejected" in caplog.text
    assert "geheim" not in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


@pytest.mark.parametrize("answer", [1, "yes", None, object(), [True]])
def test_only_true_admits_a_user(answer, caplog):
    with (
        listen(0, host=HOST, authenticate=lambda name, passcode: answer) as listener,
        pytest.raises(AssociationError, match="rejected"),
    ):
        connect(HOST, listener.port, username="anna")
    assert "not True or False" in caplog.text


def test_asynchronous_function_admits_no_user(caplog, recwarn):
    async def admits(name: str | None, passcode: str | None) -> bool:
        return True

    with (
        listen(0, host=HOST, authenticate=admits) as listener,
        pytest.raises(AssociationError, match="rejected"),
    ):
        connect(HOST, listener.port, username="anna")
    assert "must not be asynchronous" in caplog.text
    assert not recwarn.list
