"""The command line: ``fastdimse encode``, ``decode``, ``validate``, ``send``, ``receive``,
``commit``, ``provide-commitment``, ``watch``, ``echo`` and ``bench``.

`app` is the typer application, and `main` runs it. Each command has a module of its name; `options`
has the options that several commands share, and `exit_codes` the exit codes.
"""

import inspect
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import fastdimse
from fastdimse import DeliveryError

from .bench import bench
from .commit import commit
from .decode import decode
from .echo import echo
from .encode import encode
from .errors import InputError
from .exit_codes import EXIT_CODES, ExitCode
from .output_encoding import configure_output
from .provide_commitment import provide_commitment
from .receive import receive
from .send import send
from .terminal import error_line, print_line
from .validate import validate
from .watch import watch

app = typer.Typer(
    name="fastdimse",
    help="DICOM N-EVENT-REPORT (PS3.7 10.1.1): encode, decode, send and receive events.",
    epilog=EXIT_CODES,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _help(docstring: str | None) -> str:
    """Return a docstring with each paragraph on one line, which typer wraps."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(docstring or ""))


for _command in (
    *(encode, decode, validate, send, receive, commit, provide_commitment, watch, echo, bench),
):
    app.command(help=_help(_command.__doc__))(_command)


def _print_version(requested: bool) -> None:
    if requested:
        print_line(f"fastdimse {fastdimse.__version__}")
        raise typer.Exit


@app.callback()
def _fastdimse(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            is_eager=True,
            callback=_print_version,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    pass


def _terminate(signum: int, frame: object) -> NoReturn:
    # An exception, so that temporary files are removed.
    raise SystemExit(128 + signum)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments : Sequence[str], optional
        The arguments; those of the process by default.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    configure_output()
    if sys.stdout is None:
        error_line("standard output is closed")
        sys.exit(ExitCode.ERROR)
    words = list(sys.argv[1:] if arguments is None else arguments)
    code = _run(words or ["--help"])
    try:
        sys.stdout.flush()
    except OSError:
        # Python would try again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run(words: list[str]) -> int:
    """Run a command, and return its exit code. Expected errors become one line."""
    try:
        code = app(words, "fastdimse", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        error_line(f"{error.format_message()} (fastdimse --help shows the usage)")
        return ExitCode.ERROR
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return ExitCode.BROKEN_PIPE
    except (InputError, OSError, DeliveryError) as error:
        error_line(str(error))
        return ExitCode.ERROR
    except SystemExit as error:
        # rich exits with code 1 where the reader of a help text closes the pipe.
        if isinstance(error.__context__, BrokenPipeError):
            return ExitCode.BROKEN_PIPE
        raise
    return int(code or ExitCode.SUCCESS)
