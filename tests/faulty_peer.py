"""A peer of a process of its own that does one thing wrong, and then all things right.

    python tests/faulty_peer.py FAULT [PORT]

It tells where it listens, and writes a line for each event that it was sent.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

from pynetdicom.dimse_primitives import N_EVENT_REPORT

from scripted_peer import A_ABORT, EXPLICIT, HOST, Conversation, response


def told(talk: Conversation) -> Iterator[N_EVENT_REPORT]:
    """Give the events that it is sent, and write a line for each."""
    for request in talk.requests():
        print(f"sent {request.AffectedSOPInstanceUID}", flush=True)
        yield request


def right(talk: Conversation, **options: object) -> None:
    """Answer every event."""
    talk.accept(**options)  # type: ignore[arg-type]
    for request in told(talk):
        talk.answer(request.MessageID)


def after_two(then: Callable[[Conversation], object]) -> Callable[[Conversation], None]:
    """Answer two events, and do something else at the third."""

    def script(talk: Conversation) -> None:
        talk.accept()
        requests = told(talk)
        for _ in range(2):
            talk.answer(next(requests).MessageID)
        next(requests)
        then(talk)

    return script


def wait_for_the_end(talk: Conversation) -> None:
    """Answer nothing, for as long as the connection is there."""
    while talk.connection.recv(1 << 16):
        pass


def in_reverse(talk: Conversation) -> None:
    """Let three events wait, and answer the last of them first."""
    talk.accept(window=3)
    waiting = []
    for request in told(talk):
        waiting.append(request.MessageID)
        if len(waiting) == 3:
            talk.write(b"".join(response(one) for one in reversed(waiting)))
            waiting.clear()


def twice_and_unknown(talk: Conversation) -> None:
    """Answer each event twice, and one that there was not."""
    talk.accept()
    for request in told(talk):
        answer = response(request.MessageID)
        talk.write(response(0x7777) + answer + answer)


FAULTS: dict[str, Callable[[Conversation], object]] = {
    "right": right,
    "killed": after_two(lambda talk: os.kill(os.getpid(), signal.SIGKILL)),
    "cut": after_two(lambda talk: talk.write(response(3)[:20])),
    "aborted": after_two(lambda talk: talk.write(A_ABORT)),
    "rejected for now": lambda talk: talk.reject(2, 1, 1),
    "rejected": lambda talk: talk.reject(1, 1, 7),
    "silent": after_two(wait_for_the_end),
    "silent from the start": wait_for_the_end,
    "in reverse": in_reverse,
    "twice and unknown": twice_and_unknown,
    "no context": lambda talk: (talk.accept(result=3), talk.read()),
    "explicit": lambda talk: right(talk, transfer_syntax=EXPLICIT),
    "pdus of 128": lambda talk: right(talk, max_pdu_length=128),
    "no peer": lambda talk: talk.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}


def main(fault: str, port: str = "0") -> None:
    """Serve connections, the first of them wrong."""
    with socket.create_server((HOST, int(port))) as server:
        print(f"listens on {HOST}:{server.getsockname()[1]}", flush=True)
        script = FAULTS[fault]
        while True:
            connection, _ = server.accept()
            with connection:
                script(Conversation(connection))
            script = right


if __name__ == "__main__":
    main(*sys.argv[1:])
