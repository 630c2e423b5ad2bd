"""Encode events to a file in batches, and print the peak memory.

    python benches/peak_memory.py EVENTS FILE

The events come from a reader that creates them on demand. The output is JSON: the peak memory in
bytes before any import, after the import of pyarrow and fastdimse, and at the end; and the bytes
written.
"""

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
ROWS = 65_536
"""Rows of a batch of the reader."""


def peak_memory() -> int:
    """Return the peak memory of this process in bytes.

    The peak of ``getrusage`` is kept across ``exec``, so it is at least the memory of the parent
    process. Linux has a value without it.
    """
    if STATUS.exists():
        [kibibytes] = [line.split()[1] for line in STATUS.open() if line.startswith("VmHWM:")]
        return int(kibibytes) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def events(count: int) -> Any:
    """Return a reader of events with distinct UIDs and 100 bytes of event information."""
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
    """Encode and print the memory."""
    interpreter = peak_memory()
    import pyarrow  # noqa: F401

    from fastdimse import encode_batches

    imported, written = peak_memory(), 0
    count, path = int(sys.argv[1]), Path(sys.argv[2])
    with path.open("wb") as file:
        for batch in encode_batches(events(count)):
            written += file.write(batch)
    found = {"interpreter": interpreter, "imported": imported, "peak": peak_memory()}
    print(json.dumps({**found, "written": written}))


if __name__ == "__main__":
    main()
