"""The functions of `fastdimse.datafusion`."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import SessionConfig, SessionContext, col

from fastdimse import decode_events, encode_events
from fastdimse.datafusion import decode_function, encode_function, register

NUMBERED = """
CREATE VIEW numbered AS
SELECT *, CAST(row_number() OVER (ORDER BY key) - 1 AS BIGINT) % 65535 + 1 AS "MessageID"
FROM events
"""
ENCODE = """
SELECT site, key, encoded['Message'] AS "Message", encoded['Rejection'] AS "Rejection" FROM (
    SELECT site, key, dimse_encode(
        "MessageID", "AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID",
        "EventInformation"
    ) AS encoded
    FROM numbered
)
"""
ARGUMENTS = (
    "MessageID",
    "AffectedSOPClassUID",
    "AffectedSOPInstanceUID",
    "EventTypeID",
    "EventInformation",
)


def context(folder):
    """Return a context with a table of a folder, which has two partitions."""
    context = SessionContext(SessionConfig().with_target_partitions(2))
    partitions = [("site", pa.string())]
    context.register_parquet("events", str(folder), table_partition_cols=partitions)
    return context


def columns(frame, *names):
    """Return a table of `site`, `key` and the fields of the struct column `result`."""
    table = frame.to_arrow_table()
    result = table["result"].combine_chunks()
    fields = {name: pc.struct_field(result, name) for name in names}
    return pa.table({"site": table["site"], "key": table["key"], **fields})


def test_encode_in_sql(folder, encoded, assert_same_rows):
    session = context(folder)
    session.sql(NUMBERED)
    register(session)
    assert_same_rows(session.sql(ENCODE).to_arrow_table(), encoded)


@pytest.mark.parametrize("kind", ["folder", "structured_folder"])
def test_encode_frames(kind, encoded, assert_same_rows, request):
    session = context(request.getfixturevalue(kind))
    session.sql(NUMBERED)
    frame = session.table("numbered")
    types = pa.schema([frame.schema().field(name) for name in ARGUMENTS])
    dimse_encode = encode_function(types)
    result = dimse_encode(*[col(f'"{name}"') for name in ARGUMENTS]).alias("result")
    result = frame.select(col("site"), col("key"), result)
    assert_same_rows(columns(result, "Message", "Rejection"), encoded)


def test_decode(message_folder, decoded, assert_same_rows):
    session = context(message_folder)
    register(session)
    result = session.sql('SELECT site, key, dimse_decode("Message") AS result FROM events')
    assert_same_rows(columns(result, *decoded.column_names[2:]), decoded)


def test_decode_structured(message_folder, structured_decoded, information, assert_same_rows):
    dimse_decode = decode_function(event_information=information)
    frame = context(message_folder).table("events")
    result = frame.select(col("site"), col("key"), dimse_decode(col('"Message"')).alias("result"))
    assert_same_rows(columns(result, *structured_decoded.column_names[2:]), structured_decoded)


def test_rejected_rows_apart(folder, encoded):
    session = context(folder)
    session.sql(NUMBERED)
    register(session)
    rejected = session.sql(
        f"""
        SELECT key, "Rejection"['field'] AS field, "Rejection"['code'] AS code,
            "Rejection"['reason'] AS reason
        FROM ({ENCODE}) WHERE "Rejection" IS NOT NULL ORDER BY key
        """
    ).to_pylist()
    expected = [
        {"key": key, **rejection}
        for key, rejection in zip(
            encoded["key"].to_pylist(), encoded["Rejection"].to_pylist(), strict=True
        )
        if rejection is not None
    ]
    assert rejected == expected
    assert len(expected) == 400


def test_read_dimse(events, information, tmp_path):
    path = tmp_path / "events.dimse"
    table = events.drop_columns(["site", "key"])
    path.write_bytes(encode_events(table, on_invalid="skip"))
    session = SessionContext()
    register(session, event_information=information)
    frame = session.sql(f"""SELECT "MessageID", "EventInformation"['TransactionUID'] AS uid
        FROM read_dimse('{path}') WHERE "EventTypeID" = 2""")
    expected = pa.table(decode_events(path.read_bytes(), event_information=information))
    expected = expected.filter(pc.equal(expected["EventTypeID"], 2))
    for _ in range(2):
        actual = frame.to_arrow_table()
        assert actual["MessageID"].to_pylist() == expected["MessageID"].to_pylist()
        assert actual["uid"].to_pylist() == [
            data_set["TransactionUID"] for data_set in expected["EventInformation"].to_pylist()
        ]


def test_nulls():
    session = SessionContext()
    register(session)
    query = "SELECT dimse_decode(NULL) AS nothing, dimse_decode(X'') AS empty"
    [row] = session.sql(query).to_pylist()
    assert set(row["nothing"].values()) == {None}
    assert row["empty"].pop("Rejection") is not None
    assert set(row["empty"].values()) == {None}


def test_without_message_ids(events):
    with pytest.raises(ValueError, match="needs a column 'MessageID'"):
        encode_function(events.schema)


def test_wrong_types():
    session = SessionContext()
    register(session)
    with pytest.raises(Exception, match="Int64"):
        session.sql("SELECT dimse_decode(1)").to_pylist()
    with pytest.raises(Exception, match="dimse_encode"):
        session.sql("SELECT dimse_encode(1)").to_pylist()
    with pytest.raises(Exception, match="Int64, Utf8View, Utf8View, Int64, BinaryView"):
        session.sql("SELECT dimse_encode(1, '1.2', '1.2', 'x', NULL)").to_pylist()


@pytest.mark.parametrize("package", ["datafusion", "pyarrow"])
def test_package_is_not_installed(package):
    program = f"import sys; sys.modules[{package!r}] = None; import fastdimse.datafusion"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    expected = (
        f'ImportError: fastdimse.datafusion needs {package}: pip install "fastdimse[datafusion]"'
    )
    assert expected in done.stderr
