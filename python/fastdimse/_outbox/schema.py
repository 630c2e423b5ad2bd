"""The tables of an outbox, and the checksums of their rows."""

import zlib
from typing import Any

# "fdim": `file` and the tools of SQLite show this number as the type of the database.
APPLICATION_ID = 0x6664696D
VERSION = 2

# batches: events that were stored together. `events` is an Arrow IPC stream; it is null when the
#   events are not due to any peer.
# due: batches that are due to a peer. `settled` and `settled_sum` are the number of events of the
#   batch that have an outcome, and the sum of their event numbers: a damaged table of outcomes must
#   not hide an event that is due.
# sources: how many events of a source were stored for a peer.
# outcomes: events that are no longer due to a peer.
# checksum: of the other columns of the row in their order, without `events`, which has the checksum
#   `events_checksum`.
SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE peers (
    peer INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
CREATE TABLE batches (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, transfer_syntax TEXT NOT NULL,
    enforce_uid_conformance INTEGER NOT NULL, source TEXT, events BLOB,
    events_checksum INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE due (
    peer INTEGER, first INTEGER, settled INTEGER NOT NULL, settled_sum INTEGER NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (peer, first)
) WITHOUT ROWID;
CREATE TABLE sources (
    source TEXT, peer INTEGER, count INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (source, peer)
) WITHOUT ROWID;
CREATE TABLE outcomes (
    peer INTEGER, event INTEGER, MessageID INTEGER, Status INTEGER, Time INTEGER,
    Latency INTEGER, Failure TEXT, Reason TEXT, PRIMARY KEY (peer, event)
) WITHOUT ROWID;
COMMIT;
"""

# The columns that `checksum` covers, by table.
BATCH_COLUMNS = (
    "first",
    "count",
    "transfer_syntax",
    "enforce_uid_conformance",
    "source",
    "events_checksum",
)
DUE_COLUMNS = ("peer", "first", "settled", "settled_sum")
CHECKED_COLUMNS = {
    "peers": ("peer", "name"),
    "batches": BATCH_COLUMNS,
    "due": DUE_COLUMNS,
    "sources": ("source", "peer", "count"),
}

# Counts violations of the relations between tables: each due batch has events and a peer, events
# are only kept while they are due, and event numbers have no gaps.
COUNT_INCONSISTENT = """
    SELECT (
        SELECT count(*) FROM due LEFT JOIN batches USING (first) LEFT JOIN peers USING (peer)
        WHERE events IS NULL OR name IS NULL
    ) + (
        SELECT count(*) FROM batches
        WHERE events IS NOT NULL AND first NOT IN (SELECT first FROM due)
    ) + (
        SELECT coalesce(max(first + count), 0) != coalesce(sum(count), 0) FROM batches
    )
"""


def checksum(*values: Any) -> int:
    """Return the checksum of the values of a row."""
    return zlib.crc32(repr(values).encode())
