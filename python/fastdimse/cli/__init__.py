"""The command line: ``fastdimse encode``, ``decode``, ``validate``, ``send``, ``receive``,
``echo`` and ``bench``.

Exit codes: 0 all good, 1 rows or messages rejected or not delivered, 2 bad usage or unreadable
input, 130 interrupted, 141 the reader of standard output went away.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, ParamSpec

import typer

import fastdimse
from fastdimse import DeliveryError

from .bench import bench
from .decode import decode
from .echo import echo
from .encode import encode
from .receive import receive
from .row_files.rows import InputError
from .send import send
from .terminal import error_line
from .validate import validate

_P = ParamSpec("_P")

app = typer.Typer(
    name="fastdimse",
    help="DICOM N-EVENT-REPORT messages (PS3.7 10.1.1): rows to bytes and back, "
    "sent to peers and taken in.",
    epilog="Exit codes: 0 all good, 1 rows rejected or not delivered, 2 bad usage or unreadable "
    "input.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _broken_pipe() -> typer.Exit:
    """Silence standard output, whose reader has gone, and end as the shell would."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return typer.Exit(128 + signal.SIGPIPE)


def _reported(command: Callable[_P, None]) -> Callable[_P, None]:
    """Return `command` with its expected failures as one line and an exit code."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            raise _broken_pipe() from None
        except (InputError, OSError, DeliveryError) as error:
            error_line(str(error))
            raise typer.Exit(2) from None

    return run


for _command in (encode, decode, validate, send, receive, echo, bench):
    app.command()(_reported(_command))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"fastdimse {fastdimse.__version__}")
        raise typer.Exit


@app.callback()
def _fastdimse(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    pass


def _terminated(signum: int, frame: object) -> None:
    # An exception, so that unfinished outputs are removed on the way out.
    raise SystemExit(128 + signum)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments : Sequence[str], optional
        What follows the program's name; from ``sys.argv`` if not given.
    """
    signal.signal(signal.SIGTERM, _terminated)
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(words or ["--help"], "fastdimse", standalone_mode=False)
    except typer.TyperException as error:
        error_line(f"{error.format_message()} (fastdimse --help shows the usage)")
        sys.exit(2)
    except typer.Abort:
        sys.exit(128 + signal.SIGINT)
    sys.exit(code)
