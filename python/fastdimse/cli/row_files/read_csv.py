"""Rows of CSV."""

from typing import Any

import pyarrow as pa
import pyarrow.csv

from .columns import check_columns, known
from .rows import ArrowRows
from .text_columns import rows_from_text, text_schema

# A row must not be longer than a block.
_BLOCK_BYTES = 16 << 20


_LIMIT = f"{_BLOCK_BYTES >> 20} MiB"
# Beginnings of errors of pyarrow that name its blocks.
_EXPLANATIONS = {
    "straddling object": f"a row is longer than {_LIMIT}",
    "CSV parse error: Empty CSV": f"the file is empty, or its first row is longer than {_LIMIT}",
}


def explain_csv(text: str) -> str:
    """Return the text of an error of pyarrow, without its terms for blocks."""
    for beginning, explanation in _EXPLANATIONS.items():
        if text.startswith(beginning):
            return explanation
    return text


def open_csv(source: Any, columns: Any, ignore_others: bool) -> ArrowRows:
    """Open rows of CSV, of which `source` is a file in binary mode or a file of pyarrow."""
    reader = pa.csv.open_csv(
        source,
        read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=text_schema(known(columns)),
            # Only an empty cell: pyarrow's default list contains words such as NA and null.
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    # Before columns are looked up: pyarrow cannot look up a name that occurs twice.
    check_columns(reader.schema.names, columns, ignore_others=ignore_others)
    names = [name for name in reader.schema.names if name in known(columns).names]
    return rows_from_text(reader.schema, reader, names, known(columns))
