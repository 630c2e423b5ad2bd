"""Associations and listeners of `fastdimse.aio` with other tasks of the event loop."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import pyarrow as pa
import pytest

from fastdimse import AssociationError, ReceivedRequest, aio, connect, listen
from outbox_sender import numbered
from scripted_peer import A_ABORT, HOST, Conversation, peer
from test_delivery import events, listener, responding
from test_outbox import instances, recording_receiver


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine, with a timeout."""
    return asyncio.run(asyncio.wait_for(main, 30))


def test_send_to_pynetdicom():
    async def main() -> None:
        async with aio.connect(HOST, port, called_ae="PEER") as association:
            outcomes = await association.send(events(3))
            assert outcomes.to_pydict()["Status"] == [0, 1, 2]
            assert association.association.window == 1

    with listener() as (port, got):
        run(main())
    assert len(got) == 3


def test_other_tasks_run_during_a_call():
    def slow(talk: Conversation) -> None:
        talk.accept()
        for request in talk.requests():
            time.sleep(0.5)
            talk.respond(request.MessageID)

    async def main() -> int:
        association = await aio.connect(HOST, port)
        sending = asyncio.ensure_future(association.send(events(1)))
        ticks = 0
        while not sending.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert sending.result().answered == 1
        await association.release()
        return ticks

    with peer(slow) as port:
        assert run(main()) > 10


def test_endless_stream():
    async def stream() -> AsyncIterator[dict[str, Any]]:
        for event in numbered(10**9):
            yield event

    async def main() -> None:
        sent = 0
        async with aio.connect(HOST, receiver.listener.port) as association:
            async for outcomes in association.send_batches(stream(), batch_size=100):
                assert outcomes.answered == len(outcomes) <= 100
                sent += len(outcomes)
                if sent > 1000:
                    break
            batches = association.send_batches(numbered(5), batch_size=2)
            assert [len(batch) async for batch in batches] == [2, 2, 1]
        return sent

    with recording_receiver() as receiver:
        sent = run(main())
    assert receiver.instances == [*instances(sent), *instances(5)]


def test_events_are_sent_when_they_are_available():
    come: asyncio.Queue[Any] = asyncio.Queue()

    async def stream() -> AsyncIterator[Any]:
        while (event := await come.get()) is not None:
            yield event

    async def main() -> None:
        async with aio.connect(HOST, receiver.listener.port) as association:
            batches = association.send_batches(stream())
            for event in numbered(3):
                await come.put(event)
                outcomes = await anext(batches)
                assert (len(outcomes), outcomes.answered) == (1, 1)
            await come.put(None)
            assert [batch async for batch in batches] == []

    with recording_receiver() as receiver:
        run(main())
    assert receiver.instances == instances(3)


def test_exception_of_a_stream():
    async def stream() -> AsyncIterator[Any]:
        for event in numbered(2):
            yield event
        raise KeyError("no more")

    async def main() -> None:
        async with aio.connect(HOST, receiver.listener.port) as association:
            async for _ in association.send_batches(stream()):
                pass

    with recording_receiver() as receiver, pytest.raises(KeyError, match="no more"):
        run(main())
    assert receiver.instances == instances(2)


def test_batches_end_at_the_end_of_the_association():
    async def stream() -> AsyncIterator[Any]:
        for event in numbered(10**9):
            yield event

    async def main() -> list[int]:
        async with aio.connect(HOST, port) as association:
            batches = association.send_batches(stream(), batch_size=4)
            return [batch.answered async for batch in batches]

    with peer(responding(5, lambda talk: None)) as port:
        assert sum(run(main())) == 5


def test_cancelled_task_aborts_the_association():
    def silent(talk: Conversation) -> None:
        talk.accept()
        next(talk.requests())
        assert talk.read()[:1] == A_ABORT[:1]

    async def main() -> None:
        async with aio.connect(HOST, port) as association:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(association.send(events(1)), 0.3)

    with peer(silent) as port:
        begin = time.monotonic()
        run(main())
        assert time.monotonic() - begin < 10


def test_exception_in_the_block_aborts_the_association():
    def script(talk: Conversation) -> None:
        talk.accept()
        assert talk.read()[:1] == A_ABORT[:1]

    async def main() -> None:
        async with aio.connect(HOST, port):
            raise KeyError("mine")

    with peer(script) as port, pytest.raises(KeyError, match="mine"):
        run(main())


def test_connection_refused():
    async def main() -> None:
        await aio.connect(HOST, 1)

    with pytest.raises(AssociationError, match="no connection"):
        run(main())


def test_receive_events():
    async def main() -> tuple[list[str], list[str]]:
        got: list[str] = []
        async with aio.listen(0, host=HOST) as listener_:
            # Events that are received while no task waits are not lost.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(listener_.receive(), 0.1)

            async def receive() -> None:
                async for received in listener_:
                    got.extend(pa.table(received)["AffectedSOPInstanceUID"].to_pylist())

            async with aio.connect(HOST, listener_.port) as association:
                await association.send(numbered(10))
                taking = asyncio.ensure_future(receive())
                await association.send(numbered(5))
            while len(got) < 15:
                await asyncio.sleep(0.01)
        await taking
        return got

    assert run(main()) == [*instances(10), *instances(5)]


def test_each_batch_is_passed_to_one_task():
    async def main() -> list[str]:
        async with aio.listen(0, host=HOST) as listener:
            got: list[str] = []

            async def receive() -> None:
                async for received in listener:
                    got.extend(pa.table(received)["AffectedSOPInstanceUID"].to_pylist())

            all_of_them = list(numbered(30))
            tasks = [asyncio.ensure_future(receive()) for _ in range(5)]
            async with aio.connect(HOST, listener.port) as association:
                for start in range(0, 30, 10):
                    await association.send(all_of_them[start : start + 10])
                    await asyncio.sleep(0.15)
            while len(got) < 30:
                await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)
        return got

    assert sorted(run(main())) == sorted(instances(30))


def test_cancelled_tasks_lose_no_events():
    async def main() -> list[str]:
        got: list[str] = []
        async with (
            aio.listen(0, host=HOST) as listener,
            aio.connect(HOST, listener.port) as association,
        ):
            sending = asyncio.ensure_future(association.send(numbered(2000)))
            while not sending.done() or len(got) < 2000:
                with contextlib.suppress(TimeoutError):
                    received = await asyncio.wait_for(listener.receive(linger=0), 0.0005)
                    got.extend(pa.table(received)["AffectedSOPInstanceUID"].to_pylist())
        return got

    assert run(main()) == instances(2000)


def test_a_program_that_cancels_all_tasks_loses_no_events():
    async def main() -> list[str]:
        listener = await aio.listen(0, host=HOST)
        others = asyncio.all_tasks()
        waiting = asyncio.ensure_future(listener.receive(linger=0))
        await asyncio.sleep(0.05)
        for task in asyncio.all_tasks() - others:
            task.cancel()
        assert await asyncio.gather(waiting, return_exceptions=True) != [None]
        # The call of the cancelled task still runs in its thread.
        await asyncio.to_thread(send_one, listener.port)
        received = await listener.receive(timeout=10)
        assert received is not None
        await listener.close()
        return list(pa.table(received)["AffectedSOPInstanceUID"].to_pylist())

    assert run(main()) == instances(1)


def test_the_events_of_a_cancelled_task_reach_a_task_that_waits():
    async def main() -> tuple[list[int], bool]:
        listener = await aio.listen(0, host=HOST)
        first = asyncio.ensure_future(listener.receive(linger=0))
        await asyncio.sleep(0.02)
        got: list[int] = []

        async def receive() -> None:
            async for received in listener:
                got.append(len(received))

        second = asyncio.ensure_future(receive())
        await asyncio.sleep(0.02)
        first.cancel()
        await asyncio.to_thread(send_one, listener.port)
        # Not after the next event, nor lost at the end of the iteration.
        await listener.close()
        await second
        return got, first.cancelled()

    assert [run(main()) for _ in range(5)] == [([1], True)] * 5


def send_one(port: int) -> None:
    with connect(HOST, port) as association:
        assert association.send(numbered(1)).to_pydict()["Status"] == [0]


class _Late:
    """An association whose iterator of events returns only after it was stopped."""

    def __init__(self, association: Any) -> None:
        self._association = association
        self.arrived, self.stopped = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._association, name)

    def events(self, **options: Any) -> Iterator[ReceivedRequest]:
        for event in self._association.events(**options):
            self.arrived.set()
            self.stopped.wait(10)
            yield event

    def stop(self, *, at_once: bool) -> None:
        self._association.stop(at_once=at_once)
        self.stopped.set()


def test_an_event_that_a_cancelled_task_does_not_get_has_no_response():
    reports = []

    def report(associated: Any) -> None:
        reports.append(associated.report(next(numbered(1))))

    async def main(port: int) -> None:
        async with aio.connect(HOST, port, role="scu") as association:
            late: Any = _Late(association.association)
            association.association = late

            async def receive() -> None:
                async for _ in association.events():
                    raise AssertionError

            task = asyncio.ensure_future(receive())
            assert await asyncio.to_thread(late.arrived.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with listen(0, host=HOST, association_handler=report) as listener:
        run(main(listener.port))
        [outcome] = reports
        columns = outcome.result(10).to_pydict()
    assert (columns["Status"], columns["Failure"]) == ([None], ["aborted"])


def test_waiting_task_does_not_keep_the_program_alive():
    async def main() -> None:
        listener = await aio.listen(0, host=HOST)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listener.receive(), 0.05)
        assert await listener.receive(timeout=0.05) is None
        # The listener stays open, and asyncio.run waits for the threads of calls.
        waiting.append(listener)

    waiting: list[Any] = []
    begin = time.monotonic()
    run(main())
    assert time.monotonic() - begin < 10
    waiting[0].listener.close()


def test_requests_and_the_reports_to_them() -> None:
    """The report of an action arrives on the association of the request."""
    service = {
        "SOPClassUID": "1.2.840.10008.1.20.1",
        "SOPInstanceUID": "1.2.840.10008.1.20.1.1",
    }
    action = {f"Requested{name}": uid for name, uid in service.items()}
    event = {f"Affected{name}": uid for name, uid in service.items()}

    def perform(received: ReceivedRequest) -> None:
        received.association.report([event | {"EventTypeID": number} for number in (1, 2)])

    async def ask(port: int) -> tuple[list[int | None], list[int]]:
        async with aio.connect("localhost", port, role="scu") as association:
            outcomes = await association.request(action | {"ActionTypeID": 1})
            events = association.events(timeout=10, count=2)
            types = [received.request.EventTypeID async for received in events]
        return outcomes.to_pydict()["Status"], types

    with listen(0, host="localhost", action_handler=perform) as listener:
        assert asyncio.run(ask(listener.port)) == ([0], [1, 2])
