"""Dask with two workers: functions for `map_partitions` and `from_map`, as in docs/engines.md."""

from itertools import accumulate, pairwise

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client

from fastdimse import decode_messages, encode_messages


@pytest.fixture(scope="module", autouse=True)
def client():
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        yield client


def encode(events, **options):
    messages = pa.table(encode_messages(events, **options))
    return messages.to_pandas(types_mapper=pd.ArrowDtype).set_index(events.index)


def decode(messages, **options):
    events = pa.table(decode_messages(messages, **options))
    return events.to_pandas(types_mapper=pd.ArrowDtype).set_index(messages.index)


def read(folder):
    return dd.read_parquet(folder, dtype_backend="pyarrow")


def table(frame):
    return pa.Table.from_pandas(frame.compute(), preserve_index=False)


@pytest.mark.parametrize("source", ["folder", "structured_folder"])
def test_encode(source, request, encoded, assert_same_rows):
    events = read(request.getfixturevalue(source))
    numbers = events["key"].astype("int64") % 65535 + 1
    messages = events.assign(MessageID=numbers).map_partitions(encode)
    assert list(messages.columns) == ["key", "site", "Message", "Rejection"]
    assert messages.dtypes["Message"] == pd.ArrowDtype(pa.binary())
    assert_same_rows(table(messages), encoded)


def test_decode(message_folder, decoded, assert_same_rows):
    assert_same_rows(table(read(message_folder).map_partitions(decode)), decoded)


def test_decode_structured(message_folder, information, structured_decoded, assert_same_rows):
    events = read(message_folder).map_partitions(decode, event_information=information)
    assert pa.types.is_struct(events.dtypes["EventInformation"].pyarrow_dtype)
    assert_same_rows(table(events), structured_decoded)


def test_index_is_kept(folder):
    events = read(folder).partitions[:1].set_index("key", sorted=True)
    messages = events.map_partitions(encode)
    assert messages.divisions == events.divisions
    assert messages.index.compute().equals(events.index.compute())


def test_rejected_rows_apart(folder, encoded):
    messages = read(folder).map_partitions(encode)
    rejected = table(messages[messages["Message"].isna()])
    expected = encoded.filter(encoded["Message"].is_null())
    assert rejected.sort_by("key")["key"].to_pylist() == expected["key"].to_pylist()


def encode_file(path, first_row):
    messages = encode_messages(pq.read_table(path), first_row=first_row)
    return pa.table(messages).to_pandas(types_mapper=pd.ArrowDtype)


def test_message_ids_by_footers(events, encoded, tmp_path, assert_same_rows):
    starts = [0, 1, 70_000, 150_000, len(events)]
    for number, (start, end) in enumerate(pairwise(starts)):
        pq.write_table(events.slice(start, end - start), tmp_path / f"{number}.parquet")
    paths = sorted(tmp_path.iterdir())
    first_rows = accumulate((pq.read_metadata(path).num_rows for path in paths[:-1]), initial=0)
    messages = dd.from_map(encode_file, paths, list(first_rows))
    assert_same_rows(table(messages), encoded)


def test_shuffled_and_written(message_folder, decoded, tmp_path, assert_same_rows):
    events = read(message_folder).map_partitions(decode)
    # The default method "p2p" cannot move structs, nor dictionaries from names of folders.
    events = events.set_index("MessageID", shuffle_method="tasks").reset_index()
    events.to_parquet(tmp_path)
    assert_same_rows(pq.read_table(tmp_path), decoded)


def test_wrong_type(folder):
    events = read(folder)
    with pytest.raises(ValueError, match=r"(?s)`encode`.*the column 'EventTypeID' must be an int"):
        events.assign(EventTypeID=1.5).map_partitions(encode)
