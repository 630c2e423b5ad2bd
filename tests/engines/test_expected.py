"""The expected results of the tests of the engines."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

ROWS = 200_000


def numbers(table, column):
    """Return how many rows of each thousand have a value in a column."""
    keys = pc.filter(table["key"], table[column].is_valid()).to_pylist()
    assert len(keys) % (ROWS // 1000) == 0
    return {key % 1000 for key in keys}


def test_rejected_rows(encoded):
    assert numbers(encoded, "Rejection") == {7, 13}
    assert numbers(encoded, "Message") == set(range(1000)) - {7, 13}


def test_decoded_rows_are_the_events(decoded, structured_decoded, events, structured_events):
    assert numbers(decoded, "Rejection") == {21}
    good = pc.is_valid(decoded["MessageID"])
    assert pc.sum(good).as_py() == ROWS // 1000 * 997
    for result, source in ((decoded, events), (structured_decoded, structured_events)):
        for name in source.column_names:
            expected = source[name].filter(good).combine_chunks()
            assert result[name].filter(good).combine_chunks().equals(expected), name
    ids = pa.array([key % 65535 + 1 for key in decoded["key"].filter(good).to_pylist()], pa.int32())
    assert decoded["MessageID"].filter(good).combine_chunks().equals(ids)


def test_folders(folder, structured_folder, message_folder, events, structured_events, messages):
    for path, table in (
        (folder, events),
        (structured_folder, structured_events),
        (message_folder, messages),
    ):
        read = ds.dataset(path, partitioning="hive").to_table().sort_by("key")
        read = read.select(table.column_names).cast(table.schema)
        assert read.equals(table)
