"""Associations and listeners for asyncio.

What :mod:`fastdimse` does in Rust without holding Python's lock is done here in a thread for each
association and listener, so that an event loop goes on meanwhile.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import fastdimse

__all__ = ["Association", "Listener", "connect", "listen"]

_T = TypeVar("_T")

# The longest call for events, in seconds: a thread whose task is gone ends soon.
_SLICE = 0.25
# How many tasks can wait for events of one listener at a time.
_RECEIVERS = 32


class _Threaded:
    """Something that is used in a thread of its own."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor

    async def _run(self, function: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: function(*arguments, **options))

    def _end(self) -> None:
        self._executor.shutdown(wait=False)


class _Opened(Protocol):
    async def _leave(self, *, in_order: bool) -> None: ...


_Opens = TypeVar("_Opens", bound=_Opened)


class Opening(Generic[_Opens]):
    """What is opened when it is awaited, or entered by ``async with``.

    Parameters
    ----------
    function : callable
        Opens it.
    wrap : callable
        Makes what is given of what that returned.
    threads : int, optional
        How many calls can run at a time.
    """

    def __init__(
        self,
        function: Callable[[], Any],
        wrap: Callable[[Any, ThreadPoolExecutor], _Opens],
        threads: int = 1,
    ) -> None:
        self._function = function
        self._wrap = wrap
        self._threads = threads
        self._opened: _Opens | None = None

    async def _open(self) -> _Opens:
        executor = ThreadPoolExecutor(self._threads, thread_name_prefix="fastdimse")
        opening = asyncio.get_running_loop().run_in_executor(executor, self._function)
        try:
            return self._wrap(await asyncio.shield(opening), executor)
        except asyncio.CancelledError:
            # It comes about nevertheless, and nobody would close it.
            opening.add_done_callback(_close_unwanted)
            executor.shutdown(wait=False)
            raise
        except BaseException:
            executor.shutdown(wait=False)
            raise

    def __await__(self) -> Generator[Any, None, _Opens]:
        """Open it."""
        return self._open().__await__()

    async def __aenter__(self) -> _Opens:
        """Open it."""
        self._opened = await self._open()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        assert self._opened is not None
        await self._opened._leave(in_order=kind is None)


def _close_unwanted(opening: "asyncio.Future[Any]") -> None:
    if opening.cancelled() or opening.exception() is not None:
        return
    opened = opening.result()
    close = opened.abort if isinstance(opened, fastdimse.Association) else opened.close
    asyncio.get_running_loop().run_in_executor(None, close)


def connect(host: str, port: int, **options: Any) -> Opening["Association"]:
    """Open an association to send events on.

    Parameters
    ----------
    host, port, **options
        As for :func:`fastdimse.connect`.

    Returns
    -------
    awaitable of Association, or async context manager
        The association. As a context manager it releases it, or aborts it where an exception
        leaves the block.

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
    """Listen for associations on which events come in.

    Parameters
    ----------
    port, **options
        As for :func:`fastdimse.listen`. A handler is called in a thread, not in the event loop.

    Returns
    -------
    awaitable of Listener, or async context manager
        The listener. As a context manager it closes it.
    """
    return Opening(lambda: fastdimse.listen(port, **options), Listener, _RECEIVERS)


class Association(_Threaded):
    """An association on which events are sent, for asyncio.

    Attributes
    ----------
    association : fastdimse.Association
        The association, which has the attributes of what was agreed on.
    """

    def __init__(self, association: fastdimse.Association, executor: ThreadPoolExecutor) -> None:
        super().__init__(executor)
        self.association = association

    def __repr__(self) -> str:
        """Return what it is."""
        return f"<aio {self.association!r}>"

    async def send(self, events: Any, **options: Any) -> fastdimse.Outcomes:
        """Send events and wait for their answers.

        A task that is cancelled meanwhile aborts the association.

        Parameters
        ----------
        events, **options
            As for :meth:`fastdimse.Association.send`.
        """
        return await self._or_abort(self.association.send, events, **options)

    async def _or_abort(self, function: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
        running = asyncio.ensure_future(self._run(function, *arguments, **options))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self.association.stop(at_once=True)
            await asyncio.wait([running])
            raise

    async def send_batches(
        self, events: Any, *, batch_size: int = 4096, **options: Any
    ) -> AsyncIterator[fastdimse.Outcomes]:
        """Send events of an endless stream, those that are there at a time.

        Parameters
        ----------
        events : iterable or async iterable
            As for :meth:`fastdimse.Association.send_batches`. Of an async iterable of
            N_EVENT_REPORT or mappings those that have come are sent, and others taken meanwhile.
        batch_size : int, optional
            The most events of a batch.
        **options
            As for :meth:`fastdimse.Association.send`.

        Yields
        ------
        fastdimse.Outcomes
            Those of a batch, when all of it is answered. The one in which the association failed
            is the last.
        """
        if not isinstance(events, AsyncIterable):
            batches = self.association.send_batches(events, batch_size=batch_size, **options)
            while (outcomes := await self._or_abort(next, batches, None)) is not None:
                yield outcomes
            return
        async with aclosing(_come(events, batch_size)) as batches_of_events:
            async for batch in batches_of_events:
                outcomes = await self.send(batch, **options)
                yield outcomes
                if outcomes.failure is not None:
                    return

    async def release(self) -> None:
        """Release the association."""
        try:
            await self._run(self.association.release)
        finally:
            self._end()

    async def abort(self) -> None:
        """Abort the association, also while it sends."""
        self.association.stop(at_once=True)
        try:
            await self._run(self.association.__exit__, RuntimeError, None, None)
        finally:
            self._end()

    async def _leave(self, *, in_order: bool) -> None:
        if not in_order:
            await self.abort()
            return
        try:
            await self._run(self.association.__exit__, None, None, None)
        finally:
            self._end()


async def _come(events: AsyncIterable[Any], most: int) -> AsyncGenerator[list[Any], None]:
    """Give events that have come, at least one and at most so many at a time."""
    if most < 1:
        raise ValueError(f"batch_size must be 1 and more, not {most}")
    come: asyncio.Queue[Any] = asyncio.Queue(most)
    end = object()

    async def take() -> None:
        try:
            async for event in events:
                await come.put(event)
        except Exception:
            await come.put(end)
            raise
        await come.put(end)

    taking = asyncio.ensure_future(take())
    try:
        while True:
            batch = [await come.get()]
            while len(batch) < most and not come.empty():
                batch.append(come.get_nowait())
            is_end = batch[-1] is end
            if batch := [event for event in batch if event is not end]:
                yield batch
            if is_end:
                break
        await taking
    finally:
        taking.cancel()


class Listener(_Threaded):
    """A port on which events are taken in, for asyncio: an async iterator of them.

    Attributes
    ----------
    listener : fastdimse.Listener
        The listener.
    """

    def __init__(self, listener: fastdimse.Listener, executor: ThreadPoolExecutor) -> None:
        super().__init__(executor)
        self.listener = listener
        # Calls whose tasks were cancelled: what they take belongs to whoever receives next.
        self._left: list[asyncio.Future[fastdimse.ReceivedEvents | None]] = []

    @property
    def port(self) -> int:
        """The port."""
        return self.listener.port

    def __repr__(self) -> str:
        """Return what it is."""
        return f"<aio {self.listener!r}>"

    async def receive(
        self, *, timeout: float | None = None, **options: Any
    ) -> fastdimse.ReceivedEvents | None:
        """Take events that were received.

        Several tasks can wait: each batch is given to one of them. Where a task is cancelled, the
        events that come meanwhile are given to the next call.

        Parameters
        ----------
        timeout, **options
            As for :meth:`fastdimse.Listener.receive`.

        Returns
        -------
        ReceivedEvents or None
            As :meth:`fastdimse.Listener.receive` returns it.
        """
        while self._left:
            received = await self._result(self._left.pop(0))
            if received is not None:
                return received
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _SLICE if end is None else min(_SLICE, max(0.0, end - time.monotonic()))
            # Read before the call: once it is closed, a call that finds nothing is the last.
            closed = self.listener.closed
            call = self._run(self.listener.receive, timeout=left, **options)
            received = await self._result(asyncio.ensure_future(call))
            over = closed or (end is not None and time.monotonic() >= end)
            if received is not None or over:
                return received

    async def _result(
        self, receiving: "asyncio.Future[fastdimse.ReceivedEvents | None]"
    ) -> fastdimse.ReceivedEvents | None:
        try:
            return await asyncio.shield(receiving)
        except asyncio.CancelledError:
            if not receiving.cancelled():
                self._left.insert(0, receiving)
            raise

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> fastdimse.ReceivedEvents:
        """Return events, until the listener is closed."""
        received = await self.receive()
        if received is None:
            raise StopAsyncIteration
        return received

    async def close(self) -> None:
        """Accept no more, and end the associations that are there.

        What they sent before can still be received.
        """
        await asyncio.to_thread(self.listener.close)

    async def _leave(self, *, in_order: bool) -> None:
        await self.close()
