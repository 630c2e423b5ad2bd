"""A storage commitment provider that looks instances up in Parquet files with DuckDB.

The index has a row for each stored instance: SOPInstanceUID, SOPClassUID and Copies, the number of
its copies. An instance is committed if it has at least two copies.

    python examples/commitment_from_parquet.py 'index/*.parquet' --peers peers.toml
"""

import argparse
import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence

import duckdb
import pyarrow as pa

from fastdimse.storage_commitment import provide

# Failure Reasons (PS3.3 C.14.1.1).
PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_INSTANCE_CONFLICT = 0x0110, 0x0112, 0x0119

QUERY = f"""
    SELECT CASE
        WHEN Copies IS NULL THEN {NO_SUCH_INSTANCE}
        WHEN SOPClassUID != ReferencedSOPClassUID THEN {CLASS_INSTANCE_CONFLICT}
        WHEN Copies < 2 THEN {PROCESSING_FAILURE}
        ELSE 0
    END
    FROM requested LEFT JOIN read_parquet($index)
    ON SOPInstanceUID = ReferencedSOPInstanceUID
    ORDER BY number
"""


def lookup_in(index: str) -> Callable[[Mapping[str, Sequence[str]]], list[int]]:
    """Return a function that looks up the instances of one or more requests with one query."""
    connection = duckdb.connect()

    def lookup(references: Mapping[str, Sequence[str]]) -> list[int]:
        count = len(references["ReferencedSOPInstanceUID"])
        connection.register("requested", pa.table({**references, "number": range(count)}))
        return [result for (result,) in connection.execute(QUERY, {"index": index}).fetchall()]

    return lookup


def main() -> None:
    """Parse the command line, and serve until SIGINT or SIGTERM is received."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("index", help="Parquet files, as a path or a pattern")
    parser.add_argument("--peers", help="TOML file with the addresses of requesters")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=11112, help="port to listen on; 0: any free port (%(default)s)"
    )
    parser.add_argument("--ae-title", help="local AE title, which requesters must call")
    parser.add_argument("--database", help="file that keeps requests until they are reported")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("fastdimse.storage_commitment").setLevel(logging.INFO)

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with provide(
        arguments.port,
        host=arguments.host,
        lookup=lookup_in(arguments.index),
        peers=arguments.peers,
        ae_title=arguments.ae_title,
        database=arguments.database,
    ) as provider:
        logging.warning("the provider listens on %s:%d", arguments.host, provider.port)
        ended.wait()


if __name__ == "__main__":
    main()
