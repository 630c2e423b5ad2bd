"""Rows of CSV."""

from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv

from .columns import KNOWN_COLUMNS, check_columns
from .rows import ArrowRows
from .text_columns import rows_from_text, text_schema

# A row must not be longer than a block.
_BLOCK_BYTES = 16 << 20


def open_csv(source: BinaryIO, columns: Any, ignore_others: bool) -> ArrowRows:
    """Open rows of CSV."""
    reader = pa.csv.open_csv(
        source,
        read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=text_schema(KNOWN_COLUMNS),
            # Only an empty cell: pyarrow's default list contains words such as NA and null.
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    # Before columns are looked up: pyarrow cannot look up a name that occurs twice.
    check_columns(reader.schema.names, columns, ignore_others=ignore_others)
    names = [name for name in reader.schema.names if name in KNOWN_COLUMNS.names]
    return rows_from_text(reader.schema, reader, names, KNOWN_COLUMNS)
