"""Watchers of UPS events, with SCPs of pynetdicom."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    UnifiedProcedureStepPush,
    UnifiedProcedureStepWatch,
    UPSFilteredGlobalSubscriptionInstance,
    UPSGlobalSubscriptionInstance,
)

from associations import until
from fastdimse import TLS, AssociationError, Delivery, Peer, listen, ups
from orthanc import free_ports
from processes import Program, running
from test_command_line import run

TESTS = Path(__file__).parent
UPS_PROVIDER = TESTS / "ups_provider.py"
WORKLIST = TESTS.parent / "examples" / "ups_worklist.py"
HOST = "127.0.0.1"
SUBSCRIBE, UNSUBSCRIBE, SUSPEND = 3, 4, 5
GLOBAL, FILTERED = str(UPSGlobalSubscriptionInstance), str(UPSFilteredGlobalSubscriptionInstance)
STEPS = ["1.2.840.1", "1.2.840.2"]


def data_set(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


# ----------------------------------------------------------------- functions


class Scp:
    """An SCP of pynetdicom that records requests, and responds with the same Status."""

    def __init__(self) -> None:
        self.status = 0x0000
        self.requests: list[tuple[int, str, str, Dataset]] = []
        self.port = 0

    def act(self, event: evt.Event) -> tuple[int, None]:
        request = event.request
        self.requests.append(
            (
                event.action_type,
                str(request.RequestedSOPClassUID),
                str(request.RequestedSOPInstanceUID),
                event.action_information,
            )
        )
        return self.status, None


@pytest.fixture
def scp() -> Iterator[Scp]:
    recorder = Scp()
    ae = AE("UPS-SCP")
    ae.add_supported_context(UnifiedProcedureStepWatch)
    handlers = [(evt.EVT_N_ACTION, recorder.act)]
    server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
    recorder.port = server.socket.getsockname()[1]
    yield recorder
    server.shutdown()


def peer_of(scp: Scp, **options: Any) -> Peer:
    options = {"role": "scu", "sop_classes": [ups.WATCH], "response_timeout": 10.0, **options}
    return Peer(HOST, scp.port, calling_ae="WATCHER", **options)


REQUESTS = [
    (lambda p: ups.subscribe(p), 3, GLOBAL, {"DeletionLock": "FALSE"}),
    (lambda p: ups.subscribe(p, deletion_lock=True), 3, GLOBAL, {"DeletionLock": "TRUE"}),
    (lambda p: ups.subscribe(p, "1.2.3"), 3, "1.2.3", {"DeletionLock": "FALSE"}),
    (
        lambda p: ups.subscribe(p, filter={"WorklistLabel": "CT*"}),
        3,
        FILTERED,
        {"DeletionLock": "FALSE", "WorklistLabel": "CT*"},
    ),
    (
        lambda p: ups.subscribe(
            p,
            filter={
                "ProcedureStepState": "*CHED?LED",
                "PatientName": "山田*",
                "StudyInstanceUID": ["1.2", "1.3"],
                "PatientBirthDate": "19500101-",
                "ScheduledWorkitemCodeSequence": [{"CodeValue": "1"}],
                "ScheduledStationNameCodeSequence": [],
            },
        ),
        3,
        FILTERED,
        {
            "DeletionLock": "FALSE",
            "SpecificCharacterSet": "ISO_IR 192",
            "ProcedureStepState": "*CHED?LED",
            "PatientName": "山田*",
            "StudyInstanceUID": ["1.2", "1.3"],
            "PatientBirthDate": "19500101-",
            "ScheduledWorkitemCodeSequence": [data_set(CodeValue="1")],
            "ScheduledStationNameCodeSequence": [],
        },
    ),
    (lambda p: ups.unsubscribe(p), 4, GLOBAL, {}),
    (lambda p: ups.unsubscribe(p, "1.2.3"), 4, "1.2.3", {}),
    (lambda p: ups.suspend(p), 5, GLOBAL, {}),
]


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
@pytest.mark.parametrize("transfer_syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
@pytest.mark.parametrize(("call", "action_type", "uid", "information"), REQUESTS)
def test_requests(scp, transfer_syntax, call, action_type, uid, information):
    peer = peer_of(scp, transfer_syntaxes=[transfer_syntax])
    assert call(peer) is ups.UPSStatus.SUCCESS
    [(found_type, sop_class, instance, found)] = scp.requests
    assert (found_type, instance) == (action_type, uid)
    assert sop_class == UnifiedProcedureStepPush
    assert found == data_set(ReceivingAE="WATCHER", **information)


def test_requests_on_an_association(scp):
    with peer_of(scp).connect() as association:
        with pytest.raises(ValueError, match="receiving_ae is required"):
            ups.subscribe(association)
        item = {"CodeValue": "CT1", "CodingSchemeDesignator": "99LOCAL"}
        keys = {"ScheduledStationNameCodeSequence": [item]}
        ups.subscribe(association, filter=keys, receiving_ae="OTHER")
        ups.suspend(association, receiving_ae="OTHER")
    [(*_, first), (*_, second)] = scp.requests
    assert first.ReceivingAE == second.ReceivingAE == "OTHER"
    assert first.ScheduledStationNameCodeSequence == [data_set(**item)]


def test_lock_that_is_not_granted(scp):
    scp.status = 0xB301
    found = ups.subscribe(peer_of(scp), deletion_lock=True)
    assert found is ups.UPSStatus.DELETION_LOCK_NOT_GRANTED


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0xC307, "0xC307 the UPS does not exist or is not managed by this SCP"),
        (0xC308, "0xC308 the SCP does not have the AE title of the receiver configured"),
        (0xC314, "0xC314 the action is not appropriate for this SOP instance"),
        (0xC315, "0xC315 the SCP does not support event reports"),
        (0x0110, "0x0110 Processing Failure"),
        (0x0124, "0x0124 the SCP does not authorize the subscription"),
    ],
)
def test_refused_requests(scp, status, text):
    scp.status = status
    with pytest.raises(ups.UPSError) as caught:
        ups.subscribe(peer_of(scp), "1.2.3")
    assert caught.value.status == status
    assert str(caught.value) == f"the SCP refused the request: {text}"


def test_scp_that_does_not_respond(scp):
    with pytest.raises(AssociationError):
        ups.subscribe(Peer(HOST, free_ports(1)[0], role="scu", sop_classes=[ups.WATCH]))
    with pytest.raises(AssociationError, match="presentation context"):
        ups.subscribe(peer_of(scp, sop_classes=[ups.EVENT]))


def test_wrong_arguments(scp):
    peer = peer_of(scp)
    with pytest.raises(ValueError, match="uid and filter"):
        ups.subscribe(peer, "1.2.3", filter={"WorklistLabel": "CT"})
    with pytest.raises(ValueError, match="at least one matching key"):
        ups.subscribe(peer, filter={})
    with pytest.raises(ValueError, match='role "scp"'):
        ups.subscribe(peer_of(scp, role="scp"))
    with pytest.raises(ups.UPSError, match=r"the request failed: .*1\.02"):
        ups.subscribe(peer, "1.02")
    with pytest.raises(ValueError, match="Nonsense"):
        ups.subscribe(peer, filter={"Nonsense": "1"})
    assert scp.requests == []


def test_subscriptions_of_a_listener(tmp_path):
    step = {"ProcedureStepState": "SCHEDULED", "InputReadinessState": "READY"}
    with ups.Subscriptions(tmp_path / "ups", receiving_aes={"WATCHER"}) as subscriptions:
        subscriptions.add_instance("1.2.3", step)
        with listen(
            0, host=HOST, action_handler=subscriptions.handle, sop_classes=[ups.WATCH]
        ) as listener:
            options: dict[str, Any] = {"role": "scu", "sop_classes": [ups.WATCH]}
            for transfer_syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
                peer = Peer(
                    HOST,
                    listener.port,
                    calling_ae="WATCHER",
                    transfer_syntaxes=[transfer_syntax],
                    **options,
                )
                ups.subscribe(peer, "1.2.3", deletion_lock=True)
                assert subscriptions.deletion_locked("1.2.3")
                ups.unsubscribe(peer)
                assert subscriptions.subscribers("1.2.3") == []
                ups.subscribe(peer, filter={"ProcedureStepState": "SCHED*"})
                assert subscriptions.subscribers("1.2.3") == ["WATCHER"]
                ups.unsubscribe(peer, "1.2.3")
            with pytest.raises(ups.UPSError, match="C307"):
                ups.subscribe(peer, "1.2.4")
            with pytest.raises(ups.UPSError, match="C308"):
                ups.subscribe(peer, receiving_ae="STRANGER")


# -------------------------------------------------------------------- command


@contextmanager
def watched(*options: object, locks: bool = True) -> Iterator[tuple[Program, Program]]:
    """A provider of pynetdicom alone, and `fastdimse watch`."""
    [port] = free_ports(1)
    words = [word for step in STEPS for word in ("--step", step)]
    words += ["--listener", "WATCHER", port, *(() if locks else ("--no-locks",))]
    with running(UPS_PROVIDER, *words) as scp:
        arguments = ("watch", HOST, scp.port(), "--host", HOST, "--port", port)
        with running(Path("-m"), "fastdimse", *arguments, *options) as watcher:
            yield scp, watcher


def subscription(scp: Program, action_type: int, instance: str, **information: Any) -> None:
    """Check the request that the provider received."""
    found = scp.hear("action_type")
    assert (found["action_type"], found["instance"]) == (action_type, instance)
    assert found["sop_class"] == UnifiedProcedureStepPush
    expected = data_set(ReceivingAE="WATCHER", **information)
    assert Dataset.from_json(found["information"]) == expected


def report(scp: Program, instance: str, event_type: int, **information: Any) -> list[int]:
    """Let the provider send an event; return the Statuses of the responses."""
    event = data_set(**information).to_json_dict()
    scp.tell(instance=instance, event_type=event_type, information=event)
    statuses: list[int] = scp.hear("receivers")["statuses"]
    return statuses


def shown(line: str) -> str:
    """A line without its time, which must be one."""
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  UPS-SCP  ", line), line
    return line.split("  ", 2)[2]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_watch_all(end):
    progress = data_set(ProcedureStepProgress="12.5", ProcedureStepProgressDescription="halfway")
    code = data_set(CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning="Somebody")
    with watched() as (scp, watcher):
        subscription(scp, SUBSCRIBE, GLOBAL, DeletionLock="FALSE")
        state = {"ProcedureStepState": "IN PROGRESS", "InputReadinessState": "READY"}
        assert report(scp, STEPS[0], 1, **state) == [0]
        assert shown(watcher.line()) == f"{STEPS[0]}  UPS State Report  IN PROGRESS, READY"
        assert report(scp, STEPS[0], 2, RequestingAE="RIS", ReasonForCancellation="gone") == [0]
        assert shown(watcher.line()) == f"{STEPS[0]}  UPS Cancel Requested  RIS, gone"
        information = {"ProcedureStepProgressInformationSequence": [progress]}
        assert report(scp, STEPS[1], 3, **information) == [0]
        assert shown(watcher.line()) == f"{STEPS[1]}  UPS Progress Report  12.5 %, halfway"
        change = {
            "SCPStatus": "RESTARTED",
            "SubscriptionListStatus": "WARM START",
            "UnifiedProcedureStepListStatus": "COLD START",
        }
        assert report(scp, STEPS[1], 4, **change) == [0]
        assert shown(watcher.line()).endswith("RESTARTED, WARM START, COLD START")
        assert report(scp, STEPS[1], 5, HumanPerformerCodeSequence=[code]) == [0]
        assert shown(watcher.line()) == f"{STEPS[1]}  UPS Assigned  Somebody"
        # No such event type.
        assert report(scp, STEPS[1], 6, RequestingAE="X") == [0x0113]
        watcher.send_signal(end)
        subscription(scp, UNSUBSCRIBE, GLOBAL)
        assert watcher.ended() == 0


def test_subscribes_again_after_a_cold_start():
    with watched() as (scp, watcher):
        subscription(scp, SUBSCRIBE, GLOBAL, DeletionLock="FALSE")
        change = {
            "SCPStatus": "RESTARTED",
            "SubscriptionListStatus": "COLD START",
            "UnifiedProcedureStepListStatus": "COLD START",
        }
        assert report(scp, STEPS[1], 4, **change) == [0]
        assert watcher.find("the SCP has lost its subscriptions: subscribing again")
        subscription(scp, SUBSCRIBE, GLOBAL, DeletionLock="FALSE")


def test_watch_two_steps_as_json():
    options = ("--ups", STEPS[0], "--ups", STEPS[1], "--deletion-lock", "--json")
    with watched(*options, "--stop-after", 3) as (scp, watcher):
        for step in STEPS:
            subscription(scp, SUBSCRIBE, step, DeletionLock="TRUE")
        initial = {"InputReadinessState": "READY", "ProcedureStepState": "SCHEDULED"}
        lines = [json.loads(watcher.line()) for _ in STEPS]
        assert [line["AffectedSOPInstanceUID"] for line in lines] == STEPS
        assert [line["EventInformation"] for line in lines] == [initial, initial]
        assert {line["EventTypeName"] for line in lines} == {"UPS State Report"}
        progress = data_set(ProcedureStepProgress="40.5")
        report(scp, STEPS[1], 3, ProcedureStepProgressInformationSequence=[progress])
        line = json.loads(watcher.line())
        assert line["CallingAETitle"] == "UPS-SCP"
        assert line["EventTypeID"] == 3
        assert line["EventInformation"] == {
            "ProcedureStepProgressInformationSequence": [{"ProcedureStepProgress": "40.5"}]
        }
        for step in STEPS:
            subscription(scp, UNSUBSCRIBE, step)
        assert watcher.ended() == 0


def test_refused_subscription_ends_the_others():
    with watched("--ups", STEPS[0], "--ups", "1.2.9") as (scp, watcher):
        subscription(scp, SUBSCRIBE, STEPS[0], DeletionLock="FALSE")
        subscription(scp, SUBSCRIBE, "1.2.9", DeletionLock="FALSE")
        assert watcher.find("error: .*C307 the UPS does not exist")
        subscription(scp, UNSUBSCRIBE, STEPS[0])
        assert watcher.ended() == 1


def test_watcher_without_an_address():
    with watched("--calling-ae", "STRANGER") as (_, watcher):
        assert watcher.find("error: .*C308 the SCP does not have the AE title")
        assert watcher.ended() == 1


def test_watcher_without_a_lock():
    with watched("--deletion-lock", locks=False) as (_, watcher):
        assert watcher.find("all UPS: subscribed, but the deletion lock was not granted")


def test_both_connections_with_tls(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    made = authority.issue_cert("localhost")
    certificate = b"".join(pem.bytes() for pem in made.cert_chain_pems)
    (tmp_path / "certificate.pem").write_bytes(certificate)
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    tls = TLS(
        ca=tmp_path / "ca.pem",
        certificate=tmp_path / "certificate.pem",
        key=tmp_path / "key.pem",
    )
    [port] = free_ports(1)
    options = [
        word
        for name in ("ca", "certificate", "key")
        for word in (f"--{name}", tmp_path / f"{name}.pem")
    ]
    watcher_peer = Peer("localhost", port, called_ae="WATCHER", sop_classes=[ups.EVENT], tls=tls)
    step = {"ProcedureStepState": "SCHEDULED", "InputReadinessState": "READY"}
    subscriptions = ups.Subscriptions()
    with (
        listen(
            0,
            host=HOST,
            action_handler=subscriptions.handle,
            sop_classes=[ups.WATCH],
            tls=tls,
        ) as listener,
        Delivery([watcher_peer]) as delivery,
    ):
        words = ("watch", "localhost", listener.port, "--host", HOST, "--port", port)
        with running(Path("-m"), "fastdimse", *words, *options) as watcher:
            until(lambda: subscriptions.subscribers(GLOBAL) == ["WATCHER"])
            subscriptions.put(delivery, subscriptions.add_instance("1.2.3", step))
            assert "1.2.3  UPS State Report  SCHEDULED, READY" in watcher.line()
            watcher.send_signal(signal.SIGTERM)
            assert watcher.ended() == 0
        assert subscriptions.subscribers(GLOBAL) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--ups", "1.2.3", "--filter", "WorklistLabel=CT"], "cannot be combined"),
        (["--filter", "WorklistLabel"], "--filter must be KEY=VALUE, not WorklistLabel"),
        (["--filter", "=CT"], "--filter must be KEY=VALUE"),
        (["--filter", "WorklistLabel=A", "--filter", "WorklistLabel=B"], "has a value already"),
        (["--calling-ae", "x" * 17], "AE"),
    ],
)
def test_wrong_options(options, text):
    done = run("watch", HOST, 1, "--port", 0, *options)
    assert done.returncode == 2
    assert text in done.stderr.decode()


def test_scp_that_is_not_there():
    done = run("watch", HOST, free_ports(1)[0], "--port", 0)
    assert done.returncode == 1
    assert re.search(r"^fastdimse: error: ANY-SCP@127\.0\.0\.1:\d+: ", done.stderr.decode(), re.M)


# -------------------------------------------------------------------- example


class Requester:
    """An SCU of pynetdicom that creates and changes steps."""

    def __init__(self, port: int) -> None:
        self._ae = AE("REQUESTER")
        self._ae.requested_contexts = []
        for sop_class in ("Push", "Pull", "Watch", "Query"):
            number = {"Push": 1, "Watch": 2, "Pull": 3, "Query": 5}[sop_class]
            self._ae.add_requested_context(f"1.2.840.10008.5.1.4.34.6.{number}")
        self._association = self._ae.associate(HOST, port)
        assert self._association.is_established

    def create(self, uid: str, **attributes: Any) -> int:
        step = data_set(ProcedureStepState="SCHEDULED", InputReadinessState="READY", **attributes)
        status, _ = self._association.send_n_create(step, UnifiedProcedureStepPush, uid)
        return int(status.Status)

    def act(self, action_type: int, uid: str, **attributes: Any) -> int:
        status, _ = self._association.send_n_action(
            data_set(**attributes), action_type, UnifiedProcedureStepPush, uid
        )
        return int(status.Status)

    def change(self, uid: str, **attributes: Any) -> int:
        status, _ = self._association.send_n_set(
            data_set(**attributes),
            UnifiedProcedureStepPush,
            uid,
            meta_uid="1.2.840.10008.5.1.4.34.6.3",
        )
        return int(status.Status)

    def find(self, **keys: Any) -> list[Dataset]:
        responses = self._association.send_c_find(data_set(**keys), "1.2.840.10008.5.1.4.34.6.5")
        return [found for status, found in responses if status.Status == 0xFF00]

    def get(self, uid: str) -> Dataset:
        _, found = self._association.send_n_get([], UnifiedProcedureStepPush, uid)
        return found

    def release(self) -> None:
        self._association.release()


def test_worklist_and_watcher(tmp_path):
    port, listen_port = free_ports(2)
    words = (tmp_path, "--port", port, "--peer", "WATCHER", HOST, listen_port)
    watch = ("fastdimse", "watch", HOST, port, "--host", HOST, "--port", listen_port)
    filters = ("--filter", "WorklistLabel=CT*", "--deletion-lock")
    with running(WORKLIST, *words) as worklist:
        assert worklist.find("listens on", "stdout")
        requester = Requester(port)
        assert requester.create("1.2.1", WorklistLabel="CT 1") == 0x0000
        assert requester.create("1.2.1", WorklistLabel="CT 1") == 0x0111
        assert requester.create("1.2.2", WorklistLabel="MR 1") == 0x0000
        with running(Path("-m"), *watch, *filters) as watcher:
            # The SCP Status Change was due since the start.
            assert shown(watcher.line()) == (
                f"{GLOBAL}  SCP Status Change  RESTARTED, WARM START, WARM START"
            )
            assert shown(watcher.line()) == "1.2.1  UPS State Report  SCHEDULED, READY"
            assert requester.create("1.2.3", WorklistLabel="CT 2") == 0x0000
            assert shown(watcher.line()) == "1.2.3  UPS State Report  SCHEDULED, READY"
            claim = {"ProcedureStepState": "IN PROGRESS", "TransactionUID": "1.2.77"}
            assert requester.act(1, "1.2.3", **claim) == 0x0000
            assert shown(watcher.line()) == "1.2.3  UPS State Report  IN PROGRESS, READY"
            assert requester.act(1, "1.2.3", **claim) == 0xC302
            progress = [data_set(ProcedureStepProgress="40")]
            changes: dict[str, Any] = {"ProcedureStepProgressInformationSequence": progress}
            assert requester.change("1.2.3", **changes) == 0xC301
            assert requester.change("1.2.3", TransactionUID="1.2.77", **changes) == 0x0000
            assert shown(watcher.line()) == "1.2.3  UPS Progress Report  40 %"
            assert requester.act(2, "1.2.3", ReasonForCancellation="gone") == 0x0000
            assert shown(watcher.line()) == "1.2.3  UPS Cancel Requested  REQUESTER, gone"
            found = requester.find(WorklistLabel="CT*", ProcedureStepState="IN PROGRESS")
            assert [step.WorklistLabel for step in found] == ["CT 2"]
            assert "TransactionUID" not in requester.get("1.2.3")
            # Nothing is lost when the worklist is killed.
            worklist.send_signal(signal.SIGKILL)
            worklist.ended()
            with running(WORKLIST, *words) as again:
                assert again.find("listens on", "stdout")
                assert "SCP Status Change" in watcher.line()
                requester = Requester(port)
                done = {**claim, "ProcedureStepState": "COMPLETED"}
                assert requester.act(1, "1.2.3", **done) == 0x0000
                assert shown(watcher.line()) == "1.2.3  UPS State Report  COMPLETED, READY"
                requester.release()
                watcher.send_signal(signal.SIGINT)
                assert watcher.ended() == 0
                again.send_signal(signal.SIGTERM)
                assert again.ended() == 0
