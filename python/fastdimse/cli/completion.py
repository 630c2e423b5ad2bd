"""Completion of commands and options by a shell."""

import os
from enum import StrEnum

from typer.completion import get_completion_inspect_parameters

# Typer responds to requests in this variable, such as "source_bash".
_VARIABLE = "_FASTDIMSE_COMPLETE"


class Shell(StrEnum):
    """A shell for which there is a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def is_requested() -> bool:
    """Return whether a shell requests completions, or the script that requests them."""
    if _VARIABLE not in os.environ:
        return False
    _register_shells()
    return True


def request_script(shell: Shell) -> None:
    """Request the completion script of a shell from the next run of the application."""
    os.environ[_VARIABLE] = f"source_{shell}"
    _register_shells()


def _register_shells() -> None:
    # Typer does this where it adds its own options, which guess the shell.
    get_completion_inspect_parameters()
