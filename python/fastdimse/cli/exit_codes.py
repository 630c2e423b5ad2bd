"""Exit codes of the command line, as ``--help`` lists them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """An exit code. Those above 128 are 128 plus the number of a signal, as in a shell."""

    SUCCESS = 0
    INCOMPLETE = 1
    ERROR = 2
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


_MEANINGS = {
    ExitCode.SUCCESS: "success",
    ExitCode.INCOMPLETE: "the command completed, but not for all of its input",
    ExitCode.ERROR: "invalid options, unreadable input, unwritable output, or an internal error",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
    ExitCode.BROKEN_PIPE: "standard output closed by its reader",
    ExitCode.TERMINATED: "ended by SIGTERM",
}

# Commands that the first Ctrl-C or SIGTERM ends in order.
_SERVICE = {
    ExitCode.SUCCESS: "success, also after the first Ctrl-C or SIGTERM",
    ExitCode.INTERRUPTED: "a second signal: Ctrl-C",
    ExitCode.TERMINATED: "a second signal: SIGTERM",
}
_OF_COMMANDS: dict[str, dict[ExitCode, str]] = {
    "encode": {ExitCode.INCOMPLETE: "rows were rejected; the others are in the output"},
    "decode": {
        ExitCode.INCOMPLETE: "messages, or parts of a capture, could not be decoded; the others "
        "are in the output"
    },
    "validate": {ExitCode.INCOMPLETE: "rows were rejected"},
    "send": {
        ExitCode.INCOMPLETE: "an event was not delivered, or the Status of its response is a "
        "failure, or IN has content that is not sent",
        ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM",
        ExitCode.TERMINATED: "ended by SIGTERM before the first event",
    },
    "receive": _SERVICE,
    "watch": {
        **_SERVICE,
        ExitCode.INCOMPLETE: "the SCP refused a subscription, or did not respond to a request",
    },
    "commit": {
        ExitCode.INCOMPLETE: "an instance is not committed: failed, or without a report",
    },
    "provide-commitment": _SERVICE,
    "echo": {ExitCode.INCOMPLETE: "a response is missing"},
    "bench": {},
}


def _lines(meanings: dict[ExitCode, str]) -> str:
    return "\n".join(["Exit codes:", *(f"{code.value:3} {meanings[code]}" for code in meanings)])


EXIT_CODES = _lines(_MEANINGS)
"""A text that lists all exit codes."""


def exit_codes(command: str) -> str:
    """Return a text that lists the exit codes of a command."""
    own = _OF_COMMANDS[command]
    return _lines(
        {
            code: own.get(code, text)
            for code, text in _MEANINGS.items()
            if code in own or code is not ExitCode.INCOMPLETE
        }
    )
