"""One schema for the columns of several files."""

from collections.abc import Collection
from typing import Any

import pyarrow as pa

from ..errors import InputError
from .columns import RAW_COLUMNS, plain_schema


class SchemaUnion:
    """The columns that are read from several files, which must all have the same ones.

    Columns of one kind can have different widths. Structured data sets can have different
    attributes.

    Parameters
    ----------
    columns : pyarrow.Schema
        The columns that are read.
    """

    def __init__(self, columns: Any) -> None:
        self._columns = columns
        # The type of each column so far, and the file that it is from.
        self._types: dict[str, tuple[Any, str]] = {}
        # For each column: the first file that shows whether the files have it.
        self._presence: dict[str, tuple[bool, str]] = {}
        self._found: set[str] = set()

    def add(self, name: str, schema: Any, significant: Collection[str] | None = None) -> None:
        """Add the columns of a file.

        Parameters
        ----------
        name : str
            The file.
        schema : pyarrow.Schema
            Its columns.
        significant : Collection of str, optional
            The columns that are absent if `schema` does not have them. Rows of the file omit others
            where they are null. All columns by default.

        Raises
        ------
        InputError
            If another file has other columns. The text names both files and the column.
        """
        schema = plain_schema(schema)
        for column in self._columns.names:
            indices = schema.get_all_field_indices(column)
            if len(indices) > 1:
                raise InputError(f"{name}: column '{column}' occurs more than once")
            # Only the files in which a data set could not be decoded have a raw column.
            if column not in RAW_COLUMNS and (significant is None or column in significant):
                self._compare_presence(name, column, bool(indices))
            if indices:
                self._found.add(column)
                self._merge(name, column, schema.field(indices[0]).type)

    def _compare_presence(self, name: str, column: str, is_present: bool) -> None:
        expected, first = self._presence.setdefault(column, (is_present, name))
        if is_present != expected:
            with_it, without_it = (name, first) if is_present else (first, name)
            raise InputError(
                f"{without_it}: no column '{column}', which {with_it} has: all files must have the "
                "same columns"
            )

    def _merge(self, name: str, column: str, data_type: Any) -> None:
        if pa.types.is_null(data_type):
            return
        known, first = self._types.setdefault(column, (data_type, name))
        if known == data_type:
            return
        if _kind(known) != _kind(data_type):
            raise InputError(
                f"{name}: column '{column}' is {_described(data_type)}, but {_described(known)} in "
                f"{first}: all files must have the same columns"
            )
        try:
            self._types[column] = (_merged(known, data_type), first)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"{name}: column '{column}' has other types than in {first}: {reason}"
            ) from error

    def schema(self) -> Any:
        """Return the columns that any file has, each with a type that holds those of all files."""
        return pa.schema(
            (name, self._types[name][0] if name in self._types else self._columns.field(name).type)
            for name in self._columns.names
            if name in self._found
        )


_KINDS = {
    "an integer": (pa.types.is_integer,),
    "text": (pa.types.is_string, pa.types.is_large_string),
    "bytes": (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
    ),
    "structured": (pa.types.is_struct,),
    "a time": (pa.types.is_timestamp,),
    "a duration": (pa.types.is_duration,),
}


def _kind(data_type: Any) -> str:
    for kind, tests in _KINDS.items():
        if any(test(data_type) for test in tests):
            return kind
    return str(data_type)


def _described(data_type: Any) -> str:
    kind = _kind(data_type)
    # The type of a structured column can have hundreds of fields.
    if kind in ("structured", str(data_type)):
        return kind
    return f"{kind} ({data_type})"


def _merged(one: Any, other: Any) -> Any:
    if pa.types.is_integer(one):
        return pa.int64()
    if pa.types.is_fixed_size_binary(one) or pa.types.is_fixed_size_binary(other):
        return pa.large_binary()
    schemas = [pa.schema([("", data_type)]) for data_type in (one, other)]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
