"""Storage commitment (PS3.4 Annex J) with pynetdicom as the peer, in each way of reporting."""

import signal
import time
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

from commitment_peer import (
    HOST,
    SECONDS,
    failures_in,
    listens,
    providing,
    references_in,
    requesting,
    send_report,
)
from fastdimse import Peer, connect, listen
from fastdimse.storage_commitment import (
    CommitmentRequests,
    StorageCommitmentError,
    commit,
    provide,
)
from orthanc import free_ports, until
from processes import running

PROGRAM = Path(__file__).with_name("commitment_program.py")
CT = str(CTImageStorage)
COMMIT_CLASS = "1.2.840.10008.1.20.1"
# How the requester and the provider negotiate their roles (PS3.7 D.3.3.4).
REQUESTER_ROLES = ["scu", "both"]
PROVIDER_ROLES = [{}, {"scu_role": True, "scp_role": True}, {"scu_role": True, "scp_role": False}]


def some(count: int) -> list[tuple[str, str]]:
    """Return references to instances."""
    return [(CT, generate_uid()) for _ in range(count)]


def peer_of(provider: Any, role: str = "scu", **options: Any) -> Peer:
    """Return the peer of a provider."""
    names = {"called_ae": "PROVIDER", "calling_ae": "REQUESTER"}
    return Peer(HOST, provider.port, role=role, **names, **options)


def states(results: dict[str, list[Any]]) -> dict[tuple[str, str], tuple[str, int | None]]:
    """Return the state and the Failure Reason of each instance."""
    names = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "State", "FailureReason")
    return {
        (sop_class, instance): (state, reason)
        for sop_class, instance, state, reason in zip(*map(results.get, names), strict=True)
    }


def expected(stored: list[tuple[str, str]], missing: list[tuple[str, str]]) -> dict[Any, Any]:
    """Return the state of each instance if the provider has the first ones only."""
    return dict.fromkeys(stored, ("committed", None)) | dict.fromkeys(missing, ("failed", 0x0112))


# ---------------------------------------------------------------- as SCU


@pytest.mark.parametrize("way", ["before", "after"])
@pytest.mark.parametrize("role", REQUESTER_ROLES)
@pytest.mark.parametrize("roles", PROVIDER_ROLES, ids=str)
def test_report_on_the_association_of_the_request(way, role, roles):
    stored, missing = some(3), some(2)
    with providing(set(stored), way, **roles) as provider:
        results = commit(peer_of(provider, role), [*stored, *missing], timeout=SECONDS)
        assert provider.statuses.get(timeout=SECONDS) == 0x0000
    assert states(results) == expected(stored, missing)
    assert set(results["CalledAE"]) == {"PROVIDER"}
    [request] = provider.requests
    assert references_in(request) == [*stored, *missing]
    assert set(results["TransactionUID"]) == {request.TransactionUID}


@pytest.mark.parametrize("role", REQUESTER_ROLES)
@pytest.mark.parametrize("roles", PROVIDER_ROLES, ids=str)
def test_report_on_a_later_association_of_the_requester(tmp_path, role, roles):
    """The provider reports to another run of the requester."""
    stored, missing = some(2), some(1)
    path = tmp_path / "requests"
    with providing(set(stored), "later", **roles) as provider:
        with CommitmentRequests(path) as requests:
            transactions = requests.request(peer_of(provider, role), [*stored, *missing])
            assert set(requests.results()["State"]) == {"open"}
            assert requests.transactions()["StatusName"] == ["0x0000 Success"]
        with (
            CommitmentRequests(path) as requests,
            peer_of(provider, role).connect(event_handler=requests.handle) as association,
        ):
            assert requests.wait(transactions, association=association, timeout=SECONDS)
            assert provider.statuses.get(timeout=SECONDS) == 0x0000
            assert states(requests.results(transactions)) == expected(stored, missing)


@pytest.mark.parametrize("proposes_role", [True, False])
@pytest.mark.parametrize("role", REQUESTER_ROLES)
def test_report_on_an_association_of_the_provider(role, proposes_role):
    stored, missing = some(2), some(1)
    with (
        providing(set(stored), "own") as provider,
        CommitmentRequests() as requests,
        listen(0, host=HOST, event_handler=requests.handle) as listener,
    ):
        transactions = requests.request(peer_of(provider, role), [*stored, *missing])
        assert not requests.wait(transactions, timeout=0.1)
        provider.report_on_own(listener.port, proposes_role)
        assert requests.wait(transactions, timeout=SECONDS)
        assert provider.statuses.get(timeout=SECONDS) == 0x0000
        results = requests.results(transactions)
        assert states(results) == expected(stored, missing)
        assert set(results["ReportedBy"]) == {"PROVIDER"}


def test_commit_listens_for_reports():
    stored = some(2)
    [port] = free_ports(1)
    with providing(set(stored), "own") as provider:

        def report() -> None:
            until("the request", lambda: provider.requests)
            provider.report_on_own(port)

        reporting = threading_run(report)
        results = commit(peer_of(provider), stored, port=port, host=HOST, timeout=SECONDS)
        reporting.join()
    assert states(results) == expected(stored, [])


def threading_run(function: Any) -> Any:
    """Run a function in a thread."""
    import threading

    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_large_requests_are_divided():
    # pynetdicom cannot receive a request while it waits for the response to a report.
    stored = some(25)
    with (
        providing(set(stored), "own") as provider,
        CommitmentRequests() as requests,
        listen(0, host=HOST, event_handler=requests.handle) as listener,
    ):
        transactions = requests.request(peer_of(provider), stored, max_references=10)
        provider.report_on_own(listener.port)
        assert requests.wait(transactions, timeout=SECONDS)
        lengths = [len(references_in(request)) for request in provider.requests]
        assert lengths == [10, 10, 5]
        assert states(requests.results()) == expected(stored, [])
        assert transactions == [request.TransactionUID for request in provider.requests]
        with pytest.raises(ValueError, match="max_references must be at least 1, not 0"):
            requests.request(peer_of(provider), stored, max_references=0)


@pytest.mark.parametrize("way", ["before", "after", "own"])
def test_commit_divides_large_requests(way):
    """An SCP that reports on the association of the request gets one request after the other."""
    stored = some(25)
    with providing(set(stored), way) as provider:
        begin = time.monotonic()
        timeout = 2.0 if way == "own" else SECONDS
        results = commit(peer_of(provider), stored, max_references=10, timeout=timeout)
        assert time.monotonic() - begin < SECONDS
        lengths = [len(references_in(request)) for request in provider.requests]
    assert lengths == [10, 10, 5]
    assert set(results["State"]) == {"late" if way == "own" else "committed"}


def test_a_closed_association():
    """Nothing is sent, so the instances are not open."""
    with providing(set(), "own") as provider, CommitmentRequests() as requests:
        with peer_of(provider).connect(event_handler=requests.handle) as association:
            pass
        with pytest.raises(RuntimeError, match="the association is released"):
            requests.request(association, some(2))
        assert requests.results()["State"] == ["failed"] * 2
        assert requests.transactions()["Reason"] == ["the association is released"]
        assert requests.wait(timeout=0)
        assert provider.requests == []


def test_an_association_without_the_handler():
    with (
        providing(set(), "own") as provider,
        CommitmentRequests() as requests,
        peer_of(provider).connect() as association,
    ):
        transactions = requests.request(association, some(1))
        with pytest.raises(RuntimeError, match="event_handler"):
            requests.wait(transactions, association=association, timeout=SECONDS)


def test_a_peer_that_never_reports():
    asked = some(2)
    with providing(set(), "own") as provider:
        begin = time.monotonic()
        results = commit(peer_of(provider), asked, timeout=0.5)
        assert time.monotonic() - begin > 0.5
    assert states(results) == dict.fromkeys(asked, ("late", None))
    assert results["Reported"] == [None, None]


def test_a_refused_request():
    asked = some(1)
    with providing(set(), "own") as provider, CommitmentRequests() as requests:
        provider.answer = 0x0213
        transactions = requests.request(peer_of(provider), asked)
        assert requests.wait(transactions, timeout=0)
        assert requests.results()["State"] == ["failed"]
        assert requests.results()["Reason"] == [
            "the request got the Status 0x0213 Resource limitation"
        ]
        assert requests.transactions()["State"] == ["refused"]
        # A report that comes nevertheless counts.
        with listen(0, host=HOST, event_handler=requests.handle) as listener:
            provider.report_on_own(listener.port)
        assert requests.results()["FailureReason"] == [0x0112]


@pytest.mark.parametrize("status", [0x0115, 0x0000])
def test_reports_of_unknown_transactions(tmp_path, status):
    asked = some(1)
    path = tmp_path / "requests"
    with providing(set(asked), "own") as provider:
        with CommitmentRequests() as others:
            [transaction] = others.request(peer_of(provider), asked)
        with (
            CommitmentRequests(path, unknown_transaction=status) as requests,
            listen(0, host=HOST, event_handler=requests.handle) as listener,
        ):
            provider.report_on_own(listener.port)
        assert provider.statuses.get(timeout=SECONDS) == status
    with CommitmentRequests(path) as requests:
        kept = requests.other_reports()
        assert requests.results()["State"] == []
    assert kept["TransactionUID"] == [transaction]
    assert kept["Reason"] == ["unknown Transaction UID"]
    assert kept["CallingAE"] == ["PROVIDER"]
    assert kept["EventTypeID"] == [1]
    assert transaction.encode() in kept["EventInformation"][0]


@pytest.mark.parametrize(("status", "kept"), [(0x0115, 2), (0x0000, 5)])
def test_refused_reports_do_not_fill_the_disk(monkeypatch, caplog, status, kept):
    """A peer may send any number of them. A report that got Success is always kept."""
    monkeypatch.setattr("fastdimse.storage_commitment._requests._MAX_REFUSED", 2)
    event = {
        "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
        "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
        "EventTypeID": 1,
    }
    reports = [event | {"EventInformation": {"TransactionUID": f"1.{n}"}} for n in range(5)]
    with (
        CommitmentRequests(unknown_transaction=status) as requests,
        listen(0, host=HOST, event_handler=requests.handle) as listener,
        connect(HOST, listener.port) as association,
    ):
        assert association.send(reports).to_pydict()["Status"] == [status] * 5
        assert requests.other_reports()["TransactionUID"] == [f"1.{n}" for n in range(kept)]
    assert ("is not kept" in caplog.text) == (kept < 5)


def test_repeated_reports():
    """A repeated report changes nothing, and one that differs is kept apart."""
    stored, missing = some(1), some(1)
    with (
        providing(set(stored), "own") as provider,
        CommitmentRequests() as requests,
        listen(0, host=HOST, event_handler=requests.handle) as listener,
    ):
        transactions = requests.request(peer_of(provider), [*stored, *missing])
        [request] = provider.requests
        provider.report_on_own(listener.port)
        first = requests.results()
        assert states(first) == expected(stored, missing)
        provider._due.append(request)
        provider.report_on_own(listener.port)
        assert requests.results() == first
        assert requests.transactions()["Reports"] == [2]
        assert requests.other_reports()["Reason"] == []
        provider._stored.update(missing)
        provider._due.append(request)
        provider.report_on_own(listener.port)
        assert requests.results() == first
        assert requests.other_reports()["Reason"] == ["differs from the first report"]
        assert [provider.statuses.get(timeout=SECONDS) for _ in range(3)] == [0x0000] * 3
        assert requests.forget(transactions) == 1
        assert requests.results()["State"] == []


def test_instances_that_the_report_does_not_list():
    """They are not committed, whatever the event type is."""
    asked, other = some(2), some(1)
    with (
        providing(set(asked), "own") as provider,
        CommitmentRequests() as requests,
        listen(0, host=HOST, event_handler=requests.handle) as listener,
    ):
        requests.request(peer_of(provider), asked)
        [request] = provider.requests
        # The second instance has another SOP Class UID in the report.
        request.ReferencedSOPSequence[1].ReferencedSOPClassUID = MRImageStorage
        provider._stored.update([(MRImageStorage, asked[1][1]), *other])
        provider.report_on_own(listener.port)
        assert provider.statuses.get(timeout=SECONDS) == 0x0000
        results = requests.results()
    assert results["State"] == ["committed", "failed"]
    assert results["Reason"] == [None, "not in the report"]


@pytest.mark.parametrize(
    ("event_type", "transaction", "status", "reason"),
    [(3, "1.2.3", 0x0113, "the Event Type ID is 3"), (1, None, 0x0115, "no Transaction UID")],
)
def test_invalid_reports(event_type, transaction, status, reason):
    from pydicom.dataset import Dataset
    from pynetdicom import AE
    from pynetdicom.sop_class import StorageCommitmentPushModel

    information = Dataset()
    information.RetrieveAETitle = "PROVIDER"
    if transaction is not None:
        information.TransactionUID = transaction
    ae = AE("PROVIDER")
    ae.add_requested_context(StorageCommitmentPushModel)
    with (
        CommitmentRequests() as requests,
        listen(0, host=HOST, event_handler=requests.handle) as listener,
    ):
        association = ae.associate(HOST, listener.port)
        assert send_report(association, event_type, information) == status
        association.release()
        assert requests.other_reports()["Reason"] == [reason]


def test_a_program_that_is_killed_waits_again(tmp_path):
    """kill -9 after the request: the same call in the next run waits for the report."""
    stored, missing = some(2), some(1)
    [port] = free_ports(1)
    path = tmp_path / "requests"
    with providing(set(stored), "own") as provider:
        words = ("commit", provider.port, path, port, *(uid for _, uid in [*stored, *missing]))
        with running(PROGRAM, *words) as program:
            until("the request", lambda: provider.requests)
            program.send_signal(signal.SIGKILL)
            program.ended()
        with running(PROGRAM, *words) as program:
            until("the listener", lambda: listens(port))
            provider.report_on_own(port)
            result = program.hear("states")
            assert program.ended() == 0
    assert result["states"] == ["committed", "committed", "failed"]
    # The instances were requested once.
    assert len(provider.requests) == 1


# ---------------------------------------------------------------- as SCP


def lookup_of(stored: list[tuple[str, str]]) -> Any:
    """Return a lookup that finds some instances."""
    there = set(stored)

    def lookup(references: dict[str, list[str]]) -> list[bool]:
        pairs = zip(
            references["ReferencedSOPClassUID"], references["ReferencedSOPInstanceUID"], strict=True
        )
        return [pair in there for pair in pairs]

    return lookup


def check_report(report: Any, transaction: str, stored: list[Any], missing: list[Any]) -> None:
    """Check a report that a requester received."""
    event_type, information, _ = report
    assert event_type == (2 if missing else 1)
    assert information.TransactionUID == transaction
    assert references_in(information) == stored
    assert failures_in(information) == dict.fromkeys(missing, 0x0112)


@pytest.mark.parametrize(
    "role",
    [
        None,
        {"scu_role": True, "scp_role": False},
        {"scu_role": True, "scp_role": True},
    ],
    ids=str,
)
def test_reports_on_the_association_of_the_request(role):
    stored, missing = some(2), some(1)
    with (
        provide(0, host=HOST, lookup=lookup_of(stored)) as provider,
        requesting() as requester,
        requester.associated(provider.port, role=role) as association,
    ):
        for references, good, failed in (
            ([*stored, *missing], stored, missing),
            (stored, stored, []),
            (missing, [], missing),
        ):
            transaction = generate_uid()
            assert requester.ask(association, transaction, references) == 0x0000
            report = requester.reports.get(timeout=SECONDS)
            check_report(report, transaction, good, failed)
            assert report[2] is False
        assert provider.wait(SECONDS)
        assert provider.transactions()["State"] == ["reported"] * 3
        assert provider.transactions()["StatusName"] == ["0x0000 Success"] * 3


def test_reports_on_an_association_of_the_provider(tmp_path):
    """The requester releases its association at once."""
    stored, missing = some(2), some(1)
    with requesting(listens=True) as requester:
        peers = tmp_path / "peers.toml"
        peers.write_text(f'[REQUESTER]\nhost = "{HOST}"\nport = {requester.port}\n')
        with provide(
            0,
            host=HOST,
            lookup=lookup_of(stored),
            peers=peers,
            ae_title="PROVIDER",
            same_association=False,
        ) as provider:
            transaction = generate_uid()
            with requester.associated(provider.port) as association:
                assert requester.ask(association, transaction, [*stored, *missing]) == 0x0000
            report = requester.reports.get(timeout=SECONDS)
            check_report(report, transaction, stored, missing)
            assert report[2] is True
            assert provider.wait(SECONDS)
            assert provider.transactions()["State"] == ["reported"]


def test_reports_after_the_requester_has_released():
    """Without the association, the report goes to the peer of the requester."""
    stored = some(1)
    released = False

    def lookup(references: dict[str, list[str]]) -> list[bool]:
        until("the end of the association", lambda: released)
        return [True] * len(references["ReferencedSOPInstanceUID"])

    with requesting(listens=True) as requester:
        peers = {"REQUESTER": Peer(HOST, requester.port, called_ae="REQUESTER")}
        with provide(0, host=HOST, lookup=lookup, peers=peers) as provider:
            transaction = generate_uid()
            with requester.associated(provider.port) as association:
                assert requester.ask(association, transaction, stored) == 0x0000
            released = True
            report = requester.reports.get(timeout=SECONDS)
            check_report(report, transaction, stored, [])
            assert report[2] is True


@pytest.mark.parametrize("asks_again", [True, False])
def test_reports_on_the_next_association_of_the_requester(asks_again):
    """A requester that is not in the peers gets the open results when it connects again."""
    stored = some(2)
    released = False

    def lookup(references: dict[str, list[str]]) -> list[bool]:
        until("the end of the association", lambda: released)
        return [True] * len(references["ReferencedSOPInstanceUID"])

    with requesting() as requester, provide(0, host=HOST, lookup=lookup) as provider:
        with requester.associated(provider.port) as association:
            assert requester.ask(association, "1.2.3.1", stored[:1]) == 0x0000
        released = True
        until(
            "the lookup",
            lambda: provider.transactions()["State"] == ["looked up"],
        )
        until(
            "no peer",
            lambda: "not in the peers" in (provider.transactions()["Reason"][0] or ""),
        )
        with requester.associated(provider.port) as association:
            if asks_again:
                assert requester.ask(association, "1.2.3.2", stored[1:]) == 0x0000
            count = 2 if asks_again else 1
            reports = [requester.reports.get(timeout=SECONDS) for _ in range(count)]
        found = {information.TransactionUID: information for _, information, _ in reports}
        assert references_in(found["1.2.3.1"]) == stored[:1]
        if asks_again:
            assert references_in(found["1.2.3.2"]) == stored[1:]
        assert provider.wait(SECONDS)


def test_a_report_that_the_requester_rejects_goes_to_its_peer():
    stored = some(1)
    with requesting() as asking, requesting(listens=True) as receiving:
        asking.answer = 0x0110
        peers = {"REQUESTER": Peer(HOST, receiving.port, called_ae="REQUESTER")}
        with (
            provide(0, host=HOST, lookup=lookup_of(stored), peers=peers) as provider,
            asking.associated(provider.port) as association,
        ):
            assert asking.ask(association, "1.2.3", stored) == 0x0000
            for requester in (asking, receiving):
                check_report(requester.reports.get(timeout=SECONDS), "1.2.3", stored, [])
            assert provider.wait(SECONDS)
            assert provider.transactions()["StatusName"] == ["0x0000 Success"]


@pytest.mark.parametrize(
    ("transaction", "references", "options", "status"),
    [
        ("1.2.3", some(1), {"action_type": 2}, 0x0123),
        ("1.2.3", some(1), {"instance": "1.2.840.10008.1.20.1.2"}, 0x0112),
        ("1.2.3", None, {}, 0x0114),
        ("1.2.3", [], {}, 0x0114),
        (None, some(1), {}, 0x0114),
        (None, None, {}, 0x0114),
        ("1.2.3", [(CT, "")], {}, 0x0115),
    ],
    ids=["type", "instance", "no references", "empty", "no transaction", "nothing", "no UID"],
)
def test_invalid_requests(transaction, references, options, status):
    with (
        provide(0, host=HOST, lookup=lookup_of([])) as provider,
        requesting() as requester,
        requester.associated(provider.port) as association,
    ):
        assert requester.ask(association, transaction, references, **options) == status
        # The association remains usable.
        assert requester.ask(association, "1.2.3.4", some(1)) == 0x0000
        requester.reports.get(timeout=SECONDS)
        assert provider.wait(SECONDS)
        assert provider.transactions()["TransactionUID"] == ["1.2.3.4"]


def test_a_requester_that_is_not_in_the_peers():
    with (
        provide(0, host=HOST, lookup=lookup_of([]), same_association=False) as provider,
        requesting() as requester,
        requester.associated(provider.port) as association,
    ):
        assert requester.ask(association, "1.2.3", some(1)) == 0x0124


@pytest.mark.parametrize(
    ("returned", "reasons"),
    [
        ([True, False, 0x0213], {1: 0x0112, 2: 0x0213}),
        ([0, 0x0119, 0], {1: 0x0119}),
        ([0, 0x0119, None], dict.fromkeys(range(3), 0x0110)),
        ([True, True, 0.5], dict.fromkeys(range(3), 0x0110)),
        (SystemExit(), dict.fromkeys(range(3), 0x0110)),
        ([True, True], dict.fromkeys(range(3), 0x0110)),
        ([0, 70000, 0], dict.fromkeys(range(3), 0x0110)),
        (KeyError("index"), dict.fromkeys(range(3), 0x0110)),
    ],
    ids=[
        *("bool and int", "int", "None", "float", "SystemExit"),
        *("too few", "no reason", "exception"),
    ],
)
@pytest.mark.parametrize("form", ["list", "arrow", "numpy", "polars"])
def test_results_of_lookups(returned, reasons, form):
    asked = some(3)

    def lookup(references: dict[str, list[str]]) -> Any:
        assert references["CallingAE"] == ["REQUESTER"] * 3
        assert references["TransactionUID"] == ["1.2.3"] * 3
        if isinstance(returned, BaseException):
            raise returned
        values = [int(v) if form != "list" and type(v) is int else v for v in returned]
        return as_form(form, values)

    with (
        provide(0, host=HOST, lookup=lookup) as provider,
        requesting() as requester,
        requester.associated(provider.port) as association,
    ):
        assert requester.ask(association, "1.2.3", asked) == 0x0000
        _, information, _ = requester.reports.get(timeout=SECONDS)
    assert failures_in(information) == {asked[row]: reason for row, reason in reasons.items()}


def as_form(form: str, values: list[Any]) -> Any:
    """Return results in a form that a lookup can return."""
    if form == "list" or len({type(value) for value in values}) > 1:
        return values
    if form == "arrow":
        import pyarrow as pa

        return pa.array(values)
    if form == "numpy":
        import numpy as np

        return np.array(values)
    import polars as pl

    return pl.Series(values)


def test_the_lookup_fails_for_one_of_several_requests():
    """The other requests of the same call are not affected."""
    asked = some(4)
    calls = []

    def lookup(references: dict[str, list[str]]) -> list[bool]:
        calls.append(references["TransactionUID"])
        if len(calls) == 1:
            until("all requests", lambda: provider.transactions()["State"].count("received") == 4)
        if "1.2.3" in references["TransactionUID"]:
            raise ValueError("this request is not like the others")
        return [True] * len(references["ReferencedSOPInstanceUID"])

    with (
        provide(0, host=HOST, lookup=lookup) as provider,
        requesting() as requester,
        requester.associated(provider.port) as association,
    ):
        for number, reference in enumerate(asked):
            assert requester.ask(association, f"1.2.{number}", [reference]) == 0x0000
        reports = [requester.reports.get(timeout=SECONDS)[1] for _ in asked]
    failed = {report.TransactionUID: failures_in(report) for report in reports}
    assert failed["1.2.3"] == {asked[3]: 0x0110}
    assert all(not failed[f"1.2.{number}"] for number in range(3))
    # Requests that arrive during a lookup share the next call.
    assert ["1.2.1", "1.2.2", "1.2.3"] in calls


def test_repeated_transaction_uids():
    """The same request is reported again; another one with the same Transaction UID fails."""
    stored, other = some(1), some(1)
    with (
        provide(0, host=HOST, lookup=lookup_of([*stored, *other])) as provider,
        requesting() as requester,
        requester.associated(provider.port) as association,
    ):
        for _ in range(2):
            assert requester.ask(association, "1.2.3", stored) == 0x0000
            check_report(requester.reports.get(timeout=SECONDS), "1.2.3", stored, [])
            assert provider.wait(SECONDS)
        assert requester.ask(association, "1.2.3", other) == 0x0000
        event_type, information, _ = requester.reports.get(timeout=SECONDS)
        assert (event_type, failures_in(information)) == (2, {other[0]: 0x0131})


def test_the_same_request_while_it_is_open():
    """It is reported once, on the association that is open."""
    stored = some(1)
    asked = 0

    def lookup(references: dict[str, list[str]]) -> list[bool]:
        until("the second request", lambda: asked == 2)
        return [True] * len(references["ReferencedSOPInstanceUID"])

    with requesting() as requester, provide(0, host=HOST, lookup=lookup) as provider:
        with requester.associated(provider.port) as association:
            assert requester.ask(association, "1.2.3", stored) == 0x0000
        with requester.associated(provider.port) as association:
            assert requester.ask(association, "1.2.3", stored) == 0x0000
            asked = 2
            check_report(requester.reports.get(timeout=SECONDS), "1.2.3", stored, [])
            assert provider.wait(SECONDS)
        assert provider.transactions()["State"] == ["reported"]


def test_a_requester_that_refuses_the_role():
    """The reason names role selection and what to configure."""
    refusing = {"scu_role": True, "scp_role": False}
    with requesting(**refusing) as requester:
        requester.listen()
        peers = {"REQUESTER": Peer(HOST, requester.port, called_ae="REQUESTER")}
        with provide(
            0, host=HOST, lookup=lookup_of([]), peers=peers, same_association=False
        ) as provider:
            with requester.associated(provider.port) as association:
                assert requester.ask(association, "1.2.3", some(1)) == 0x0000
            reason = until("the refusal", lambda: provider.transactions()["Reason"][0])
    assert "no presentation context" in reason
    assert "role selection" in reason
    assert "scp_role=True" in reason
    assert "DicomModalities" in reason


def test_a_requester_that_accepts_the_role_later(monkeypatch):
    """The report waits in the outbox, and the association is requested again."""
    import fastdimse.storage_commitment._provider as module

    monkeypatch.setattr(module, "_RETRY_INTERVAL", 0.05)
    monkeypatch.setattr(module, "_REFUSED_INTERVAL", 0.1)
    stored = some(1)
    refusing = {"scu_role": True, "scp_role": False}
    with requesting(**refusing) as requester:
        requester.listen()
        port = requester.port
        peers = {"REQUESTER": Peer(HOST, port, called_ae="REQUESTER")}
        with provide(
            0, host=HOST, lookup=lookup_of(stored), peers=peers, same_association=False
        ) as provider:
            with requester.associated(provider.port) as association:
                assert requester.ask(association, "1.2.3", stored) == 0x0000
            until("the refusal", lambda: provider.transactions()["Reason"][0])
            assert provider.transactions()["State"] == ["queued"]
            requester.close()
            with requesting() as accepting:
                accepting.listen(port)
                check_report(accepting.reports.get(timeout=SECONDS), "1.2.3", stored, [])
                assert provider.wait(SECONDS)


@pytest.mark.parametrize("point", ["lookup", "outbox"])
def test_a_provider_that_is_killed_reports_later(tmp_path, point):
    """kill -9 after the response to the request: the next run reports."""
    stored, missing = some(2), some(1)
    [port] = free_ports(1)
    database = tmp_path / "transactions"
    words = ("provide", 0, database, port, *(uid for _, uid in stored))
    with requesting() as requester:
        with running(PROGRAM, *words, *(["--slow"] if point == "lookup" else [])) as program:
            with requester.associated(program.port()) as association:
                assert requester.ask(association, "1.2.3", [*stored, *missing]) == 0x0000
            if point == "outbox":
                # The peer does not listen.
                program.find("queued", "stdout")
            program.send_signal(signal.SIGKILL)
            program.ended()
        requester.listen(port)
        with running(PROGRAM, *words) as program:
            report = requester.reports.get(timeout=SECONDS)
            check_report(report, "1.2.3", stored, missing)
            program.find("reported", "stdout")
            program.send_signal(signal.SIGKILL)
            program.ended()
        # It is not reported again.
        with running(PROGRAM, *words) as program:
            program.port()
            with pytest.raises(Empty):
                requester.reports.get(timeout=1)


def test_a_provider_that_is_closed_reports_in_the_next_run(tmp_path):
    stored = some(1)
    [port] = free_ports(1)
    peers = {"REQUESTER": Peer(HOST, port, called_ae="REQUESTER")}
    options = {"lookup": lookup_of(stored), "peers": peers, "database": tmp_path / "database"}
    with requesting() as requester:
        with provide(0, host=HOST, same_association=False, **options) as provider:
            with requester.associated(provider.port) as association:
                assert requester.ask(association, "1.2.3", stored) == 0x0000
            until("the outbox", lambda: provider.transactions()["State"] == ["queued"])
            with pytest.raises(OSError, match="database"):
                provide(0, host=HOST, **options)
        requester.listen(port)
        with provide(0, host=HOST, **options) as provider:
            check_report(requester.reports.get(timeout=SECONDS), "1.2.3", stored, [])
            assert provider.wait(SECONDS)


def test_old_transactions_are_deleted(tmp_path, monkeypatch):
    import fastdimse.storage_commitment._provider as module

    monkeypatch.setattr(module, "_RETRY_INTERVAL", 0.05)
    with (
        provide(0, host=HOST, lookup=lookup_of([]), forget_after=0.2) as provider,
        requesting() as requester,
        requester.associated(provider.port) as association,
    ):
        assert requester.ask(association, "1.2.3", some(1)) == 0x0000
        until("the end", lambda: provider.transactions()["State"] == [])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"lookup": "index.parquet"}, TypeError, "lookup must be a function.*not str"),
        ({"lookup": None}, TypeError, "lookup must be a function.*not NoneType"),
        ({"called_ae": "ARCHIVE"}, TypeError, "the parameter ae_title"),
        ({"peers": ["MODALITY"]}, TypeError, r"peers\[0\] must be a Peer, not str"),
        ({"peers": [Peer(HOST, 1), Peer(HOST, 2)]}, ValueError, "the same called AE title"),
        ({"max_connections": 0}, ValueError, "max_connections must be 1 to"),
    ],
)
def test_invalid_options_of_a_provider(options, error, text):
    with pytest.raises(error, match=text):
        provide(0, host=HOST, **{"lookup": lookup_of([]), **options})


@pytest.mark.parametrize(
    ("peer", "error", "text"),
    [
        (Peer(HOST, 1), ValueError, 'role "scp"'),
        (HOST, TypeError, "a tuple of host and port, not '127.0.0.1'"),
        ((HOST, 1, "ARCHIVE"), TypeError, "a tuple of host and port, not"),
        ((HOST, 65536), ValueError, "port must be 1 to 65535, not 65536"),
    ],
)
def test_invalid_peers_of_a_request(peer, error, text):
    """Nothing was requested, so that no instance is not committed."""
    with pytest.raises(error, match=text):
        commit(peer, some(1))


def test_peers_in_a_list():
    stored = some(1)
    with requesting(listens=True) as requester:
        peer = Peer(HOST, requester.port, called_ae="REQUESTER")
        with (
            provide(
                0, host=HOST, lookup=lookup_of(stored), peers=[peer], same_association=False
            ) as provider,
            requester.associated(provider.port) as association,
        ):
            assert requester.ask(association, "1.2.3", stored) == 0x0000
            check_report(requester.reports.get(timeout=SECONDS), "1.2.3", stored, [])


class _Fails:
    """A method that fails once."""

    def __init__(self, owner: Any, name: str) -> None:
        self._method = getattr(owner, name)
        self.has_failed = False
        setattr(owner, name, self)

    def __call__(self, *arguments: Any) -> Any:
        if not self.has_failed:
            self.has_failed = True
            raise StorageCommitmentError("the disk is full")
        return self._method(*arguments)


def test_periodic_steps_that_fail_are_repeated(monkeypatch):
    import fastdimse.storage_commitment._provider as module

    monkeypatch.setattr(module, "_RETRY_INTERVAL", 0.05)
    stored = some(1)
    with (
        provide(0, host=HOST, lookup=lookup_of(stored), forget_after=60) as provider,
        requesting() as requester,
        requester.associated(provider.port) as association,
    ):
        forget = _Fails(provider._transactions, "forget")
        until("the failure", lambda: forget.has_failed)
        assert requester.ask(association, "1.2.3", stored) == 0x0000
        report = requester.reports.get(timeout=SECONDS)
        check_report(report, "1.2.3", stored, [])


def test_reports_that_wait_are_kept_if_a_step_fails(monkeypatch):
    """They wait for the next association, as before the step."""
    import fastdimse.storage_commitment._provider as module

    monkeypatch.setattr(module, "_RETRY_INTERVAL", 0.05)
    stored = some(1)
    released = False

    def lookup(references: dict[str, list[str]]) -> list[bool]:
        until("the end of the association", lambda: released)
        return [True]

    with requesting() as requester, provide(0, host=HOST, lookup=lookup) as provider:
        with requester.associated(provider.port) as association:
            assert requester.ask(association, "1.2.3", stored) == 0x0000
        released = True
        until("the lookup", lambda: provider.transactions()["State"] == ["looked up"])
        report = _Fails(provider, "_report")
        # The association is over when the step is repeated.
        with requester.associated(provider.port):
            until("the failure", lambda: report.has_failed)
        with requester.associated(provider.port):
            check_report(requester.reports.get(timeout=SECONDS), "1.2.3", stored, [])


# ---------------------------------------------------------------- both sides


def test_ours_to_ours():
    stored, missing = some(30), some(5)
    with provide(0, host=HOST, lookup=lookup_of(stored)) as provider:
        results = commit(
            (HOST, provider.port), [*stored, *missing], max_references=4, timeout=SECONDS
        )
        assert provider.wait(SECONDS)
    assert states(results) == expected(stored, missing)
    assert len(set(results["TransactionUID"])) == 9


def test_non_conformant_uids():
    """An instance with a leading zero in its UID is committed too."""
    stored = [(CT, "1.2.03.4")]
    with provide(0, host=HOST, lookup=lookup_of(stored)) as provider:
        results = commit((HOST, provider.port), stored, timeout=SECONDS)
    assert states(results) == expected(stored, [])


def test_committed_instances_are_not_requested_again(tmp_path):
    stored, missing = some(2), some(1)
    path = tmp_path / "requests"
    with provide(0, host=HOST, lookup=lookup_of(stored)) as provider:
        peer = (HOST, provider.port)
        for _ in range(2):
            results = commit(peer, [*stored, *missing], database=path, timeout=SECONDS)
            assert states(results) == expected(stored, missing)
        assert provider.wait(SECONDS)
        # The failed one is requested again.
        assert provider.transactions()["Instances"] == [3, 1]
        commit(peer, stored, database=path, repeat=True, timeout=SECONDS)
        assert provider.wait(SECONDS)
        assert provider.transactions()["Instances"] == [3, 1, 2]


def test_a_damaged_database(tmp_path):
    import sqlite3

    stored = some(1)
    path = tmp_path / "requests"
    with provide(0, host=HOST, lookup=lookup_of([])) as provider:
        commit((HOST, provider.port), stored, database=path, timeout=SECONDS)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE transactions SET results = '[0]'")
    connection.close()
    with CommitmentRequests(path) as requests, pytest.raises(OSError, match="damaged"):
        requests.results()
