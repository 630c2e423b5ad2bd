"""Exit codes of the command line. docs/command_line.md lists what each command returns."""

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
    ExitCode.INCOMPLETE: "rows or messages rejected, or events not delivered",
    ExitCode.ERROR: "invalid options, unreadable input, unwritable output",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
    ExitCode.BROKEN_PIPE: "standard output closed by its reader",
    ExitCode.TERMINATED: "ended by SIGTERM",
}

EXIT_CODES = "\n".join(["Exit codes:", *(f"{code.value:3} {_MEANINGS[code]}" for code in ExitCode)])
"""A text that lists all exit codes."""
