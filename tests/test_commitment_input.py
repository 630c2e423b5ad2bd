"""Input of storage commitment: references, the Parquet index, the file of peers, the database."""

import os
import sqlite3
import threading
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    generate_uid,
)

from fastdimse.storage_commitment import (
    CommitmentRequests,
    Reference,
    StorageCommitmentError,
    describe_failure_reason,
    index_lookup,
    load_peers,
    read_references,
)
from fastdimse.storage_commitment._database import Database, Schema

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
PAIRS = [(str(CTImageStorage), "1.2.3.1"), (str(MRImageStorage), "1.2.3.2")]
COLUMNS = {
    "ReferencedSOPClassUID": [sop_class for sop_class, _ in PAIRS],
    "ReferencedSOPInstanceUID": [instance for _, instance in PAIRS],
}


def pairs_of(instances: object) -> list[tuple[str, str]]:
    """Return the references as pairs."""
    return [one[:2] for one in read_references(instances).references]


def data_set(sop_class: str, instance: str) -> Dataset:
    """Return a data set of an instance."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class, instance
    return made


def item(sop_class: str, instance: str) -> Dataset:
    """Return an item of a Referenced SOP Sequence."""
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = sop_class, instance
    return made


@pytest.mark.parametrize(
    "instances",
    [
        COLUMNS,
        {"SOPClassUID": [pair[0] for pair in PAIRS], "SOPInstanceUID": ["1.2.3.1", "1.2.3.2"]},
        {**COLUMNS, "other": [1, 2]},
        pa.table(COLUMNS),
        pa.table(COLUMNS).to_batches()[0],
        {name: pa.array(column) for name, column in COLUMNS.items()},
        pl.DataFrame(COLUMNS),
        PAIRS,
        iter(PAIRS),
        [*PAIRS, *PAIRS],
        [Reference(*pair) for pair in PAIRS],
        [dict(zip(COLUMNS, pair, strict=True)) for pair in PAIRS],
        [data_set(*pair) for pair in PAIRS],
        [item(*pair) for pair in PAIRS],
    ],
    ids=lambda value: type(value).__name__,
)
def test_references_of_tables_and_rows(instances):
    assert pairs_of(instances) == PAIRS


def test_one_sop_class_for_all_rows():
    columns = {"SOPClassUID": CTImageStorage, "SOPInstanceUID": ["1.2.3.1", "1.2.3.2"]}
    assert pairs_of(columns) == [(CTImageStorage, "1.2.3.1"), (CTImageStorage, "1.2.3.2")]


def test_references_of_the_files_of_pydicom():
    """Each file that pydicom reads as an instance has a reference; all others are listed."""
    expected, others = {}, set()
    for path in sorted(path for path in TEST_FILES.rglob("*") if path.is_file()):
        try:
            read = dcmread(path, stop_before_pixels=True)
            # Some of the files have these UIDs in the meta information only.
            sop_class = read.get("SOPClassUID") or read.file_meta.MediaStorageSOPClassUID
            instance = read.get("SOPInstanceUID") or read.file_meta.MediaStorageSOPInstanceUID
        except Exception:
            others.add(str(path))
        else:
            if not sop_class or not instance:
                others.add(str(path))
            elif sop_class != MediaStorageDirectoryStorage:
                expected[str(sop_class), str(instance)] = str(path)
    found = read_references(TEST_FILES)
    assert {one[:2] for one in found.references} == set(expected)
    assert len(found.references) == len(expected)
    assert others <= set(found.unreadable)
    assert all("DICOMDIR" in path for path in set(found.unreadable) - others)
    assert found.unreadable[str(TEST_FILES / "README.txt")] == "not a DICOM file"


def test_files_and_folders_together(tmp_path):
    for number, pair in enumerate(PAIRS):
        made = data_set(*pair)
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        folder = tmp_path / f"{number}"
        folder.mkdir()
        made.save_as(folder / "file.dcm", enforce_file_format=True)
    found = read_references([tmp_path / "1", tmp_path / "0" / "file.dcm"])
    assert [one[:2] for one in found.references] == PAIRS[::-1]
    assert found.references[0].file == str(tmp_path / "1" / "file.dcm")
    with pytest.raises(FileNotFoundError, match="missing"):
        read_references(tmp_path / "missing")


@pytest.mark.parametrize(
    ("instances", "error", "text"),
    [
        ({"SOPInstanceUID": ["1.2"]}, ValueError, "must have the columns"),
        ([("1.2", "")], ValueError, "row 0: SOPInstanceUID must be 1 to 64 digits"),
        ([("1.2", "1.2.3"), ("CT", "1.2.4")], ValueError, "row 1: SOPClassUID must be"),
        ([("1.2", "1." * 33)], ValueError, "1 to 64"),
        ({"SOPClassUID": ["1.2"], "SOPInstanceUID": [None]}, ValueError, "row 0: .* is null"),
        ({"SOPClassUID": ["1.2"], "SOPInstanceUID": ["1.2", "1.3"]}, ValueError, "same length"),
        ([5], TypeError, "an instance must be"),
        (5, TypeError, "instances must be"),
    ],
    ids=str,
)
def test_invalid_references(instances, error, text):
    with pytest.raises(error, match=text):
        read_references(instances)


def test_names_of_failure_reasons():
    assert describe_failure_reason(0x0119) == "0x0119 Class-instance conflict"
    assert describe_failure_reason(0xA700) == "0xA700 Unknown Failure Reason"


# ---------------------------------------------------------------- the index


def references(*pairs: tuple[str, str]) -> dict[str, list[str]]:
    """Return the columns of a lookup."""
    return {
        "ReferencedSOPClassUID": [pair[0] for pair in pairs],
        "ReferencedSOPInstanceUID": [pair[1] for pair in pairs],
    }


def test_lookup_in_parquet_files(tmp_path):
    stored = [generate_uid() for _ in range(100)]
    for number in range(2):
        part = stored[number * 50 : number * 50 + 50]
        table = pa.table({"SOPInstanceUID": part, "SOPClassUID": [CTImageStorage] * 50})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=10)
    lookup = index_lookup(tmp_path)
    asked = [(CTImageStorage, uid) for uid in stored]
    assert lookup(references(*asked)) == [0] * 100
    asked = [(MRImageStorage, stored[60]), (CTImageStorage, "1.2.3"), (CTImageStorage, stored[0])]
    assert lookup(references(*asked)) == [0x0119, 0x0112, 0]
    # A file that is added later is read too.
    pq.write_table(
        pa.table({"SOPInstanceUID": ["1.2.3", stored[60]], "SOPClassUID": asked[1:2][0][:1] * 2}),
        tmp_path / "2.parquet",
    )
    assert lookup(references(*asked)) == [0x0119, 0, 0]


def test_columns_of_the_index(tmp_path):
    path = tmp_path / "index.parquet"
    pq.write_table(pa.table({"uid": ["1.2.3"], "class": [CTImageStorage]}), path)
    with pytest.raises(ValueError, match="no column SOPClassUID and no column SOPInstanceUID"):
        index_lookup(path)
    lookup = index_lookup(path, sop_instance_uid="uid", sop_class_uid="class")
    assert lookup(references((CTImageStorage, "1.2.3"))) == [0]
    with pytest.raises(FileNotFoundError):
        index_lookup(tmp_path / "missing.parquet")


# ---------------------------------------------------------------- peers


def test_peers_of_a_file(tmp_path):
    path = tmp_path / "peers.toml"
    path.write_text(
        '[MODALITY]\nhost = "192.0.2.7"\nport = 11112\n'
        '["CT 2"]\nhost = "ct2"\nport = 104\ncalling_ae = "OTHER"\nwindow = 1\n'
    )
    peers = load_peers(path, calling_ae="PACS")
    assert list(peers) == ["MODALITY", "CT 2"]
    found = [(one.host, one.port, one.called_ae, one.calling_ae) for one in peers.values()]
    assert found == [("192.0.2.7", 11112, "MODALITY", "PACS"), ("ct2", 104, "CT 2", "OTHER")]
    assert peers["CT 2"].name == "CT 2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[A", "peers.toml: "),
        ('[A]\nhost = "a"\n', r"\[A\]: port missing"),
        ("A = 5\n", r"\[A\]: must be a table"),
        ('[A]\nhost = "a"\nport = 1\nhots = "b"\n', r"\[A\]: .*hots"),
        ('[A]\nhost = "a"\nport = 1\ntls = { cert = "b" }\n', "unknown parameters of tls: cert"),
        ('[A]\nhost = "a"\nport = 70000\n', r"\[A\]: "),
    ],
    ids=["no TOML", "no port", "no table", "unknown", "TLS", "port"],
)
def test_invalid_peers(tmp_path, text, reason):
    path = tmp_path / "peers.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        load_peers(path)


# ---------------------------------------------------------------- the database


SCHEMA = Schema(0x1234, 1, "CREATE TABLE numbers (number INTEGER PRIMARY KEY)")


def insert(number: int, fails: bool = False):
    """Return a function that inserts a number."""

    def write(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        if fails:
            raise KeyError(number)
        return number

    return write


def numbers(database: Database) -> list[int]:
    """Return the numbers."""
    return [number for (number,) in database.read("SELECT number FROM numbers ORDER BY 1")]


@pytest.mark.parametrize("path", [None, "file"])
def test_writes_of_many_threads(tmp_path, path):
    """Each write is there when it returns, and a write that fails undoes only itself."""
    database = Database(path and tmp_path / path, SCHEMA)
    count, failed = 200, []

    def write(first: int) -> None:
        for number in range(first, first + count // 4):
            try:
                assert database.write(insert(number, number % 10 == 0)) == number
            except KeyError:
                failed.append(number)
            else:
                assert number in numbers(database)

    threads = [threading.Thread(target=write, args=(n * count // 4,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(failed) == list(range(0, count, 10))
    assert numbers(database) == [number for number in range(count) if number % 10]


def test_errors_of_sqlite(tmp_path):
    database = Database(tmp_path / "file", SCHEMA)
    database.write(insert(1))
    with pytest.raises(StorageCommitmentError, match="cannot write to the database: UNIQUE"):
        database.write(insert(1))
    database.close()
    with pytest.raises(StorageCommitmentError, match="the database is closed"):
        database.write(insert(2))


def test_databases_of_others(tmp_path):
    path = tmp_path / "file"
    Database(path, SCHEMA).close()
    with pytest.raises(StorageCommitmentError, match="another application"):
        CommitmentRequests(path)
    with pytest.raises(StorageCommitmentError, match=r"has version 1, but .* reads version 2"):
        Database(path, SCHEMA._replace(version=2))
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StorageCommitmentError, match="file is not a database"):
        CommitmentRequests(path)
    with pytest.raises(StorageCommitmentError, match="unable to open"):
        CommitmentRequests(tmp_path / "missing" / "file")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_database_of_the_parent(tmp_path):
    database = Database(tmp_path / "file", SCHEMA)
    database.write(insert(1))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            database.read("SELECT 1")
        except StorageCommitmentError:
            with_own = Database(tmp_path / "file", SCHEMA)
            with_own.write(insert(2))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert numbers(database) == [1, 2]
