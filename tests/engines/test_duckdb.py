"""The SQL functions and the relation of `fastdimse.duckdb`."""

import subprocess
import sys

import duckdb
import pyarrow as pa
import pytest

from fastdimse import decode_events, encode_events
from fastdimse.duckdb import register, scan_dimse

ENCODE = """
SELECT site, key, unnest(dimse_encode(event)) FROM (
    SELECT *, (row_number() OVER (ORDER BY key) - 1) % 65535 + 1 AS MessageID
    FROM read_parquet($path, hive_partitioning := true)
) AS event
"""
DECODE = """
SELECT site, key, unnest(dimse_decode(Message))
FROM read_parquet($path, hive_partitioning := true)
"""


@pytest.fixture
def connection():
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        register(connection)
        yield connection


def rows(connection, query, path):
    """Return the result of a query of a folder."""
    return connection.sql(query, params={"path": f"{path}/*/*.parquet"}).to_arrow_table()


@pytest.mark.parametrize("kind", ["folder", "structured_folder"])
def test_encode(kind, connection, encoded, assert_same_rows, request):
    assert_same_rows(rows(connection, ENCODE, request.getfixturevalue(kind)), encoded)


def test_decode(connection, message_folder, decoded, assert_same_rows):
    assert_same_rows(rows(connection, DECODE, message_folder), decoded)


def test_decode_structured(
    connection, message_folder, structured_decoded, information, assert_same_rows
):
    with duckdb.connect() as connection:
        register(connection, event_information=information)
        assert_same_rows(rows(connection, DECODE, message_folder), structured_decoded)


def test_rejected_rows_apart(connection, folder, encoded):
    rejected = rows(
        connection,
        f"SELECT key, unnest(Rejection) FROM ({ENCODE}) WHERE Rejection IS NOT NULL ORDER BY key",
        folder,
    )
    expected = [
        {"key": key, **rejection}
        for key, rejection in zip(
            encoded["key"].to_pylist(), encoded["Rejection"].to_pylist(), strict=True
        )
        if rejection is not None
    ]
    assert rejected.to_pylist() == expected
    assert len(expected) == 400


@pytest.fixture(scope="session")
def stream(events, tmp_path_factory):
    """The plain call's stream, as a file, and its events."""
    path = tmp_path_factory.mktemp("stream") / "events.dimse"
    path.write_bytes(encode_events(events.drop_columns(["site", "key"]), on_invalid="skip"))
    return path


def test_read_and_scan(connection, stream):
    expected = pa.table(decode_events(stream.read_bytes()))
    scanned = scan_dimse(connection, stream)
    assert scanned.columns == expected.column_names
    for relation in (scanned, connection.sql(f"FROM read_dimse('{stream}')"), scanned):
        actual = relation.to_arrow_table()
        assert actual.column_names == expected.column_names
        assert actual.equals(expected.cast(actual.schema))
    half = scanned.filter("EventTypeID = 2").aggregate("count(*)").fetchall()
    several = scan_dimse(connection, [stream, str(stream)])
    assert several.filter("EventTypeID = 2").aggregate("count(*)").fetchall() == [(2 * half[0][0],)]
    folder = connection.sql(f"SELECT count(*) FROM read_dimse('{stream.parent}/*.dimse')")
    assert folder.fetchall() == [(len(expected),)]


def test_read_attributes(stream, information, structured_events):
    with duckdb.connect() as connection:
        register(connection, event_information=information)
        query = f"SELECT EventInformation.TransactionUID FROM read_dimse('{stream}')"
        read = [uid for (uid,) in connection.sql(query).fetchall()]
        relation = scan_dimse(connection, stream, event_information=information)
        scanned = relation.project("EventInformation.TransactionUID").fetchall()
    expected = [
        f"1.2.3.{key}" for key in structured_events["key"].to_pylist() if key % 1000 not in {7, 13}
    ]
    assert read == [uid for (uid,) in scanned] == expected


def test_damaged_and_missing_files(connection, stream, tmp_path):
    path = tmp_path / "cut.dimse"
    path.write_bytes(stream.read_bytes()[:-10])
    scanned = scan_dimse(connection, path)
    for relation in (scanned, connection.sql(f"FROM read_dimse('{path}')")):
        with pytest.raises(duckdb.Error, match=r"row 199599, .*the stream has 92 left"):
            relation.to_arrow_table()
    assert len(scanned.limit(10).fetchall()) == 10
    with pytest.raises((duckdb.Error, OSError), match="missing"):
        scan_dimse(connection, tmp_path / "missing.dimse").fetchall()


def test_nulls(connection):
    query = "SELECT dimse_decode(NULL::BLOB), dimse_decode(''::BLOB).Rejection IS NULL"
    [(null, without_rejection)] = connection.sql(query).fetchall()
    assert null is None or set(null.values()) == {None}
    assert without_rejection is False


def test_without_message_ids(connection, folder):
    query = "SELECT dimse_encode(event) FROM read_parquet($path) AS event"
    with pytest.raises(duckdb.Error, match="needs a field 'MessageID'"):
        rows(connection, query, folder)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("dimse_encode(1::SMALLINT)", "dimse_encode needs a struct, not SMALLINT"),
        ("dimse_encode(1, 2)", "No function matches"),
        ("dimse_decode(1)", r"dimse_decode\(BLOB\)"),
        (
            "dimse_encode({'MessageID': 1, 'AffectedSOPClassUID': '1.2', "
            "'AffectedSOPInstanceUID': '1.2', 'EventTypeID': 'x'})",
            "the column 'EventTypeID' must be",
        ),
    ],
)
def test_wrong_types(connection, query, text):
    with pytest.raises(duckdb.Error, match=text):
        connection.sql(f"SELECT {query}").fetchall()


def test_register_twice(connection, information):
    register(connection, event_information=information)
    [kind] = connection.sql("SELECT dimse_decode(''::BLOB).EventInformation").types
    assert str(kind).startswith("STRUCT(TransactionUID VARCHAR")


@pytest.mark.parametrize("package", ["duckdb", "pyarrow"])
def test_package_is_not_installed(package):
    program = f"import sys; sys.modules[{package!r}] = None; import fastdimse.duckdb"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    expected = f'ImportError: fastdimse.duckdb needs {package}: pip install "fastdimse[duckdb]"'
    assert expected in done.stderr
