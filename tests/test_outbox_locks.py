"""Only one process at a time delivers from an outbox, by any path to it."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fastdimse import Delivery, OutboxError, Peer
from outbox_sender import numbered
from processes import Program
from scripted_peer import HOST
from test_outbox import SENDER, instances, recording_receiver, until

FORKS = Path(__file__).parent / "outbox_forks.py"


def symbolic_link(path: Path) -> Path:
    link = path.with_name("link")
    link.symlink_to(path)
    return link


def hard_link(path: Path) -> Path:
    link = path.with_name("link")
    link.hardlink_to(path)
    return link


def linked_folder(path: Path) -> Path:
    link = path.parent.with_name(f"{path.parent.name}-link")
    link.symlink_to(path.parent)
    return link / path.name


def without_its_lock(path: Path) -> Path:
    path.with_name(f"{path.name}-lock").unlink(missing_ok=True)
    return path


@pytest.mark.parametrize("rename", [symbolic_link, hard_link, linked_folder, without_its_lock])
def test_other_processes_cannot_deliver(tmp_path, rename: Callable[[Path], Path]):
    path = tmp_path / "outbox"
    with recording_receiver() as receiver:
        dead = Peer(HOST, 1, name=receiver.peer.name)
        with closing(Delivery(dead, outbox=path)) as delivery:
            delivery.put(numbered(5), source="numbered")
            program = Program(SENDER, receiver.listener.port, rename(path), 5)
            try:
                assert program.ended() == 1
                assert "another process delivers from this outbox" in str(program)
            finally:
                program.close()
            with pytest.raises(OutboxError, match="another Delivery of this process"):
                Delivery(dead, outbox=rename(path) if rename is without_its_lock else path)
            # The outbox can be read meanwhile, and stays locked.
            with closing(sqlite3.connect(path)) as database:
                assert database.execute("SELECT sum(count) FROM batches").fetchone() == (5,)
        assert receiver.instances == []
        with Delivery(receiver.peer, outbox=path):
            pass
    assert receiver.instances == instances(5)


OTHERWISE = """
import sys
import fastdimse._outbox.locked_file
fastdimse._outbox.locked_file._LOCKS_ITSELF = False
from fastdimse import Delivery, OutboxError, Peer
try:
    Delivery(Peer("127.0.0.1", 1), outbox=sys.argv[1])
except OutboxError as error:
    print(error)
"""


def test_systems_without_file_locks(tmp_path, monkeypatch):
    """The lock is a separate file. If it is removed, the next event is not accepted."""
    monkeypatch.setattr("fastdimse._outbox.locked_file._LOCKS_ITSELF", False)
    path = tmp_path / "outbox"
    link = symbolic_link(path)
    with closing(Delivery(Peer(HOST, 1), outbox=path)) as delivery:
        delivery.put(numbered(1))
        ran = subprocess.run(
            [sys.executable, "-c", OTHERWISE, link], capture_output=True, text=True, check=True
        )
        assert ran.stdout == (
            f"{link}: another process delivers from this outbox; "
            "use one Delivery with several peers\n"
        )
        (tmp_path / "outbox-lock").unlink()
        with pytest.raises(OutboxError, match=r"the lock file .*outbox-lock was removed"):
            delivery.put(numbered(1))
    with closing(Delivery(Peer(HOST, 1), outbox=link)) as delivery:
        assert delivery.progress()[0].due == 1


def test_path_that_is_not_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, text in [
        ("", "not an empty string"),
        (tmp_path, "is a directory"),
        (f"{tmp_path}/new/", "is a directory"),
        (os.devnull, "is a device"),
    ]:
        with pytest.raises(ValueError, match=text):
            Delivery(Peer(HOST, 1), outbox=path)
    # SQLite's names of databases in memory are names of files here.
    with closing(Delivery(Peer(HOST, 1), outbox=":memory:")) as delivery:
        delivery.put(numbered(1))
    assert (tmp_path / ":memory:").stat().st_size > 0


def test_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with recording_receiver() as receiver:
        with Delivery(receiver.peer, outbox="outbox") as delivery:
            monkeypatch.chdir("/")
            delivery.put(numbered(2))
        assert delivery.outcomes()["Status"] == [0, 0]
    assert (tmp_path / "outbox").stat().st_size > 0


def test_failure_releases_the_lock(tmp_path, monkeypatch):
    path = tmp_path / "outbox"

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start new thread") as caught:
            Delivery(Peer(HOST, 1), outbox=path)
    # The frames of the exception are alive.
    assert caught.tb is not None
    with closing(Delivery(Peer(HOST, 1), outbox=path)) as delivery:
        delivery.put(numbered(1))
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(OutboxError, match="version 99"):
            Delivery(Peer(HOST, 1), outbox=path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_forked_process(tmp_path):
    path = tmp_path / "outbox"
    with recording_receiver() as receiver:
        program = Program(FORKS, path, receiver.peer.name)
        try:
            child = int(program.find(r"^child (\d+)$", "stdout")[1])
            results = program.find(r"^results (.*)$", "stdout")[1]
            assert results.split("; ") == ["put OutboxError", "wait OutboxError", "closed"]
            program.send_signal(signal.SIGKILL)
            until(lambda: "exit code -9" in str(program))
            with Delivery(receiver.peer, outbox=path):
                pass
            os.kill(child, 0)
            os.kill(child, signal.SIGKILL)
        finally:
            program.close()
    assert receiver.instances == instances(3)
