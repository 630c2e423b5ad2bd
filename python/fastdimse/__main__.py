"""``python -m fastdimse``, and the entry point of the ``fastdimse`` command."""

import atexit
import os
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.util import find_spec

# The packages of the extra `cli`. The library itself needs none of them.
_EXTRA = ("typer", "rich", "pyarrow")


class _WithoutPandas(MetaPathFinder):
    """Lets the import of pandas fail.

    pyarrow imports pandas, if it is installed, to find out whether a list is one of its objects.
    That takes longer than most commands, and none has such objects.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("the command line does not use pandas", name=fullname)


def main() -> None:
    """Run the command line, or name the packages that it lacks (exit code 2)."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        print(
            f"fastdimse: the command line needs {', '.join(missing)}: pip install 'fastdimse[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.meta_path.insert(0, _WithoutPandas())
    try:
        from fastdimse.cli import main as run

        run()
    except KeyboardInterrupt:
        code = 130
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 2
    _exit(code)


def _exit(code: int) -> None:
    """Exit, after an error without the finalization of Python.

    A thread of a C++ library can still wait for bytes of standard input. Python would end this
    thread inside C++ code, and the library would then abort the process.
    """
    if code < 2:
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
