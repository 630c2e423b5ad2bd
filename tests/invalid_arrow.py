"""Arrow producers with invalid data: the C Data Interface with one error.

The layout is that of https://arrow.apache.org/docs/format/CDataInterface.html.
"""

import ctypes
from collections.abc import Callable, Iterator
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from dataclasses import dataclass, field, replace
from typing import Any


class CSchema(Structure):
    """ArrowSchema."""


class CArray(Structure):
    """ArrowArray."""


class CStream(Structure):
    """ArrowArrayStream."""


RELEASE_SCHEMA = CFUNCTYPE(None, POINTER(CSchema))
RELEASE_ARRAY = CFUNCTYPE(None, POINTER(CArray))
RELEASE_STREAM = CFUNCTYPE(None, POINTER(CStream))
GET_SCHEMA = CFUNCTYPE(c_int, POINTER(CStream), POINTER(CSchema))
GET_NEXT = CFUNCTYPE(c_int, POINTER(CStream), POINTER(CArray))
GET_LAST_ERROR = CFUNCTYPE(c_void_p, POINTER(CStream))

CSchema._fields_ = [
    ("format", c_void_p),
    ("name", c_void_p),
    ("metadata", c_void_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(CSchema))),
    ("dictionary", POINTER(CSchema)),
    ("release", RELEASE_SCHEMA),
    ("private_data", c_void_p),
]
CArray._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(CArray))),
    ("dictionary", POINTER(CArray)),
    ("release", RELEASE_ARRAY),
    ("private_data", c_void_p),
]
CStream._fields_ = [
    ("get_schema", GET_SCHEMA),
    ("get_next", GET_NEXT),
    ("get_last_error", GET_LAST_ERROR),
    ("release", RELEASE_STREAM),
    ("private_data", c_void_p),
]

# Exported memory is never freed.
KEPT: list[Any] = []


def kept(value: Any) -> Any:
    """Return a value after keeping it alive."""
    KEPT.append(value)
    return value


def address(data: bytes) -> int:
    """Return the address of a copy of `data`, which is followed by zeros."""
    return ctypes.addressof(kept(ctypes.create_string_buffer(data, len(data) + 64)))


@RELEASE_SCHEMA
def release_schema(schema: Any) -> None:
    """Release a schema."""
    schema.contents.release = RELEASE_SCHEMA()


@RELEASE_ARRAY
def release_array(array: Any) -> None:
    """Release an array."""
    array.contents.release = RELEASE_ARRAY()


@RELEASE_STREAM
def release_stream(stream: Any) -> None:
    """Release a stream."""
    stream.contents.release = RELEASE_STREAM()


@dataclass
class Node:
    """A column or a table; `None` among buffers, children and names is null."""

    format: bytes | None
    buffers: list[bytes | None] = field(default_factory=list)
    length: int = 2
    name: bytes | None = b""
    null_count: int = 0
    offset: int = 0
    children: list["Node | None"] = field(default_factory=list)
    dictionary: "Node | None" = None
    metadata: bytes | None = None
    n_buffers: int | None = None
    n_children: int | None = None
    schema_children: list["Node | None"] | None = None
    schema_n_children: int | None = None
    array_dictionary: "Node | str | None" = "same"

    def but(self, **changes: Any) -> "Node":
        """Return a copy with other values."""
        return replace(self, **changes)


def schema_of(node: Node) -> CSchema:
    """Return the schema of a node."""
    schema = kept(CSchema())
    schema.format = None if node.format is None else address(node.format)
    schema.name = None if node.name is None else address(node.name)
    schema.metadata = None if node.metadata is None else address(node.metadata)
    schema.flags = 2
    children = node.children if node.schema_children is None else node.schema_children
    pointers = (POINTER(CSchema) * max(len(children), 1))()
    for place, child in enumerate(children):
        if child is not None:
            pointers[place] = ctypes.pointer(schema_of(child))
    schema.children = ctypes.cast(kept(pointers), POINTER(POINTER(CSchema)))
    given = node.schema_n_children
    schema.n_children = len(children) if given is None else given
    if node.dictionary is not None:
        schema.dictionary = ctypes.pointer(schema_of(node.dictionary))
    schema.release = release_schema
    return schema


def array_of(node: Node) -> CArray:
    """Return the array of a node."""
    array = kept(CArray())
    array.length, array.null_count, array.offset = node.length, node.null_count, node.offset
    buffers = (c_void_p * max(len(node.buffers), 1))()
    for place, buffer in enumerate(node.buffers):
        buffers[place] = None if buffer is None else address(buffer)
    array.buffers = ctypes.cast(kept(buffers), POINTER(c_void_p))
    array.n_buffers = len(node.buffers) if node.n_buffers is None else node.n_buffers
    pointers = (POINTER(CArray) * max(len(node.children), 1))()
    for place, child in enumerate(node.children):
        if child is not None:
            pointers[place] = ctypes.pointer(array_of(child))
    array.children = ctypes.cast(kept(pointers), POINTER(POINTER(CArray)))
    array.n_children = len(node.children) if node.n_children is None else node.n_children
    dictionary = node.dictionary if node.array_dictionary == "same" else node.array_dictionary
    if isinstance(dictionary, Node):
        array.dictionary = ctypes.pointer(array_of(dictionary))
    array.release = release_array
    return array


new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = [c_void_p, c_char_p, c_void_p]


def capsule(structure: Structure, name: bytes) -> Any:
    """Return a capsule of a structure."""
    return new_capsule(ctypes.addressof(kept(structure)), kept(name), None)


@dataclass
class Array:
    """An Arrow array of one node."""

    node: Node

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[Any, Any]:
        """Export it."""
        return (
            capsule(schema_of(self.node), b"arrow_schema"),
            capsule(array_of(self.node), b"arrow_array"),
        )


@dataclass
class Stream:
    """An Arrow stream of nodes, which ends with an error code."""

    schema: Node
    nodes: list[Node]
    code: int = 0
    error: bytes | None = None
    schema_code: int = 0
    released: bool = False
    without: tuple[str, ...] = ()

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """Export it."""
        nodes: Iterator[Node] = iter(self.nodes)
        ended: list[bool] = []

        def get_schema(stream: Any, out: Any) -> int:
            if self.schema_code == 0:
                ctypes.pointer(out.contents)[0] = schema_of(self.schema)
            return self.schema_code

        def get_next(stream: Any, out: Any) -> int:
            assert not ended, "asked again after the end or an error"
            node = next(nodes, None)
            if node is not None:
                ctypes.pointer(out.contents)[0] = array_of(node)
                return 0
            ended.append(True)
            ctypes.pointer(out.contents)[0] = CArray()
            return self.code

        def get_last_error(stream: Any) -> int | None:
            return None if self.error is None else address(self.error)

        stream = kept(CStream())
        callbacks: dict[str, Callable[..., Any]] = {
            "get_schema": GET_SCHEMA(get_schema),
            "get_next": GET_NEXT(get_next),
            "get_last_error": GET_LAST_ERROR(get_last_error),
            "release": release_stream,
        }
        for name, callback in callbacks.items():
            if name not in self.without and not (self.released and name == "release"):
                setattr(stream, name, kept(callback))
        return capsule(stream, b"arrow_array_stream")
