"""The tables of an outbox."""

# "fdim": `file` and the tools of SQLite show this number as the type of the database.
APPLICATION_ID = 0x6664696D
VERSION = 3

# batches: events that were stored together for the same peers, in the order of their numbers.
#   `first` is the lowest of these numbers. `offsets` are the differences between the numbers and
#   `first`, as little-endian 32-bit integers; it is null when the numbers are contiguous. `events`
#   is an Arrow IPC stream; it is null when the events are not due to any peer. `untaken` counts the
#   outcomes that were not taken, for all peers.
# due: batches that are due to a peer. `settled` and `settled_sum` are the number of events of the
#   batch that have an outcome, and the sum of their event numbers: a damaged table of outcomes must
#   not hide an event that is due.
# sources: how many events of a source were stored for a peer, or how many with a column of peers
#   (BY_COLUMN).
# outcomes: events that are no longer due to a peer, in the order of their outcomes.
# taken: events whose outcome was taken, of batches with other events that are due to the peer.
# counters: one row. `stored` is the number of events that were stored, which is the number of the
#   next event; `pruned` is how many of them belong to batches that were deleted.
# checksum: of the other columns of the row in their order, without `untaken`, and without `events`,
#   which has the checksum `events_checksum`.
SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE peers (
    peer INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, checksum INTEGER NOT NULL
);
CREATE TABLE batches (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, transfer_syntax TEXT NOT NULL,
    enforce_uid_conformance INTEGER NOT NULL, source TEXT, offsets BLOB, events BLOB,
    events_checksum INTEGER NOT NULL, untaken INTEGER NOT NULL, checksum INTEGER NOT NULL
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
    sequence INTEGER PRIMARY KEY, peer INTEGER NOT NULL, first INTEGER NOT NULL,
    event INTEGER NOT NULL, MessageID INTEGER, Status INTEGER, Time INTEGER,
    Latency INTEGER, Failure TEXT, Reason TEXT, UNIQUE (peer, first, event)
);
CREATE TABLE taken (
    peer INTEGER, first INTEGER, event INTEGER, PRIMARY KEY (peer, first, event)
) WITHOUT ROWID;
CREATE TABLE counters (
    stored INTEGER NOT NULL, pruned INTEGER NOT NULL, checksum INTEGER NOT NULL
);
INSERT INTO counters VALUES (0, 0, checksum(0, 0));
COMMIT;
"""

# The columns that `checksum` covers, by table.
BATCH_COLUMNS = (
    "first",
    "count",
    "transfer_syntax",
    "enforce_uid_conformance",
    "source",
    "offsets",
    "events_checksum",
)
DUE_COLUMNS = ("peer", "first", "settled", "settled_sum")
CHECKED_COLUMNS = {
    "peers": ("peer", "name"),
    "batches": BATCH_COLUMNS,
    "due": DUE_COLUMNS,
    "sources": ("source", "peer", "count"),
    "counters": ("stored", "pruned"),
}
# Instead of a peer in the table `sources`: each event has its own peers. Peers have numbers from 1.
BY_COLUMN = 0

# Counts violations of the relations between tables: each due batch has events and a peer, events
# are only kept while they are due, and each event that was stored is in a batch or was pruned.
COUNT_INCONSISTENT = """
    SELECT (
        SELECT count(*) FROM due LEFT JOIN batches USING (first) LEFT JOIN peers USING (peer)
        WHERE events IS NULL OR name IS NULL
    ) + (
        SELECT count(*) FROM batches
        WHERE events IS NOT NULL AND first NOT IN (SELECT first FROM due)
    ) + (
        SELECT count(*) != 1
        OR max(stored - pruned) != (SELECT coalesce(sum(count), 0) FROM batches)
        FROM counters
    )
"""
