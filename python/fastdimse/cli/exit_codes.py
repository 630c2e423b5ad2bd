"""Exit codes of the command line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of all commands; docs/command_line.md lists what each command returns."""

    SUCCESS = 0
    INCOMPLETE = 1
    """Rows or messages were rejected, or events were not delivered."""
    ERROR = 2
    """Invalid options, unreadable input or unwritable output."""
    INTERRUPTED = 130
    """Ended by SIGINT (128 + 2), as a shell reports it."""
    BROKEN_PIPE = 141
    """The reader closed standard output (128 + SIGPIPE)."""
    TERMINATED = 143
    """Ended by SIGTERM (128 + 15)."""
