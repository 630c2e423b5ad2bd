"""Associations, listeners and deliveries for asyncio.

Each of them uses threads of its own, in which the Rust code runs without holding the global
interpreter lock, so that it does not block the event loop.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import fastdimse
from fastdimse._delivery.outcome_feed import OutcomeBatches

__all__ = ["Association", "Delivery", "Listener", "connect", "deliver", "listen"]

_T = TypeVar("_T")

# Maximum time of one call of `receive` in a thread, in seconds: the thread of a task that was
# cancelled ends soon.
_RECEIVE_TIMEOUT = 0.25
# Number of tasks that can wait for events of one listener at the same time.
_RECEIVERS = 32
# Number of calls of one delivery that can run at the same time, and the maximum time in seconds of
# one that waits.
_CALLS = 8
_WAIT_TIMEOUT = 0.25


class _Threaded:
    """Base of classes that call an object of the extension in other threads."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor

    async def _run(self, function: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: function(*arguments, **options))

    def _end(self) -> None:
        self._executor.shutdown(wait=False)


class _Closeable(Protocol):
    async def _exit(self, *, abort: bool) -> None: ...


_Opened = TypeVar("_Opened", bound=_Closeable)


class Opening(Generic[_Opened]):
    """An association or a listener, which opens on ``await`` or ``async with``.

    Parameters
    ----------
    function : callable
        Opens the object of the extension.
    wrap : callable
        Returns the object for asyncio. Its arguments are the object of the extension and the
        executor of its calls.
    threads : int, default 1
        Number of calls that can run at the same time.
    """

    def __init__(
        self,
        function: Callable[[], Any],
        wrap: Callable[[Any, ThreadPoolExecutor], _Opened],
        threads: int = 1,
    ) -> None:
        self._function = function
        self._wrap = wrap
        self._threads = threads
        self._opened: _Opened | None = None

    async def _open(self) -> _Opened:
        executor = ThreadPoolExecutor(self._threads, thread_name_prefix="fastdimse")
        opening = asyncio.get_running_loop().run_in_executor(executor, self._function)
        try:
            return self._wrap(await asyncio.shield(opening), executor)
        except asyncio.CancelledError:
            # It is opened nevertheless, and no task would close it.
            opening.add_done_callback(_close_unwanted)
            executor.shutdown(wait=False)
            raise
        except BaseException:
            executor.shutdown(wait=False)
            raise

    def __await__(self) -> Generator[Any, None, _Opened]:
        """Open, and return the association or listener."""
        return self._open().__await__()

    async def __aenter__(self) -> _Opened:
        """Open, and return the association or listener."""
        self._opened = await self._open()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the association, or abort it after an exception; close the listener."""
        assert self._opened is not None
        await self._opened._exit(abort=kind is not None)


def _close_unwanted(opening: "asyncio.Future[Any]") -> None:
    if opening.cancelled() or opening.exception() is not None:
        return
    opened = opening.result()
    close = opened.abort if isinstance(opened, fastdimse.Association) else opened.close
    asyncio.get_running_loop().run_in_executor(None, close)


def connect(host: str, port: int, **options: Any) -> Opening["Association"]:
    """Open an association to send events.

    Parameters
    ----------
    host : str
        Host name or IP address of the peer.
    port : int
        TCP port of the peer.
    **options
        Same as for :func:`fastdimse.connect`.

    Returns
    -------
    awaitable of Association, or async context manager
        ``await`` returns the :class:`Association`. ``async with`` also releases it at the end of
        the block, or aborts it if an exception leaves the block.

    Raises
    ------
    AssociationError
        If the association cannot be opened.
    TypeError, ValueError
        Same as :func:`fastdimse.connect`.

    Examples
    --------
    >>> import asyncio
    >>> from fastdimse import aio, listen
    >>> event = {
    ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    ...     "EventTypeID": 1,
    ... }
    >>> async def report(port):
    ...     async with aio.connect("localhost", port) as association:
    ...         return await association.send([event])
    >>> with listen(0, host="localhost") as listener:
    ...     asyncio.run(report(listener.port))
    <Outcomes: 1 event, 1 answered>
    """
    return Opening(lambda: fastdimse.connect(host, port, **options), Association)


def listen(port: int, **options: Any) -> Opening["Listener"]:
    """Listen for associations on which peers send events.

    Parameters
    ----------
    port : int
        TCP port, 0 for any free one.
    **options
        Same as for :func:`fastdimse.listen`. Handlers are ordinary functions, which are called in
        a thread of the listener, not in the event loop.

    Returns
    -------
    awaitable of Listener, or async context manager
        ``await`` returns the :class:`Listener`. ``async with`` also closes it at the end of the
        block.

    Raises
    ------
    OSError
        If the port cannot be opened.
    TypeError, ValueError
        Same as :func:`fastdimse.listen`.

    Examples
    --------
    >>> import asyncio
    >>> from fastdimse import aio
    >>> event = {
    ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    ...     "EventTypeID": 1,
    ... }
    >>> async def exchange():
    ...     async with aio.listen(0, host="localhost") as listener:
    ...         async with aio.connect("localhost", listener.port) as association:
    ...             await association.send([event])
    ...         return await listener.receive(timeout=10)
    >>> asyncio.run(exchange())
    <ReceivedEvents: 1 event>
    """
    return Opening(lambda: fastdimse.listen(port, **options), Listener, _RECEIVERS)


def deliver(peers: Any = (), **options: Any) -> Opening["Delivery"]:
    """Open a delivery of events to peers.

    Parameters
    ----------
    peers : Peer or iterable of Peer, default ()
        The peers.
    **options
        Same as for :class:`fastdimse.Delivery`. `on_outcomes` is an ordinary function, which is
        called in a thread of the delivery, not in the event loop.

    Returns
    -------
    awaitable of Delivery, or async context manager
        ``await`` returns the :class:`Delivery`. ``async with`` also waits at the end of the block
        until all events have an outcome, and closes the delivery; if an exception leaves the block,
        it closes it without that wait.

    Raises
    ------
    OutboxError, TypeError, ValueError
        Same as :class:`fastdimse.Delivery`.

    Examples
    --------
    >>> import asyncio
    >>> from fastdimse import Peer, aio, listen
    >>> event = {
    ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    ...     "EventTypeID": 1,
    ... }
    >>> async def report(port):
    ...     async with aio.deliver(Peer("localhost", port, called_ae="CT")) as delivery:
    ...         return await delivery.put([event], peer="CT")
    >>> with listen(0, host="localhost") as listener:
    ...     asyncio.run(report(listener.port))
    range(0, 1)
    """
    return Opening(lambda: fastdimse.Delivery(peers, **options), Delivery, _CALLS)


class Association(_Threaded):
    """An association to send events and request actions, for asyncio. :func:`connect` opens it.

    Attributes
    ----------
    association : fastdimse.Association
        The association, with the result of the negotiation in its attributes.

    Examples
    --------
    >>> import asyncio
    >>> from fastdimse import aio, listen
    >>> event = {
    ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    ...     "EventTypeID": 1,
    ... }
    >>> async def report(port):
    ...     async with aio.connect("localhost", port) as association:
    ...         async for outcomes in association.send_batches([event] * 3, batch_size=2):
    ...             print(len(outcomes), outcomes.answered)
    >>> with listen(0, host="localhost") as listener:
    ...     asyncio.run(report(listener.port))
    2 2
    1 1
    """

    def __init__(self, association: fastdimse.Association, executor: ThreadPoolExecutor) -> None:
        super().__init__(executor)
        self.association = association

    def __repr__(self) -> str:
        """Return a description of the association."""
        return f"<aio {self.association!r}>"

    async def send(self, events: Any, **options: Any) -> fastdimse.Outcomes:
        """Send events, and wait for the responses.

        If the task is cancelled, the association is aborted.

        Parameters
        ----------
        events : Arrow table or stream, mapping of columns, or iterable
            Same as for :func:`fastdimse.encode_events`.
        **options
            Same as for :meth:`fastdimse.Association.send`.

        Returns
        -------
        fastdimse.Outcomes
            The outcome of each event.

        Raises
        ------
        ColumnError, TypeError, ValueError, RuntimeError
            Same as :meth:`fastdimse.Association.send`.
        """
        return await self._or_abort(self.association.send, events, **options)

    async def _or_abort(self, function: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
        running = asyncio.wrap_future(self._executor.submit(function, *arguments, **options))
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            self.association.stop(at_once=True)
            await asyncio.wait([running])
            if not running.cancelled() and running.exception() is None:
                # It returned before it was stopped. Nobody has the event that it returned, so that
                # event must not get a response.
                with suppress(RuntimeError):
                    await self._run(self.association.abort)
            raise
        return running.result()

    async def send_batches(
        self, events: Any, *, batch_size: int = 4096, **options: Any
    ) -> AsyncIterator[fastdimse.Outcomes]:
        """Send a stream of events in batches.

        Parameters
        ----------
        events : iterable or async iterable
            Same as for :meth:`fastdimse.Association.send_batches`, or an async iterable of
            `N_EVENT_REPORT` or mappings. A batch of an async iterable contains the events that are
            available. Further ones are read from it while the batch is sent.
        batch_size : int, default 4096
            Maximum number of events in a batch, at least 1.
        **options
            Same as for :meth:`fastdimse.Association.send`.

        Yields
        ------
        fastdimse.Outcomes
            The outcomes of a batch, when all of its events have one. If the association fails, its
            batch is the last one.

        Raises
        ------
        ColumnError, TypeError, ValueError, RuntimeError
            Same as :meth:`fastdimse.Association.send_batches`.
        """
        if not isinstance(events, AsyncIterable):
            batches = self.association.send_batches(events, batch_size=batch_size, **options)
            while (outcomes := await self._or_abort(next, batches, None)) is not None:
                yield outcomes
            return
        async with aclosing(_available(events, batch_size)) as batches_of_events:
            async for batch in batches_of_events:
                outcomes = await self.send(batch, **options)
                yield outcomes
                if outcomes.failure is not None:
                    return

    async def request(self, actions: Any, **options: Any) -> fastdimse.Outcomes:
        """Request actions, and wait for the responses.

        If the task is cancelled, the association is aborted.

        Parameters
        ----------
        actions : N_ACTION, Arrow table or stream, mapping of columns, or iterable
            Same as for :meth:`fastdimse.Association.request`.
        **options
            Same as for :meth:`fastdimse.Association.request`.

        Returns
        -------
        fastdimse.Outcomes
            The outcome of each action.

        Raises
        ------
        ColumnError, TypeError, ValueError, RuntimeError
            Same as :meth:`fastdimse.Association.request`.
        """
        return await self._or_abort(self.association.request, actions, **options)

    async def events(
        self, *, timeout: float | None = None, count: int | None = None
    ) -> AsyncIterator[fastdimse.ReceivedRequest]:
        """Receive the events that the peer reports on the association.

        The response to an event is Success, and is sent when the next event is asked for, or the
        association is used again or released. If the task is cancelled while it waits, the
        association is aborted.

        Parameters
        ----------
        timeout : float, optional
            Maximum time to wait for all events, in seconds. By default there is no limit.
        count : int, optional
            Maximum number of events. By default there is no limit.

        Yields
        ------
        fastdimse.ReceivedRequest
            An event.

        Raises
        ------
        AssociationError, RuntimeError, ValueError
            Same as :meth:`fastdimse.Association.events`.
        """
        events = self.association.events(timeout=timeout, count=count)
        while (received := await self._or_abort(next, events, None)) is not None:
            yield received

    async def release(self) -> None:
        """Release the association.

        Raises
        ------
        AssociationError
            If the release fails.
        """
        try:
            await self._run(self.association.release)
        finally:
            self._end()

    async def abort(self) -> None:
        """Abort the association, even while a task sends on it."""
        self.association.stop(at_once=True)
        try:
            await self._run(self.association.__exit__, RuntimeError, None, None)
        finally:
            self._end()

    async def _exit(self, *, abort: bool) -> None:
        if abort:
            await self.abort()
            return
        try:
            await self._run(self.association.__exit__, None, None, None)
        finally:
            self._end()


async def _available(
    events: AsyncIterable[Any], batch_size: int
) -> AsyncGenerator[list[Any], None]:
    """Yield batches of the events that are available, at least one in each."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    queue: asyncio.Queue[Any] = asyncio.Queue(batch_size)
    end = object()

    async def read() -> None:
        try:
            async for event in events:
                await queue.put(event)
        except Exception:
            await queue.put(end)
            raise
        await queue.put(end)

    reading = asyncio.ensure_future(read())
    try:
        while True:
            batch = [await queue.get()]
            while len(batch) < batch_size and not queue.empty():
                batch.append(queue.get_nowait())
            is_end = batch[-1] is end
            if batch := [event for event in batch if event is not end]:
                yield batch
            if is_end:
                break
        await reading
    finally:
        reading.cancel()


class Listener(_Threaded):
    """A listener for asyncio, and an async iterator over the received events.

    :func:`listen` opens it.

    Attributes
    ----------
    listener : fastdimse.Listener
        The listener.

    Examples
    --------
    >>> import asyncio
    >>> from fastdimse import aio
    >>> event = {
    ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    ...     "EventTypeID": 1,
    ... }
    >>> async def exchange():
    ...     async with aio.listen(0, host="localhost") as listener:
    ...         async with aio.connect("localhost", listener.port) as association:
    ...             await association.send([event])
    ...         async for received in listener:
    ...             return len(received)
    >>> asyncio.run(exchange())
    1
    """

    def __init__(self, listener: fastdimse.Listener, executor: ThreadPoolExecutor) -> None:
        super().__init__(executor)
        self.listener = listener
        # Calls whose tasks were cancelled: later calls of `receive` return their events. They are
        # not tasks, which a program that cancels all tasks would cancel too.
        self._abandoned: list[Future[fastdimse.ReceivedEvents | None]] = []

    @property
    def port(self) -> int:
        """The TCP port."""
        return self.listener.port

    def __repr__(self) -> str:
        """Return a description of the listener."""
        return f"<aio {self.listener!r}>"

    async def receive(
        self, *, timeout: float | None = None, **options: Any
    ) -> fastdimse.ReceivedEvents | None:
        """Return a batch of received events.

        Several tasks can wait at the same time. Each batch is returned to one of them. If a task is
        cancelled, its events are returned by the next call.

        Parameters
        ----------
        timeout : float, optional
            Maximum time to wait, in seconds. By default there is no limit.
        **options
            Same as for :meth:`fastdimse.Listener.receive`.

        Returns
        -------
        fastdimse.ReceivedEvents or None
            ``None`` if no event was received within `timeout`, or the listener is closed.

        Raises
        ------
        TypeError, ValueError
            Same as :meth:`fastdimse.Listener.receive`.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = min(_RECEIVE_TIMEOUT, max(0.0, end - time.monotonic()))
            if self._abandoned:
                call, closed = self._abandoned.pop(0), False
            else:
                # Read before the call: after `close`, a call without events is the last one.
                closed = self.listener.closed
                call = self._executor.submit(self.listener.receive, timeout=left, **options)
            received = await self._result(call)
            is_over = (closed and not self._abandoned) or time.monotonic() >= end
            if received is not None or is_over:
                return received

    async def _result(
        self, call: "Future[fastdimse.ReceivedEvents | None]"
    ) -> fastdimse.ReceivedEvents | None:
        receiving = asyncio.wrap_future(call)
        try:
            await asyncio.wait([receiving])
        except asyncio.CancelledError:
            self._abandoned.append(call)
            raise
        return receiving.result()

    def __aiter__(self) -> Self:
        """Return the listener."""
        return self

    async def __anext__(self) -> fastdimse.ReceivedEvents:
        """Return a batch of received events, until the listener is closed."""
        received = await self.receive()
        if received is None:
            raise StopAsyncIteration
        return received

    async def close(self) -> None:
        """Accept no more associations, and end the current ones.

        Events that were received before can still be returned by :meth:`receive`.
        """
        await asyncio.to_thread(self.listener.close)

    async def _exit(self, *, abort: bool) -> None:
        await self.close()


class Delivery(_Threaded):
    """A delivery of events to peers, for asyncio. :func:`deliver` opens it.

    Attributes
    ----------
    delivery : fastdimse.Delivery
        The delivery. Its attributes and methods that do not use the outbox can be used directly:
        ``peers``, ``find_peer`` and ``progress``.

    Examples
    --------
    >>> import asyncio
    >>> from fastdimse import Peer, aio, listen
    >>> event = {
    ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    ...     "EventTypeID": 1,
    ... }
    >>> async def report(port):
    ...     async with aio.deliver() as delivery:
    ...         await delivery.add_peer(Peer("localhost", port, called_ae="CT"))
    ...         await delivery.put([event | {"Peer": "CT"}])
    ...         async for outcomes in delivery.take_outcomes(timeout=1):
    ...             print(outcomes["Event"], outcomes["StatusName"])
    >>> with listen(0, host="localhost") as listener:
    ...     asyncio.run(report(listener.port))
    [0] ['0x0000 Success']
    """

    def __init__(self, delivery: fastdimse.Delivery, executor: ThreadPoolExecutor) -> None:
        super().__init__(executor)
        self.delivery = delivery

    async def _run(self, function: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
        try:
            loop = asyncio.get_running_loop()
            call = loop.run_in_executor(self._executor, lambda: function(*arguments, **options))
        except RuntimeError:
            # After `close`: the last outcomes can still be taken.
            return await asyncio.to_thread(function, *arguments, **options)
        return await call

    def __repr__(self) -> str:
        """Return a description of the delivery."""
        return f"<aio {self.delivery!r}>"

    async def put(self, events: Any, **options: Any) -> range:
        """Add events to deliver, and return their numbers.

        If the task is cancelled, the events are added nevertheless.

        Parameters
        ----------
        events : Arrow table or stream, mapping of columns, or iterable
            Same as for :meth:`fastdimse.Delivery.put`.
        **options
            Same as for :meth:`fastdimse.Delivery.put`.

        Returns
        -------
        range
            Numbers of the events.

        Raises
        ------
        OutboxError, DeliveryError, RuntimeError, ColumnError, TypeError, ValueError
            Same as :meth:`fastdimse.Delivery.put`.
        """
        return await self._run(self.delivery.put, events, **options)

    async def add_peer(self, peer: fastdimse.Peer) -> None:
        """Add a peer.

        Parameters
        ----------
        peer : Peer
            The peer.

        Raises
        ------
        OutboxError, RuntimeError, TypeError, ValueError
            Same as :meth:`fastdimse.Delivery.add_peer`.
        """
        await self._run(self.delivery.add_peer, peer)

    async def remove_peer(self, peer: fastdimse.Peer | str) -> None:
        """Remove a peer, and wait for outstanding responses.

        Parameters
        ----------
        peer : Peer or str
            The peer, its name, or its called AE title.

        Raises
        ------
        OutboxError, RuntimeError, ValueError
            Same as :meth:`fastdimse.Delivery.remove_peer`.
        """
        await self._run(self.delivery.remove_peer, peer)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until no event is due to a peer that can still be reached.

        Parameters
        ----------
        timeout : float, optional
            Maximum time to wait, in seconds. By default there is no limit.

        Returns
        -------
        bool
            ``False`` if events are still due after `timeout`.

        Raises
        ------
        OutboxError, DeliveryError
            Same as :meth:`fastdimse.Delivery.wait`.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = max(0.0, end - time.monotonic())
            # The thread of a task that was cancelled ends soon.
            if await self._run(self.delivery.wait, min(left, _WAIT_TIMEOUT)):
                return True
            if time.monotonic() >= end:
                return False

    async def take_outcomes(self, timeout: float | None = None) -> AsyncIterator[dict[str, Any]]:
        """Iterate over outcomes as they are recorded, and remove them from the outbox.

        Parameters
        ----------
        timeout : float, optional
            The iteration ends if there is no new outcome for this time, in seconds. By default it
            ends when the delivery is closed.

        Yields
        ------
        dict of str to list
            Same as :meth:`fastdimse.Delivery.take_outcomes`.

        Raises
        ------
        OutboxError, RuntimeError
            Same as :meth:`fastdimse.Delivery.take_outcomes`.
        """
        batches = self.delivery.take_outcomes()
        try:
            while not batches.is_over:
                end = math.inf if timeout is None else time.monotonic() + timeout
                while (columns := await self._poll(batches, end)) is None:
                    if batches.is_over or time.monotonic() >= end:
                        return
                yield columns
        finally:
            batches.close()

    async def _poll(self, batches: OutcomeBatches, end: float) -> dict[str, Any] | None:
        left = max(0.0, end - time.monotonic())
        return await self._run(batches.poll, min(left, _WAIT_TIMEOUT))

    async def close(self, *, at_once: bool = False) -> None:
        """Send no more events, wait for outstanding responses, and release the associations.

        Parameters
        ----------
        at_once : bool, default False
            Abort the associations instead of waiting for responses.
        """
        try:
            # Not in the executor: all of its threads may be in use.
            await asyncio.to_thread(self.delivery.close, at_once=at_once)
        finally:
            self._end()

    async def _exit(self, *, abort: bool) -> None:
        try:
            if not abort:
                await self.wait()
        finally:
            await self.close()
