"""Debian's Orthanc, which waits for the result of a storage commitment, as a process.

    python benches/orthanc_receiver.py

It prints the port and the Transaction UID, or an empty line if Orthanc is not installed. Orthanc
ends when the standard input is closed. The result can be sent any number of times.
"""

import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Run Orthanc."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    import orthanc
    from test_orthanc import Application, unknown

    if orthanc.program() is None:
        print(flush=True)
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        orthanc.running(Path(folder)) as running,
    ):
        application = Application(running, (0x0000, None))
        with application.listening():
            request = application.be_asked(unknown(1))
        print(running.port, request.TransactionUID, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
