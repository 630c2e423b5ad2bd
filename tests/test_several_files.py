"""Several files and folders as one input of the command line."""

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet
import pytest
from pynetdicom import dsutils

from fastdimse import decode_capture, encode_capture, encode_events
from fastdimse.cli.row_files.columns import EVENT_COLUMNS
from fastdimse.cli.row_files.row_file import RowFile
from fastdimse.cli.row_files.several import RowFiles, open_all_rows
from oracle import decode_stream
from outbox_sender import numbered
from scripted_peer import HOST
from test_bulk_encode import oracle_bytes
from test_command_line import REQUESTS, run
from test_delivery import listener

SOP_CLASS = "1.2.840.10008.1.20.1"
SUFFIXES = [".parquet", ".arrow", ".csv", ".ndjson", ".csv.gz", ".ndjson.zst"]


def list_of(count: int) -> list[dict[str, Any]]:
    """Return numbered reports with structured data sets."""
    return [dict(row) for row in numbered(count)]


def events(first: int, count: int, **others: Any) -> pa.Table:
    """Return events with encoded data sets; the instance UIDs end in consecutive numbers."""
    numbers = range(first, first + count)
    return pa.table(
        {
            "MessageID": pa.array([number + 1 for number in numbers]),
            "AffectedSOPClassUID": [SOP_CLASS] * count,
            "AffectedSOPInstanceUID": [f"1.2.{number + 1}" for number in numbers],
            "EventTypeID": pa.array([1 + number % 2 for number in numbers]),
            "EventInformation": [b"%04d" % number for number in numbers],
            **others,
        }
    )


def write(table: pa.Table, path: Path) -> Path:
    """Write events in the format of the suffix, without any code of the command line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".arrow":
        pyarrow.feather.write_feather(table, path)
    else:
        rows = table.to_pylist()
        for row in rows:
            for name, value in row.items():
                if isinstance(value, bytes):
                    row[name] = base64.b64encode(value).decode()
        if ".csv" in path.name:
            out = io.StringIO()
            writer = csv.DictWriter(out, table.column_names)
            writer.writeheader()
            writer.writerows(rows)
            text = out.getvalue()
        else:
            text = "".join(json.dumps(row) + "\n" for row in rows)
        codec = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        if codec is None:
            path.write_text(text)
        else:
            with pa.CompressedOutputStream(str(path), codec) as sink:
                sink.write(text.encode())
    return path


def stream(table: pa.Table) -> bytes:
    """Return the messages of pynetdicom."""
    return oracle_bytes(table.to_pylist())


def encode(*arguments: object) -> bytes:
    """Encode, and return the stream."""
    done = run("encode", *arguments, "-o", "-")
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def error_of(*arguments: object, cwd: Path | None = None, code: int = 2) -> str:
    """Run the program, and return its one error line."""
    done = run(*arguments)
    assert done.returncode == code, done.stderr.decode()
    error = done.stderr.decode()
    assert re.fullmatch(r"fastdimse: error: .+\n", error), error
    return error.removeprefix("fastdimse: error: ").rstrip("\n")


# --------------------------------------------------------------------- order


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_in_the_given_order(tmp_path, suffix):
    paths = [write(events(i * 3, 3), tmp_path / f"{name}{suffix}") for i, name in enumerate("ba")]
    assert encode(*paths) == stream(events(0, 6))
    assert encode(*reversed(paths)) == stream(events(3, 3)) + stream(events(0, 3))
    assert encode(paths[0], paths[0]) == stream(events(0, 3)) * 2


def test_files_of_different_formats(tmp_path):
    paths = [write(events(i * 2, 2), tmp_path / f"in{suffix}") for i, suffix in enumerate(SUFFIXES)]
    assert encode(*paths) == stream(events(0, 2 * len(SUFFIXES)))


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    names = ["a/2.parquet", "a/b/1.parquet", "a-b/1.parquet", "b.parquet", "part-10.parquet"]
    names.append("part-2.parquet")
    for i, name in reversed(list(enumerate(names))):
        write(events(i, 1), tmp_path / "events" / name)
    assert encode(tmp_path / "events") == stream(events(0, 6))
    assert encode(f"{tmp_path / 'events'}{os.sep}") == stream(events(0, 6))
    file = write(events(6, 2), tmp_path / "more.csv")
    assert encode(file, tmp_path / "events") == stream(events(6, 2)) + stream(events(0, 6))


def test_a_partitioned_dataset_of_pyarrow(tmp_path):
    table = events(0, 12, site=["south"] * 6 + ["north"] * 6, date=["2026-11-02", "2026-11-01"] * 6)
    pyarrow.dataset.write_dataset(
        table,
        tmp_path / "in",
        format="parquet",
        partitioning=["site", "date"],
        partitioning_flavor="hive",
    )
    (tmp_path / "in" / "_SUCCESS").touch()
    (tmp_path / "in" / "_metadata").write_bytes(b"not Parquet")
    (tmp_path / "in" / ".hidden").write_bytes(b"not Parquet")
    (tmp_path / "in" / "_temporary").mkdir()
    write(events(0, 1), tmp_path / "in" / "_temporary" / "0.parquet")
    # The oracle is pyarrow's own order of files.
    dataset = pyarrow.dataset.dataset(tmp_path / "in", partitioning="hive")
    expected = dataset.to_table(columns=events(0, 1).column_names, use_threads=False)
    assert expected.num_rows == 12
    assert encode(tmp_path / "in") == stream(expected)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_field_of_the_event_in_the_name_of_a_folder(tmp_path, suffix):
    folder = tmp_path / "in"
    write(events(0, 2).drop_columns(["EventTypeID"]), folder / "EventTypeID=1" / f"a{suffix}")
    write(events(2, 2).drop_columns(["EventTypeID"]), folder / "EventTypeID=2" / f"a{suffix}")
    expected = pa.concat_tables([events(0, 2), events(2, 2)])
    expected = expected.set_column(3, "EventTypeID", pa.array([1, 1, 2, 2]))
    assert encode(folder) == stream(expected)
    assert encode(folder / "EventTypeID=2" / f"a{suffix}") == stream(expected.slice(2))
    # In the file and in the name of the folder.
    both = write(events(0, 1), folder / "EventTypeID=3" / f"b{suffix}")
    assert error_of("validate", both) == (
        f"{both}: cannot be read as {re.search('parquet|arrow|csv|ndjson', suffix)[0]}: "
        "column 'EventTypeID' is both in the file and in the name of its folder"
    )


def test_values_of_folders(tmp_path):
    table = pa.table({"MessageIDBeingRespondedTo": [7], "Status": [0x0110]})
    folder = tmp_path / "AffectedSOPInstanceUID=1.2.1" / "ErrorComment=a%20b"
    file = write(table, folder / "ErrorID=__HIVE_DEFAULT_PARTITION__" / "a.parquet")
    [response] = decode_stream(encode(file))
    assert response.AffectedSOPInstanceUID == "1.2.1"
    assert (response.ErrorComment, response.ErrorID) == ("a b", None)
    for name, reason in [
        ("EventTypeID=x", "EventTypeID must be an integer"),
        ("EventReply=x", "EventReply is a data set, which must be in the file"),
    ]:
        file = write(events(0, 1).drop_columns(["EventTypeID"]), tmp_path / name / "a.parquet")
        assert reason in error_of("validate", file)


# ---------------------------------------------------------------------- rows


def test_rows_are_numbered_over_all_files(tmp_path):
    types = [[1, 70000], [70001], [1, 1, 70002]]
    names = ["b.csv", "a.ndjson.gz", "c.parquet"]
    for name, column in zip(names, types, strict=True):
        table = events(0, len(column)).drop_columns(["MessageID"])
        write(table.set_column(2, "EventTypeID", pa.array(column)), tmp_path / name)
    paths = [tmp_path / name for name in names]
    expected = [(1, names[0], 1), (2, names[1], 0), (5, names[2], 2)]

    done = run("validate", *paths, "--json")
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    found = [(row["row"], Path(row["file"]).name, row["file_row"]) for row in rows]
    assert found == expected

    rejects, out = tmp_path / "bad.csv", tmp_path / "out.bin"
    done = run("encode", *paths, "-o", out, "--rejects", rejects)
    assert done.returncode == 1
    written = pyarrow.csv.read_csv(rejects).to_pylist()
    assert [(row["row"], Path(row["file"]).name, row["file_row"]) for row in written] == expected
    # Rejected rows use up their numbers.
    assert [one.MessageID for one in decode_stream(out.read_bytes())] == [1, 4, 5]

    shown = run("encode", *paths, "-o", out).stderr.decode()
    for row, name, file_row in expected:
        assert re.search(rf"│ +{row} │ .*{name} +│ +{file_row} │ EventTypeID", shown)


def test_rejections_of_one_file_are_without_its_name(tmp_path):
    table = events(0, 1).set_column(3, "EventTypeID", pa.array([70000]))
    folder = tmp_path / "in"
    file = write(table, folder / "a.parquet")
    [row] = run("validate", file, "--json").stdout.splitlines()
    assert set(json.loads(row)) == {"row", "field", "code", "reason"}
    # The columns do not depend on the number of files in a folder.
    [row] = run("validate", folder, "--json").stdout.splitlines()
    assert set(json.loads(row)) == {"row", "field", "code", "reason", "file", "file_row"}


def test_unreadable_rows_of_text_name_the_file_and_the_line(tmp_path):
    first = write(events(0, 3), tmp_path / "a.csv")
    bad = tmp_path / "b.csv"
    bad.write_text(write(events(3, 2), bad).read_text().replace("MDAwNA==", "***"))
    done = run("validate", first, bad, "--json")
    assert done.returncode == 1
    [row] = [json.loads(line) for line in done.stdout.splitlines()]
    place = (row["row"], row["file"], row["file_row"], row["line"])
    assert place == (4, str(bad), 1, 3)
    assert (row["field"], row["code"]) == ("EventInformation", "base64")
    out = tmp_path / "out.bin"
    assert run("encode", first, bad, "-o", out).returncode == 1
    assert out.read_bytes() == stream(events(0, 4))
    with listener() as (port, got):
        done = run("send", first, bad, HOST, port)
    assert (done.returncode, len(got)) == (1, 4)
    assert f"{bad}: line 3, EventInformation: not base64" in done.stderr.decode()


def test_a_wrong_value_of_a_mapping_names_the_file(tmp_path):
    first = tmp_path / "a.ndjson"
    first.write_text("".join(json.dumps(row) + "\n" for row in list_of(2)))
    [row] = list_of(1)
    row["EventInformation"] = {"TransactionUID": [["1.2"]]}
    bad = tmp_path / "b.ndjson"
    bad.write_text(json.dumps(row) + "\n")
    [found] = run("validate", first, bad, "--json").stdout.splitlines()
    rejected = json.loads(found)
    assert (rejected["row"], rejected["file"], rejected["line"]) == (2, str(bad), 1)
    assert rejected["field"] == "EventInformation.TransactionUID[0]"


# ------------------------------------------------------------------- columns


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv"])
def test_a_column_that_one_file_does_not_have(tmp_path, suffix):
    one = write(events(0, 1), tmp_path / f"one{suffix}")
    more = write(events(1, 1, ErrorComment=["text"]), tmp_path / f"more{suffix}")
    reason = (
        f"{one}: no column 'ErrorComment', which {more} has: all files must have the same columns"
    )
    out = tmp_path / "out.bin"
    for paths in ([one, more], [more, one]):
        assert error_of("encode", *paths, "-o", out) == reason
        assert error_of("validate", *paths) == reason
        assert error_of("send", *paths, HOST, 1) == reason
    assert not out.exists()


def test_message_ids_in_some_files_of_ndjson(tmp_path):
    one = write(events(0, 1), tmp_path / "one.ndjson")
    none = write(events(1, 1).drop_columns(["MessageID"]), tmp_path / "none.ndjson")
    assert error_of("validate", none, one).startswith(f"{none}: no column 'MessageID', which {one}")
    # Other keys are omitted where they are null.
    more = write(events(1, 1, PresentationContextID=[3]), tmp_path / "more.ndjson")
    assert len(decode_stream(encode(one, more))) == 2


def test_columns_of_other_types(tmp_path):
    one = write(events(0, 1), tmp_path / "one.parquet")
    text = events(1, 1).set_column(3, "EventTypeID", pa.array(["1"]))
    other = write(text, tmp_path / "other.parquet")
    assert error_of("validate", one, other) == (
        f"{other}: column 'EventTypeID' is text (string), but an integer (int64) in {one}: "
        "all files must have the same columns"
    )
    structured = events(1, 1).set_column(4, "EventInformation", pa.array([{"TransactionUID": "1"}]))
    other = write(structured, tmp_path / "structured.parquet")
    assert f"{other}: column 'EventInformation' is structured, but bytes (binary) in {one}" in (
        error_of("validate", one, other)
    )
    lines = tmp_path / "structured.ndjson"
    lines.write_text(json.dumps({**list_of(1)[0], "MessageID": 1}))
    assert f"{lines}: column 'EventInformation' is structured" in error_of("validate", one, lines)


def test_types_of_other_widths(tmp_path):
    types = [
        {"EventTypeID": pa.uint16(), "EventInformation": pa.binary()},
        {"EventTypeID": pa.int8(), "EventInformation": pa.large_binary()},
        {"AffectedSOPClassUID": pa.dictionary(pa.int32(), pa.string())},
        {"AffectedSOPInstanceUID": pa.large_string()},
    ]
    paths = []
    for i, changes in enumerate(types):
        table = events(i, 1)
        fields = [field.with_type(changes.get(field.name, field.type)) for field in table.schema]
        paths.append(write(table.cast(pa.schema(fields)), tmp_path / f"{i}.parquet"))
    assert encode(*paths) == stream(events(0, 4))


def test_unknown_columns(tmp_path):
    one = write(events(0, 1, site=["a"]), tmp_path / "in" / "a.parquet")
    write(events(1, 1, key=[1]), tmp_path / "in" / "b.parquet")
    assert error_of("validate", tmp_path / "in").startswith(f"{one}: cannot be read as parquet: ")
    assert encode(tmp_path / "in", "--ignore-columns") == stream(events(0, 2))


def structured_row(number: int, **attributes: object) -> dict[str, object]:
    """Return an event with a structured data set."""
    return {**list_of(number + 1)[number], "EventInformation": attributes}


def test_structured_data_sets_with_other_attributes(tmp_path):
    uids = [{"TransactionUID": "1.2.1"}, {"TransactionUID": "1.2.2", "RetrieveAETitle": "AE"}]
    rows = [structured_row(i, **attributes) for i, attributes in enumerate(uids)]
    for i, row in enumerate(rows):
        write(pa.Table.from_pylist([row]), tmp_path / "parquet" / f"{i}.parquet")
        (tmp_path / f"{i}.ndjson").write_text(json.dumps(row))
    expected = bytes(memoryview(encode_events(rows)))
    assert encode(tmp_path / "parquet") == expected
    assert encode(tmp_path / "0.ndjson", tmp_path / "1.ndjson") == expected
    # Mappings and Arrow rows together.
    assert encode(tmp_path / "0.ndjson", tmp_path / "parquet" / "1.parquet") == expected
    assert encode(tmp_path / "parquet" / "0.parquet", tmp_path / "1.ndjson") == expected
    found = [dsutils.decode(one.EventInformation, True, True) for one in decode_stream(expected)]
    assert [one.TransactionUID for one in found] == ["1.2.1", "1.2.2"]


def test_captures_of_several_files(tmp_path):
    table = events(0, 6)
    paths = [write(table.slice(i, 2), tmp_path / f"{i}.parquet") for i in (0, 2, 4)]
    out = tmp_path / "out.pcap"
    done = run("encode", *paths, "-o", out)
    assert done.returncode == 0, done.stderr
    addresses = {"source": "192.0.2.1", "destination": "192.0.2.2"}
    assert out.read_bytes() == bytes(memoryview(encode_capture(table, **addresses)))
    assert len(decode_capture(out.read_bytes())) == 6


def test_decoded_and_received_files_are_inputs(tmp_path):
    for name in ("a.parquet", "b.ndjson", "c.csv.gz"):
        done = run("decode", REQUESTS, "-o", tmp_path / name, "--names")
        assert done.returncode == 0, done.stderr
    one = encode(tmp_path / "a.parquet")
    assert encode(tmp_path) == one * 3


# ------------------------------------------------------------ unusual folders


def test_folders_without_files(tmp_path):
    folder = tmp_path / "in"
    (folder / "site=north").mkdir(parents=True)
    (folder / "_SUCCESS").touch()
    reason = f"{folder}: no files in this folder (names that begin with '.' or '_' are ignored)"
    for command in (["encode", folder, "-o", tmp_path / "out"], ["validate", folder]):
        assert error_of(*command) == reason
    assert error_of("send", folder, HOST, 1) == reason
    file = write(events(0, 1), tmp_path / "a.parquet")
    assert error_of("validate", file, folder) == reason


def test_unfinished_files_of_receive(tmp_path):
    write(events(0, 2), tmp_path / "in" / "a.parquet")
    for name in ("events-1.arrows.part", "events-2.damaged"):
        (tmp_path / "in" / name).write_bytes(b"not complete")
    done = run("encode", tmp_path / "in", "-o", "-")
    assert (done.returncode, done.stdout) == (0, stream(events(0, 2)))
    lines = done.stderr.decode().splitlines()
    assert [line.split(": ")[0] for line in lines[:2]] == [
        str(tmp_path / "in" / name) for name in ("events-1.arrows.part", "events-2.damaged")
    ]
    (tmp_path / "in" / "a.parquet").unlink()
    assert ".part and .damaged" in error_of("validate", tmp_path / "in")


def test_other_files_of_a_folder_are_errors(tmp_path):
    write(events(0, 2), tmp_path / "a.parquet")
    other = tmp_path / "README.txt"
    other.write_text("text")
    assert error_of("validate", tmp_path).startswith(f"{other}: unknown suffix '.txt'")
    other.rename(tmp_path / "b.parquet")
    assert error_of("validate", tmp_path).startswith(f"{tmp_path / 'b.parquet'}: cannot be read")


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links")
def test_symbolic_links(tmp_path):
    folder = tmp_path / "in"
    write(events(1, 1), tmp_path / "elsewhere" / "x.parquet")
    write(events(0, 1), folder / "a.parquet")
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    (folder / "c.parquet").symlink_to(tmp_path / "elsewhere" / "x.parquet")
    assert encode(folder) == stream(events(0, 1)) + stream(events(1, 1)) * 2
    (folder / "d").symlink_to(folder)
    reason = f"{folder / 'd'}: a symbolic link to a folder that contains it"
    assert error_of("validate", folder) == reason
    (folder / "d").unlink()
    (folder / "d").symlink_to(tmp_path / "nowhere")
    assert str(folder / "d") in error_of("validate", folder)
    (folder / "d").unlink()
    (folder / "d").symlink_to("d")
    assert str(folder / "d") in error_of("validate", folder)


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes")
def test_a_named_pipe_in_a_folder(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    assert error_of("validate", tmp_path) == f"{tmp_path / 'a.csv'}: not a regular file"


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes")
def test_pipes_among_files(tmp_path):
    file, pipe = write(events(0, 2), tmp_path / "a.csv"), tmp_path / "b.csv"
    os.mkfifo(pipe)
    text = write(events(2, 2), tmp_path / "c.csv").read_bytes()
    writer = threading.Thread(target=pipe.write_bytes, args=(text,))
    writer.start()
    assert encode(file, pipe) == stream(events(0, 4))
    writer.join()
    done = run("encode", file, "-", "-f", "csv", "-o", "-", stdin=text)
    assert (done.returncode, done.stdout) == (0, stream(events(0, 4)))
    assert "only once" in error_of("validate", "-", "-", "-f", "csv")


def test_files_that_change_or_disappear(tmp_path):
    one = write(events(0, 2), tmp_path / "a.parquet")
    two = write(events(2, 2), tmp_path / "b.parquet")
    with open_all_rows([str(one), str(two)]) as rows:
        write(events(2, 3), two)
        with pytest.raises(pa.ArrowException, match="changed while it was read"):
            pa.table(rows)
    files = [RowFile(str(one)), RowFile(str(two))]
    opened = RowFiles(files, None, EVENT_COLUMNS, ignore_others=False)
    write(events(2, 3, ErrorComment=["x"] * 3), two)
    with pytest.raises(pa.ArrowException, match=r"b\.parquet: changed while it was read"):
        pa.table(opened.rows())
    two.unlink()
    with pytest.raises(OSError, match=r"No such file .*b\.parquet"):
        pa.table(opened.rows())


def test_a_damaged_file_leaves_no_output(tmp_path):
    one = write(events(0, 2000), tmp_path / "in" / "a.csv.gz")
    two = tmp_path / "in" / "b.csv.gz"
    two.write_bytes(one.read_bytes()[:-20])
    out, rejects = tmp_path / "out.bin", tmp_path / "bad.csv"
    out.write_bytes(b"previous")
    error = error_of("encode", tmp_path / "in", "-o", out, "--rejects", rejects)
    assert error.startswith(f"{two}: cannot be read as csv: ")
    assert "the file is truncated" in error
    assert out.read_bytes() == b"previous"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.bin"]


def test_many_files_need_few_open_files(tmp_path):
    for number in range(300):
        write(events(number, 1), tmp_path / "in" / f"{number:03}.parquet")
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64));"
        "import fastdimse.cli; fastdimse.cli.main(sys.argv[1:])"
    )
    if sys.platform == "win32":
        limited = "import sys; import fastdimse.cli; fastdimse.cli.main(sys.argv[1:])"
    command = [sys.executable, "-c", limited, "encode", str(tmp_path / "in"), "-o", "-"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, stream(events(0, 300))), done.stderr


# ---------------------------------------------------------------------- send


def reports(path: Path, first: int, count: int) -> Path:
    """Write numbered reports."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list_of(first + count)[first:]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_send_several_files(tmp_path):
    folder = tmp_path / "in"
    reports(folder / "b.ndjson", 2, 3)
    reports(folder / "a.ndjson", 0, 2)
    outcomes = tmp_path / "outcomes.csv.gz"
    with listener() as (port, got):
        ran = run("send", folder, HOST, port, "--outcomes", outcomes)
        assert ran.returncode == 0, ran.stderr
        assert [event[3] for event in got] == [f"1.2.{i}" for i in range(5)]
        got.clear()
        ran = run("send", folder / "b.ndjson", REQUESTS, HOST, port)
    assert ran.returncode == 0, ran.stderr
    assert len(got) == 3 + 24
    written = pyarrow.csv.read_csv(pa.CompressedInputStream(str(outcomes), "gzip"))
    assert written["Event"].to_pylist() == list(range(5))


def test_send_adds_only_new_files_to_the_outbox(tmp_path):
    folder, outbox = tmp_path / "in", tmp_path / "events.outbox"
    reports(folder / "a.ndjson", 0, 2)
    with listener() as (port, got):
        assert run("send", folder, HOST, port, "--outbox", outbox).returncode == 0
        reports(folder / "b.ndjson", 2, 2)
        # Another file with the same content has other events.
        reports(folder / "c.ndjson", 0, 2)
        for _ in range(2):
            ran = run("send", folder, HOST, port, "--outbox", outbox)
            assert ran.returncode == 0, ran.stderr
    assert [event[3] for event in got] == [f"1.2.{i}" for i in (0, 1, 2, 3, 0, 1)]


def test_nothing_is_sent_if_a_later_file_cannot_be_read(tmp_path):
    one = reports(tmp_path / "a.ndjson", 0, 2)
    bad = tmp_path / "b.parquet"
    bad.write_bytes(b"not Parquet")
    with listener() as (port, got):
        error = error_of("send", one, bad, HOST, port)
    assert error.startswith(f"{bad}: cannot be read as parquet: ")
    assert got == []
