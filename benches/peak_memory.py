"""Encode a stream of events to a file in batches, and print the most memory that it took.

    python benches/peak_memory.py EVENTS FILE

Events come from a reader that makes them as they are asked for. Prints JSON: the most bytes in
memory before anything was imported, with pyarrow and fastdimse imported, and at the end; and the
bytes written.
"""

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
ROWS = 65_536
"""Rows that the reader makes at a time."""


def most_memory() -> int:
    """Return the most bytes of this process that ever were in memory.

    What the kernel keeps for ``getrusage`` outlasts ``exec``: there it is no less than what the
    process had that started this one. Only Linux knows better.
    """
    if STATUS.exists():
        [kibibytes] = [line.split()[1] for line in STATUS.open() if line.startswith("VmHWM:")]
        return int(kibibytes) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def events(count: int) -> Any:
    """Return a reader of requests, each with its own UID and 100 bytes of event information."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = pa.schema(
        [
            ("AffectedSOPClassUID", pa.string()),
            ("AffectedSOPInstanceUID", pa.string()),
            ("EventTypeID", pa.uint16()),
            ("EventInformation", pa.binary()),
        ]
    )

    places = pa.array([str(row) for row in range(ROWS)])
    same = [
        pa.repeat("1.2.840.10008.1.20.1", ROWS),
        pa.repeat(pa.scalar(1, pa.uint16()), ROWS),
        pa.repeat(b"x" * 100, ROWS),
    ]

    def batches() -> Iterator[pa.RecordBatch]:
        for begin in range(0, count, ROWS):
            root = f"1.2.826.0.1.3680043.8.498.{10**14 + begin}"
            uids = pc.binary_join_element_wise(root, places, ".")
            columns = [same[0], uids, *same[1:]]
            yield pa.record_batch(columns, schema=schema).slice(0, count - begin)

    return pa.RecordBatchReader.from_batches(schema, batches())


def main() -> None:
    """Measure."""
    interpreter = most_memory()
    import pyarrow  # noqa: F401

    from fastdimse import encode_batches

    imported, written = most_memory(), 0
    count, path = int(sys.argv[1]), Path(sys.argv[2])
    with path.open("wb") as file:
        for batch in encode_batches(events(count)):
            written += file.write(batch)
    found = {"interpreter": interpreter, "imported": imported, "peak": most_memory()}
    print(json.dumps({**found, "written": written}))


if __name__ == "__main__":
    main()
