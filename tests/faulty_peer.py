"""A peer whose first association has a fault, and whose other associations have none.

    python tests/faulty_peer.py FAULT [PORT]

The process prints its port, and a line for each event that it received.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

from pynetdicom.dimse_primitives import N_EVENT_REPORT

from scripted_peer import A_ABORT, EXPLICIT, HOST, Conversation, response


def printed_requests(talk: Conversation) -> Iterator[N_EVENT_REPORT]:
    """Yield the received events, and print a line for each."""
    for request in talk.requests():
        print(f"sent {request.AffectedSOPInstanceUID}", flush=True)
        yield request


def right(talk: Conversation, **options: object) -> None:
    """Respond to every event."""
    talk.accept(**options)  # type: ignore[arg-type]
    for request in printed_requests(talk):
        talk.respond(request.MessageID)


def after_two(then: Callable[[Conversation], object]) -> Callable[[Conversation], None]:
    """Respond to two events, and call `then` for the third."""

    def script(talk: Conversation) -> None:
        talk.accept()
        requests = printed_requests(talk)
        for _ in range(2):
            talk.respond(next(requests).MessageID)
        next(requests)
        then(talk)

    return script


def wait_for_end_of_connection(talk: Conversation) -> None:
    """Send nothing until the connection is closed."""
    while talk.connection.recv(1 << 16):
        pass


def in_reverse(talk: Conversation) -> None:
    """Respond to three events in reverse order."""
    talk.accept(window=3)
    waiting = []
    for request in printed_requests(talk):
        waiting.append(request.MessageID)
        if len(waiting) == 3:
            talk.write(b"".join(response(one) for one in reversed(waiting)))
            waiting.clear()


def twice_and_unknown(talk: Conversation) -> None:
    """Respond twice to each event, and also to a request that was not sent."""
    talk.accept()
    for request in printed_requests(talk):
        answer = response(request.MessageID)
        talk.write(response(0x7777) + answer + answer)


FAULTS: dict[str, Callable[[Conversation], object]] = {
    "right": right,
    "killed": after_two(lambda talk: os.kill(os.getpid(), signal.SIGKILL)),
    "cut": after_two(lambda talk: talk.write(response(3)[:20])),
    "aborted": after_two(lambda talk: talk.write(A_ABORT)),
    "rejected for now": lambda talk: talk.reject(2, 1, 1),
    "rejected": lambda talk: talk.reject(1, 1, 7),
    "silent": after_two(wait_for_end_of_connection),
    "silent from the start": wait_for_end_of_connection,
    "in reverse": in_reverse,
    "twice and unknown": twice_and_unknown,
    "no context": lambda talk: (talk.accept(result=3), talk.read()),
    "explicit": lambda talk: right(talk, transfer_syntax=EXPLICIT),
    "pdus of 128": lambda talk: right(talk, max_pdu_length=128),
    "no peer": lambda talk: talk.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}


def main(fault: str, port: str = "0") -> None:
    """Serve connections, the first of them with the fault."""
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
