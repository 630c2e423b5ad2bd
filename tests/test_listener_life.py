"""The end of listeners: closed, dropped, in a cycle, after a fork, by their handlers."""

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest

from associations import until
from fastdimse import connect, listen
from processes import resident
from scripted_peer import HOST
from test_delivery import events

BUSY_SENDER = """
import gc, threading, time
from fastdimse import connect, listen
events = {
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": [1] * 100_000,
}

def send(port):
    try:
        with connect("127.0.0.1", port, response_timeout=5) as association:
            association.send(events)
    except ConnectionError:
        pass

def start(listener):
    thread = threading.Thread(target=send, args=(listener.port,), daemon=True)
    thread.start()
    time.sleep(0.3)
    return thread
"""


def program(code: str, *, options: tuple[str, ...] = ()) -> str:
    """Run a program, wait for its end, and return its output."""
    run = subprocess.run(
        [sys.executable, *options, "-c", BUSY_SENDER + code],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (run.returncode, "panicked" in run.stderr) == (0, False), run.stderr
    return run.stdout


@pytest.mark.parametrize(
    "options",
    [
        "handler=lambda event, title: sum(range(300)) * 0",
        "batch_handler=lambda received: sum(range(300)) * 0",
        "max_waiting=1000",
    ],
)
@pytest.mark.parametrize("end", ["del listener; gc.collect()", "listener.close()", "pass"])
def test_end_while_a_peer_sends(options, end):
    code = f"listener = listen(0, host='127.0.0.1', {options}); thread = start(listener); {end}\n"
    if end == "pass":
        # The listener is open at the end of the interpreter.
        assert program(code + "print('here')") == "here\n"
    else:
        assert program(code + "thread.join(10); print(thread.is_alive())") == "False\n"


def test_dropped_listener_warns_about_unread_events():
    listener = listen(0, host=HOST)
    with connect(HOST, listener.port) as talk:
        assert talk.send(events(3)).answered == 3
    port = listener.port
    text = f"port {port}: 3 events were responded to, but not received"
    with pytest.warns(ResourceWarning, match=text):
        del listener
    with pytest.raises(ConnectionError):
        connect(HOST, port, connection_timeout=1)


def test_closed_listener_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        listener = listen(0, host=HOST)
        listener.close()
        listener.close()
        assert listener.closed
        del listener
        gc.collect()


@pytest.mark.parametrize("way", ["handler", "batch_handler", "authenticate"])
def test_close_in_a_thread_of_the_listener(way):
    calls: list[Any] = []

    def close(*arguments: Any) -> Any:
        calls.append(arguments)
        listener.close()
        return True if way == "authenticate" else 0

    listener = listen(0, host=HOST, **{way: close})
    if way == "authenticate":
        with pytest.raises(ConnectionError):
            connect(HOST, listener.port)
        assert listener.receive(timeout=10) is None
    else:
        talk = connect(HOST, listener.port, response_timeout=5)
        # Received events are responded to before the association ends.
        assert talk.send(events(1)).to_pydict()["Status"] == [0]
    until(lambda: listener.closed)
    listener.close()
    assert len(calls) == 1


@pytest.mark.parametrize("way", ["handler", "batch_handler", "authenticate"])
def test_cycle_with_the_handler_is_collected(way):
    class Service:
        def __init__(self) -> None:
            self.listener = listen(0, host=HOST, **{way: self.call})

        def call(self, *_: Any) -> Any:
            return True if way == "authenticate" else 0

    service = Service()
    port = service.listener.port
    with connect(HOST, port) as talk:
        assert talk.send(events(2)).answered == 2
    gone = weakref.ref(service)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del service
        gc.collect()
    assert gone() is None
    with pytest.raises(ConnectionError):
        connect(HOST, port, connection_timeout=1)


def test_iteration_returns_all_events_with_a_response():
    for _ in range(20):
        listener = listen(0, host=HOST, max_waiting=500)
        got: list[int] = []

        def take(listener: Any = listener, got: list[int] = got) -> None:
            for received in listener:
                got.extend(pa.table(received)["EventTypeID"].to_pylist())

        thread = threading.Thread(target=take)
        thread.start()
        # The release can arrive after the association was closed.
        with suppress(ConnectionError), connect(HOST, listener.port, response_timeout=5) as talk:
            closing = threading.Timer(0.01, listener.close)
            closing.start()
            statuses = talk.send(events(2000)).to_pydict()["Status"]
        thread.join(10)
        closing.join()
        assert not thread.is_alive()
        answered = statuses.index(None) if None in statuses else 2000
        assert got[:answered] == list(range(1, answered + 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_child_does_not_close_the_listener():
    code = """
import os, warnings
listener = listen(0, host="127.0.0.1")
with connect("127.0.0.1", listener.port) as association:
    child = os.fork()
    if child == 0:
        try:
            listener.receive(timeout=1)
        except RuntimeError as error:
            print(error, flush=True)
        listener.close()
        del listener
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(association.send(dict(events, EventTypeID=[1, 2])).answered)
print(len(listener.receive(timeout=5)))
listener.close()
"""
    lines = program(code, options=("-W", "ignore::DeprecationWarning")).splitlines()
    assert "belongs to process" in lines[0]
    assert lines[1:] == ["2", "2"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_port_is_free_with_a_forked_child():
    code = """
import os
listener = listen(0, host="127.0.0.1")
if (child := os.fork()) == 0:
    time.sleep(60)
    os._exit(0)
listener.close()
try:
    connect("127.0.0.1", listener.port, association_timeout=5)
except ConnectionError as error:
    print(error)
with listen(listener.port, host="127.0.0.1") as again:
    connect("127.0.0.1", again.port, association_timeout=5).release()
os.kill(child, 9)
"""
    printed = program(code, options=("-W", "ignore::DeprecationWarning"))
    assert "refused" in printed


@pytest.mark.skipif(sys.platform != "linux", reason="others need a descriptor")
def test_close_without_free_descriptors():
    code = """
import os, resource
with listen(0, host="127.0.0.1"):
    time.sleep(0.2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError as error:
        print(error.strerror)
print("closed")
"""
    assert program(code) == "Too many open files\nclosed\n"


def test_close_by_a_finalizer_in_a_thread_of_the_listener():
    """The garbage collector runs when objects are created, also before the handler is called."""
    code = """
from fastdimse import N_EVENT_REPORT

class Guard:
    def __init__(self):
        self.cycle = self
    def __del__(self):
        print(threading.current_thread() is threading.main_thread())
        listener.close()

def init(event):
    Guard()
    gc.collect()

# Where an event is made, a collection is due.
N_EVENT_REPORT.__init__ = init
listener = listen(0, host="127.0.0.1", handler=lambda event, title: 0)
association = connect("127.0.0.1", listener.port, response_timeout=5)
print(association.send(dict(events, EventTypeID=[1])).answered)
listener.close()
print(listener.closed)
"""
    assert program(code) == "False\n1\nTrue\n"


def used() -> tuple[int, int, int]:
    """Return the descriptors, threads and resident memory of this process."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), resident()


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="read from Linux")
def test_nothing_is_left_of_a_thousand_listeners():
    def one(number: int) -> None:
        ways: list[dict[str, Any]] = [
            {},
            {"handler": lambda event, title: 0},
            {"batch_handler": lambda received: 0},
        ]
        listener = listen(0, host=HOST, **ways[number % 3])
        with connect(HOST, listener.port) as talk:
            assert talk.send(events(1)).answered == 1
        if number % 2:
            listener.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for number in range(100):
            one(number)
        gc.collect()
        time.sleep(0.5)
        before = used()
        for number in range(1000):
            one(number)
        gc.collect()
    # Threads of dropped listeners end soon.
    until(lambda: used()[:2] <= before[:2])
    assert used()[2] - before[2] < 16 << 20
