"""A requester or a provider of storage commitment, as a process that tests kill.

python tests/commitment_program.py commit PORT DATABASE LISTEN_PORT UID...
python tests/commitment_program.py provide PORT DATABASE PEER_PORT [--slow] UID...
"""

import json
import sys
import threading
import time

from pydicom.uid import CTImageStorage

from fastdimse import Peer
from fastdimse.storage_commitment import commit, provide

HOST = "127.0.0.1"


def request(port: int, database: str, listen_port: int, uids: list[str]) -> None:
    """Request commitment, and print the states as JSON."""
    peer = Peer(HOST, port, called_ae="PROVIDER", calling_ae="REQUESTER", role="scu")
    results = commit(
        peer,
        [(str(CTImageStorage), uid) for uid in uids],
        database=database,
        port=listen_port,
        host=HOST,
        timeout=60,
    )
    print(json.dumps({"states": results["State"]}), flush=True)


def serve(port: int, database: str, peer_port: int, words: list[str]) -> None:
    """Provide storage commitment, and print the states of the transactions when they change."""
    stored = set(words)

    def lookup(references: dict[str, list[str]]) -> list[bool]:
        if "--slow" in stored:
            time.sleep(60)
        return [uid in stored for uid in references["ReferencedSOPInstanceUID"]]

    peers = {"REQUESTER": Peer(HOST, peer_port, called_ae="REQUESTER", name="REQUESTER")}
    provider = provide(
        port,
        host=HOST,
        lookup=lookup,
        peers=peers,
        database=database,
        same_association=False,
        longest_delay=0.1,
    )
    print(f"listens on {HOST}:{provider.port}", file=sys.stderr, flush=True)
    known = None
    while True:
        states = provider.transactions()["State"]
        if states != known:
            known = states
            print(*states, flush=True)
        threading.Event().wait(0.01)


command, port, database, other_port, *rest = sys.argv[1:]
{"commit": request, "provide": serve}[command](int(port), database, int(other_port), rest)
