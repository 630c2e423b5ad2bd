"""Measure each engine from Parquet to Parquet, with fastdimse and with its identity function.

    ./dev bench-engines [--rows N] [--write] [ENGINE ...]
    ./dev bench-engines --scale [--write]

Each job reads a Hive-style folder of Parquet files and writes Parquet, with two workers. It calls
fastdimse, or a function of the same kind that returns its argument, which is the rival. The jobs
alternate, and the fastest round of each counts. --scale encodes from 10,000 to 100,000,000
generated rows with polars, and counts the messages. With --write, the table is written to
docs/engines.md.
"""

import argparse
import os
import random
import resource
import shutil
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from fastdimse import decode_events, decode_messages, encode_events, encode_messages, message_schema

# Daft and Ray send no usage statistics.
os.environ.update(DO_NOT_TRACK="1", RAY_USAGE_STATS_ENABLED="0")

PAGE = Path(__file__).parent.parent / "docs" / "engines.md"
ROUNDS = 3
SITES = ("east", "north", "south", "west")
EVENT = (
    "MessageID",
    "AffectedSOPClassUID",
    "AffectedSOPInstanceUID",
    "EventTypeID",
    "EventInformation",
)
SOP_CLASS = "1.2.840.10008.1.20.1"
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"

Kind = Literal["encode", "events", "decode", "decoded"]
"""Encode, the identity of the events, decode, or the identity of the decoded events."""
SOURCES = {"encode": "events", "events": "events", "decode": "messages", "decoded": "decoded"}
"""The folder that a job reads."""
Job = Callable[[Kind, Path, Path], None]
"""A job of one kind, from a folder of Parquet files to a new file or folder."""


def write_input(folder: Path, rows: int) -> None:
    """Write `rows` events of about 260 bytes, their messages, and the decoded messages."""
    numbers = random.Random(7)
    uids = pa.array([f"1.2.826.0.1.3680043.{numbers.getrandbits(64)}" for _ in range(rows)])
    reference = pa.StructArray.from_arrays(
        [pa.array([CT] * rows), uids], ["ReferencedSOPClassUID", "ReferencedSOPInstanceUID"]
    )
    references = pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), reference)
    information = pa.StructArray.from_arrays(
        [uids, references], ["TransactionUID", "ReferencedSOPSequence"]
    )
    events = {
        "AffectedSOPClassUID": pa.array([SOP_CLASS] * rows),
        "AffectedSOPInstanceUID": pa.array([SOP_INSTANCE] * rows),
        "EventTypeID": pa.array([1] * rows, pa.int32()),
    }
    encoded = encode_events(pa.table({**events, "EventInformation": information}))
    decoded = pa.table(decode_events(encoded))
    events["EventInformation"] = decoded["EventInformation"].cast(pa.binary())
    others = {"key": pa.array(range(rows))}
    messages = pa.table({**others, "Message": pa.array(encoded).cast(pa.binary())})
    tables = {
        "events": pa.table({**others, **events}),
        "messages": messages,
        "decoded": pa.table(decode_messages(messages)),
    }
    for name, table in tables.items():
        for number, site in enumerate(SITES):
            part = folder / name / f"site={site}"
            part.mkdir(parents=True)
            length = -(-rows // len(SITES))
            pq.write_table(table.slice(number * length, length), part / "0.parquet")


@contextmanager
def polars() -> Iterator[Job]:
    """Streaming LazyFrames."""
    import polars as pl

    import fastdimse.polars  # noqa: F401

    def identity(expression: pl.Expr, schema: Any) -> pl.Expr:
        return expression.map_batches(
            lambda column: column, return_dtype=schema, is_elementwise=True
        )

    def job(kind: Kind, source: Path, target: Path) -> None:
        frame = pl.scan_parquet(source, hive_partitioning=True)
        if kind in ("encode", "events"):
            frame = frame.with_row_index("MessageID")
            frame = frame.with_columns((pl.col("MessageID") % 65535 + 1).cast(pl.Int32))
        if kind == "encode":
            column = pl.struct(EVENT).dimse.encode(first_row=None)
        elif kind == "decode":
            column = pl.col("Message").dimse.decode()
        else:
            schema = frame.drop("site", "key").collect_schema()
            column = identity(pl.struct(schema.names()), pl.Struct(schema))
        frame.select("site", "key", column.struct.unnest()).sink_parquet(target)

    yield job


@contextmanager
def duckdb() -> Iterator[Job]:
    """SQL with functions of Arrow data."""
    import duckdb

    from fastdimse.duckdb import register

    with closing(duckdb.connect()) as connection:
        connection.execute("SET threads = 2")
        register(connection)

        def identity(column: pa.ChunkedArray) -> pa.Array:
            return column.combine_chunks()

        def job(kind: Kind, source: Path, target: Path) -> None:
            rows = f"(FROM read_parquet('{source}/*/*.parquet', hive_partitioning := true))"
            if kind in ("encode", "events"):
                number = "((row_number() OVER () - 1) % 65535 + 1)::INTEGER AS MessageID"
                rows = f"(SELECT *, {number} FROM {rows})"
            columns = connection.sql(f"SELECT * EXCLUDE (site, key) FROM {rows}").columns
            event = f"struct_pack({', '.join(f'{name} := {name}' for name in columns)})"
            if kind == "encode":
                column = f"dimse_encode({event})"
            elif kind == "decode":
                column = "dimse_decode(Message)"
            else:
                [result] = connection.sql(f"SELECT {event} FROM {rows}").types
                connection.create_function(kind, identity, [result], result, type="arrow")
                column = f"{kind}({event})"
            connection.execute(
                f"COPY (SELECT site, key, unnest({column}) FROM {rows}) TO '{target}'"
                " (FORMAT parquet)"
            )
            if kind in ("events", "decoded"):
                connection.remove_function(kind)

        yield job


@contextmanager
def datafusion() -> Iterator[Job]:
    """DataFrames with scalar functions."""
    from datafusion import SessionConfig, SessionContext, col, udf

    from fastdimse.datafusion import decode_function, encode_function

    def job(kind: Kind, source: Path, target: Path) -> None:
        context = SessionContext(SessionConfig().with_target_partitions(2))
        partitions = [("site", pa.string())]
        context.register_parquet("input", str(source), table_partition_cols=partitions)
        frame = context.table("input")
        if kind in ("encode", "events"):
            frame = context.sql(
                'SELECT CAST(row_number() OVER () - 1 AS BIGINT) % 65535 + 1 AS "MessageID", *'
                " FROM input"
            )
        schema = frame.schema()
        names = [name for name in schema.names if name not in ("site", "key")]
        fields = [schema.field(name) for name in names]
        if kind == "encode":
            function = encode_function(schema)
        elif kind == "decode":
            function = decode_function()
        else:
            function = udf(
                lambda *columns: pa.StructArray.from_arrays(list(columns), fields=fields),
                fields,
                pa.struct(fields),
                "volatile",
                "identity",
            )
        result = function(*[col(f'"{name}"') for name in names]).alias("result")
        frame.select(col("site"), col("key"), result).write_parquet(str(target))

    yield job


@contextmanager
def ray() -> Iterator[Job]:
    """Functions for map_batches."""
    import ray
    import ray.data
    from ray.data.datatype import DataType
    from ray.data.expressions import col

    from fastdimse.ray import decode, encode

    def identity(batch: pa.Table) -> pa.Table:
        return batch

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    functions = {"encode": encode, "events": identity, "decode": decode, "decoded": identity}

    def job(kind: Kind, source: Path, target: Path) -> None:
        rows = ray.data.read_parquet(str(source))
        if kind in ("encode", "events"):
            number = (col("key") % 65535 + 1).cast(DataType.int32())
            rows = rows.with_column("MessageID", number)
        rows.map_batches(functions[kind], batch_format="pyarrow").write_parquet(str(target))

    yield job
    ray.shutdown()


@contextmanager
def spark() -> Iterator[Job]:
    """Functions for mapInArrow."""
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import col

    from fastdimse.spark import decode, encode, message_type

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()

    def job(kind: Kind, source: Path, target: Path) -> None:
        rows = session.read.parquet(str(source))
        if kind in ("encode", "events"):
            rows = rows.withColumn("MessageID", (col("key") % 65535 + 1).cast("int"))
        if kind == "encode":
            result = rows.mapInArrow(encode(), message_type("encode", rows))
        elif kind == "decode":
            result = rows.mapInArrow(decode(), message_type("decode", rows))
        else:
            result = rows.mapInArrow(lambda batches: batches, rows.schema)
        result.write.parquet(str(target))

    yield job
    session.stop()


@contextmanager
def dask() -> Iterator[Job]:
    """Functions for map_partitions, with the distributed scheduler."""
    import dask.dataframe as dd
    import pandas as pd
    from distributed import Client

    def encode(events: pd.DataFrame) -> pd.DataFrame:
        return pa.table(encode_messages(events)).to_pandas(types_mapper=pd.ArrowDtype)

    def decode(messages: pd.DataFrame) -> pd.DataFrame:
        return pa.table(decode_messages(messages)).to_pandas(types_mapper=pd.ArrowDtype)

    def identity(rows: pd.DataFrame) -> pd.DataFrame:
        return rows

    functions = {"encode": encode, "events": identity, "decode": decode, "decoded": identity}

    def job(kind: Kind, source: Path, target: Path) -> None:
        rows = dd.read_parquet(source, dtype_backend="pyarrow")
        if kind in ("encode", "events"):
            rows = rows.assign(MessageID=rows["key"].astype("int64") % 65535 + 1)
        rows.map_partitions(functions[kind]).to_parquet(target)

    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None):
        yield job


@contextmanager
def daft() -> Iterator[Job]:
    """Batch functions of structs."""
    import daft
    from daft import DataType, col
    from daft.functions import to_struct

    functions = {"encode": encode_messages, "decode": decode_messages}

    def job(kind: Kind, source: Path, target: Path) -> None:
        rows = daft.read_parquet(f"{source}/**/*.parquet", hive_partitioning=True)
        if kind in ("encode", "events"):
            rows = rows.with_column("MessageID", (col("key") % 65535 + 1).cast("int32"))
        schema = rows.schema().to_pyarrow_schema()
        if kind in functions:
            schema = pa.schema(message_schema(kind, schema))
        result = DataType.from_arrow_type(pa.struct(schema))

        @daft.func.batch(return_dtype=result, unnest=True)
        def call(batch: daft.Series) -> Any:
            return pa.array(functions[kind](batch)) if kind in functions else batch

        rows.select(call(to_struct(*rows.columns))).write_parquet(str(target))

    yield job


ENGINES = {
    "polars": polars,
    "duckdb": duckdb,
    "datafusion": datafusion,
    "ray": ray,
    "spark": spark,
    "dask": dask,
    "daft": daft,
}


def measure(engine: str, folder: Path) -> dict[Kind, float]:
    """Return the seconds of the fastest round of each job."""
    fastest: dict[Kind, float] = {}
    with ENGINES[engine]() as job:
        for _ in range(ROUNDS):
            for kind in ("encode", "events", "decode", "decoded"):
                source = folder / SOURCES[kind]
                target = folder / "output.parquet"
                begin = time.perf_counter()
                job(kind, source, target)
                seconds = time.perf_counter() - begin
                fastest[kind] = min(seconds, fastest.get(kind, seconds))
                shutil.rmtree(target) if target.is_dir() else target.unlink()
    return fastest


def row(engine: str, fastest: dict[Kind, float]) -> str:
    """Return the row of the table of one engine."""
    cells = [f"{engine} {version('pyspark' if engine == 'spark' else engine)}"]
    for ours, rival in (("encode", "events"), ("decode", "decoded")):
        cells += [f"{fastest[ours]:.2f} s", f"{fastest[rival]:.2f} s"]
        cells.append(f"{fastest[ours] / fastest[rival]:.2f}")
    return f"| {' | '.join(cells)} |"


def scale() -> Iterator[str]:
    """Return a row of the table for each number of events."""
    import polars as pl
    from polars.io.plugins import register_io_source

    import fastdimse.polars  # noqa: F401

    key = pl.int_range(100_000, eager=True).alias("key").to_frame()
    batch = key.select(
        AffectedSOPClassUID=pl.lit(SOP_CLASS),
        AffectedSOPInstanceUID=pl.lit(SOP_INSTANCE),
        EventTypeID=1 + pl.col("key") % 2,
        EventInformation=pl.concat_str(pl.lit(100 * "x"), "key").cast(pl.Binary),
    )

    def job(rows: int) -> None:
        def batches(columns: list[str] | None, *_: object) -> Iterator[pl.DataFrame]:
            for begin in range(0, rows, len(batch)):
                yield batch.head(rows - begin).select(columns or batch.columns)

        frame = register_io_source(batches, schema=batch.schema).with_row_index("MessageID")
        frame = frame.with_columns(pl.col("MessageID") % 65535 + 1)
        message = pl.struct(pl.all()).dimse.encode(first_row=None).struct.field("Message")
        count = frame.select(message).select(pl.col("Message").count())
        assert count.collect(engine="streaming").item() == rows

    job(1000)
    for exponent in range(4, 9):
        rows = 10**exponent
        rounds = max(ROUNDS, 10**6 // rows)
        fastest = min(timeit.repeat(lambda rows=rows: job(rows), number=1, repeat=rounds))
        yield f"| {rows:,} | {fastest / rows * 1e9:.0f} ns | {peak_memory() >> 20} MiB |"


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


SCALE_HEADER = """\
| events | per event | peak memory of the process |
| --- | --- | --- |"""

HEADER = """\
| engine | encode | identity | ratio | decode | identity | ratio |
| --- | --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    """Measure the engines, print the table, and write it if requested."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--scale", action="store_true", help="up to 100,000,000 generated rows")
    parser.add_argument("--write", action="store_true", help="write the table to docs/engines.md")
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=f"of {', '.join(ENGINES)}")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.engines) - set(ENGINES))
    if unknown:
        parser.error(f"unknown engine {unknown[0]!r}: choose from {', '.join(ENGINES)}")
    if arguments.write and (arguments.engines or arguments.rows != 1_000_000):
        parser.error("--write needs all engines and 1,000,000 rows")
    if arguments.scale:
        lines = [SCALE_HEADER]
        print(SCALE_HEADER)
        for line in scale():
            lines.append(line)
            print(line, flush=True)
        if arguments.write:
            write("scale", lines)
        return
    lines = [HEADER]
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_input(folder, arguments.rows)
        print(HEADER)
        for engine in arguments.engines or ENGINES:
            lines.append(row(engine, measure(engine, folder)))
            print(lines[-1], flush=True)
    if arguments.write:
        write("engines", lines)


def write(name: str, lines: list[str]) -> None:
    """Replace a table of the page."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->\n"
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{begin}{table}\n{end}{after}")


if __name__ == "__main__":
    sys.exit(main())
