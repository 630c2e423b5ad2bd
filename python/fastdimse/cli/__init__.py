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
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import fastdimse
from fastdimse import DeliveryError

from . import completion, narrow_help
from .bench import bench
from .commit import commit
from .decode import decode
from .echo import echo
from .encode import encode
from .errors import InputError
from .exit_codes import EXIT_CODES, ExitCode, exit_codes
from .options import flag
from .output_encoding import configure_output
from .provide_commitment import provide_commitment
from .receive import receive
from .send import send
from .terminal import error_line, note, print_line, width
from .validate import validate
from .watch import watch

_TRACEBACK = "--traceback"
# Panels of narrower help texts would truncate the names of options.
_MIN_PANEL_WIDTH = 60

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
    app.command(
        help=_help(_command.__doc__), epilog=exit_codes(_command.__name__.replace("_", "-"))
    )(_command)


def _print_version(requested: bool) -> None:
    if requested:
        print_line(f"fastdimse {fastdimse.__version__}")
        raise typer.Exit


def _print_completion(shell: completion.Shell | None) -> None:
    if shell is not None:
        completion.request_script(shell)
        app([], "fastdimse")


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
    show_completion: Annotated[
        completion.Shell | None,
        typer.Option(
            metavar="SHELL",
            is_eager=True,
            callback=_print_completion,
            help="Print the completion script of bash, zsh, fish or powershell, and exit.",
        ),
    ] = None,
    show_traceback: Annotated[
        bool,
        flag(_TRACEBACK, "Print the Python traceback of an error. Every command accepts it."),
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
    words, shows_traceback = _without_traceback_option(words)
    if not words and not completion.is_requested():
        words = ["--help"]
    columns = width(sys.stdout)
    if columns < _MIN_PANEL_WIDTH:
        narrow_help.use(app, columns)
    code = _run(words, shows_traceback)
    try:
        sys.stdout.flush()
    except OSError:
        # Python would try again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _without_traceback_option(words: list[str]) -> tuple[list[str], bool]:
    """Return the words without ``--traceback``, and whether tracebacks are printed."""
    end = words.index("--") if "--" in words else len(words)
    others = [word for word in words[:end] if word != _TRACEBACK]
    is_set = os.environ.get("FASTDIMSE_TRACEBACK", "") not in ("", "0")
    return others + words[end:], is_set or len(others) < end


def _run(words: list[str], shows_traceback: bool) -> int:
    """Run a command, and return its exit code. Errors become one line."""
    try:
        code = app(words, "fastdimse", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as error:
        # rich exits with code 1 where the reader of a help text closes the pipe.
        if isinstance(error.__context__, BrokenPipeError):
            return ExitCode.BROKEN_PIPE
        raise
    except BrokenPipeError:
        return ExitCode.BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BaseException as error:
        # Not only Exception: a panic of the core is a BaseException.
        if shows_traceback:
            for line in "".join(traceback.format_exception(error)).splitlines():
                note(line)
        _print_error(error)
        return ExitCode.ERROR
    return int(code or ExitCode.SUCCESS)


def _print_error(error: BaseException) -> None:
    """Print an error as one line."""
    if isinstance(error, typer.TyperException):
        error_line(f"{error.format_message()} (fastdimse --help shows the usage)")
    elif isinstance(error, InputError | OSError | DeliveryError):
        error_line(str(error))
    elif isinstance(error, MemoryError):
        error_line(f"out of memory: {error}" if str(error) else "out of memory")
    else:
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        note(f"fastdimse: internal error: {text}; {_TRACEBACK} shows where")
