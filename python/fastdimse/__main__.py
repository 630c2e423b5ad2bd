"""``python -m fastdimse``, and the entry point of the ``fastdimse`` command."""

import sys
from importlib.util import find_spec

# The packages of the extra `cli`. The library itself needs none of them.
_EXTRA = ("typer", "rich", "pyarrow")


def main() -> None:
    """Run the command line, or name the packages that it lacks (exit code 2)."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        print(
            f"fastdimse: the command line needs {', '.join(missing)}: pip install 'fastdimse[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from fastdimse.cli import main as run

    run()


if __name__ == "__main__":
    main()
