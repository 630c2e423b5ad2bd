"""Signals during a call: handlers run, and their exception ends the call (PEP 475)."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

PRELUDE = """
import itertools, os, signal, socket, ssl, subprocess, sys, threading, time
import pyarrow as pa
import fastdimse
from fastdimse import N_EVENT_REPORT

ROW = {
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": 1,
}

def after(seconds, number):
    "Send a signal from another process: a thread would wait for the GIL."
    subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -{int(number)} {os.getpid()}"])

def silent(data=b""):
    "Return the port of a peer that takes a connection and says no more than this."
    listener = socket.create_server(("127.0.0.1", 0))
    def serve():
        taken, _ = listener.accept()
        taken.sendall(data)
        kept.append(taken)
    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]

def full():
    "Return the port of a listener that takes no connection: the system answers none."
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    kept.append(listener)
    for _ in range(3):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        kept.append(one)
    return listener.getsockname()[1]

kept = []
"""

# Calls that wait for a long time or without an end.
WAITS = {
    "connect": "fastdimse.connect('127.0.0.1', full(), connection_timeout=20)",
    "accept": "fastdimse.connect('127.0.0.1', silent(), association_timeout=20)",
    "handshake": (
        "fastdimse.connect('127.0.0.1', silent(), association_timeout=20,"
        " tls=fastdimse.TLS(ca=certificate))"
    ),
    "echo": "fastdimse.echo('127.0.0.1', silent(), association_timeout=20)",
    "encode": "fastdimse.encode_events(itertools.repeat(EVENT))",
    "encode rows": "fastdimse.encode_events(itertools.repeat(ROW))",
    "encode column": "fastdimse.encode_events({**ROW, 'EventTypeID': itertools.repeat(1)})",
    "encode capture": "fastdimse.encode_capture({**ROW, 'SourcePort': itertools.repeat(1)})",
    "encode batches": ("next(fastdimse.encode_batches(itertools.repeat(ROW), batch_size=10**9))"),
    "validate": "fastdimse.validate_events(itertools.repeat(ROW))",
    "decode data sets": (
        "fastdimse.decode_data_sets(itertools.repeat(b''), transfer_syntax='1.2.840.10008.1.2')"
    ),
    "transfer syntaxes": (
        "fastdimse.decode_data_sets([b''], transfer_syntax=itertools.repeat(None))"
    ),
    "receive": "fastdimse.listen(0, host='127.0.0.1').receive()",
}


def run(program: str) -> list[str]:
    """Run a program after the common code above, and return its lines."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("wait", WAITS)
def test_keyboard_interrupt_ends_a_waiting_call(wait):
    if wait == "handshake":
        trustme = pytest.importorskip("trustme")
        pem = trustme.CA().cert_pem.bytes().decode()
    else:
        pem = ""
    program = f"""
import tempfile
with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
    file.write({pem!r}); file.flush(); certificate = file.name
    EVENT = N_EVENT_REPORT()
    for name, value in ROW.items(): setattr(EVENT, name, value)
    after(0.4, signal.SIGINT); begin = time.monotonic()
    try:
        {WAITS[wait]}
    except KeyboardInterrupt:
        print(time.monotonic() - begin)
"""
    [took] = run(program)
    assert 0.2 <= float(took) < 2.4


def test_keyboard_interrupt_ends_a_response_and_a_release():
    program = """
listener = subprocess.Popen(
    [sys.executable, "-c", "import fastdimse, time, sys\\n"
     "with fastdimse.listen(0, host='127.0.0.1', handler=lambda *a: time.sleep(20)) as one:\\n"
     "    print(one.port, flush=True); sys.stdin.read()"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
)
port = int(listener.stdout.readline())
for what in ("send", "release"):
    association = fastdimse.connect("127.0.0.1", port)
    if what == "release":
        os.kill(listener.pid, signal.SIGSTOP)
        # Until one thread receives the signal, the others run and respond.
        os.waitpid(listener.pid, os.WUNTRACED)
    after(0.4, signal.SIGINT); begin = time.monotonic()
    try:
        association.release() if what == "release" else association.send([ROW])
    except KeyboardInterrupt:
        print(time.monotonic() - begin)
listener.kill()
"""
    took = [float(line) for line in run(program)]
    assert len(took) == 2
    assert all(0.2 <= one < 2.4 for one in took)


def test_keyboard_interrupt_loses_no_events():
    program = """
listener = fastdimse.listen(0, host="127.0.0.1")
with fastdimse.connect("127.0.0.1", listener.port) as association:
    association.send([ROW, ROW])
after(0.4, signal.SIGINT); begin = time.monotonic()
try:
    listener.receive(linger=20)
except KeyboardInterrupt:
    print(time.monotonic() - begin)
print(pa.table(listener.receive()).num_rows)
listener.close()
"""
    took, rows = run(program)
    assert 0.2 <= float(took) < 2.4
    assert rows == "2"


@pytest.mark.parametrize("options", ["linger=0", "batch_size=1", "linger=0.05"])
def test_keyboard_interrupt_just_before_an_event_loses_no_event(options):
    """The signal is known, and its exception not yet raised, when the event arrives."""
    program = f"""
def interrupt():
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
    print(association.send(ROW).to_pydict()["Status"])
with fastdimse.listen(0, host="127.0.0.1") as listener:
    with fastdimse.connect("127.0.0.1", listener.port) as association:
        for _ in range(3):
            thread = threading.Thread(target=interrupt)
            thread.start()
            try:
                print("returned", len(listener.receive({options})))
            except KeyboardInterrupt:
                thread.join()
                print(len(listener.receive()))
"""
    assert run(program) == ["[0]", "1"] * 3


@pytest.mark.parametrize("number", ["SIGCHLD", "SIGWINCH", "SIGALRM", "SIGUSR1"])
def test_handler_that_returns(number):
    program = f"""
handled = []
signal.signal(signal.{number}, lambda number, frame: handled.append(number))
def answer(event, calling_ae):
    time.sleep(0.6)
with fastdimse.listen(0, host="127.0.0.1", handler=answer) as listener:
    with fastdimse.connect("127.0.0.1", listener.port, window=1) as association:
        after(0.3, signal.{number}); after(0.9, signal.{number})
        print(association.send([ROW, ROW]).to_pydict()["Status"], len(handled) >= 2)
with socket.create_server(("127.0.0.1", 0)) as server:
    after(0.2, signal.{number}); begin = time.monotonic()
    try:
        fastdimse.connect(
            "127.0.0.1", server.getsockname()[1], association_timeout=0.8
        )
    except fastdimse.AssociationError as error:
        print(error.code, 0.7 < time.monotonic() - begin < 1.8, len(handled) >= 3)
"""
    assert run(program) == ["[0, 0] True", "silent True True"]


def test_handler_that_raises():
    program = """
class Enough(Exception): pass
def enough(number, frame): raise Enough
signal.signal(signal.SIGALRM, enough)
signal.setitimer(signal.ITIMER_REAL, 0.4)
try:
    fastdimse.connect("127.0.0.1", silent(), association_timeout=20)
except Enough as error:
    print("enough", error.__context__)
"""
    assert run(program) == ["enough None"]
