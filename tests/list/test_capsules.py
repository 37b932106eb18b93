"""Capsules that are not what they should be: an error, no crash, and all is given back once."""

import ctypes
from collections.abc import Callable
from ctypes import POINTER, Structure, c_char_p, c_int, c_int32, c_int64, c_uint8, c_void_p
from typing import Any, ClassVar, TypeAlias

import pytest

from phyr import ArrayError, ArrayTypeError, Phyr

Struct: TypeAlias = Any
"""A struct of ctypes, or a pointer to one."""
Fields: TypeAlias = list[tuple[str, Any]]
COLUMN = Phyr.from_pfns([1, 3, 5]).chunks.paddrs
LIST = Phyr.from_pages([0x1000, 0x3000, 0x5000])


class Schema(Structure):
    _fields_: ClassVar[Fields] = [
        ("format", c_char_p),
        ("name", c_char_p),
        ("metadata", c_void_p),
        ("flags", c_int64),
        ("n_children", c_int64),
        ("children", c_void_p),
        ("dictionary", c_void_p),
        ("release", c_void_p),
        ("private", c_void_p),
    ]


class Items(Structure):
    _fields_: ClassVar[Fields] = [
        *[
            (name, c_int64)
            for name in ("length", "null_count", "offset", "n_buffers", "n_children")
        ],
        ("buffers", c_void_p),
        ("children", c_void_p),
        ("dictionary", c_void_p),
        ("release", c_void_p),
        ("private", c_void_p),
    ]


class Stream(Structure):
    _fields_: ClassVar[Fields] = [
        (name, c_void_p)
        for name in ("get_schema", "get_next", "get_last_error", "release", "private")
    ]


class Tensor(Structure):
    _fields_: ClassVar[Fields] = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("byte_offset", ctypes.c_uint64),
        ("manager", c_void_p),
        ("deleter", c_void_p),
    ]


class Versioned(Structure):
    _fields_: ClassVar[Fields] = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", c_void_p),
        ("deleter", c_void_p),
        ("flags", ctypes.c_uint64),
        *Tensor._fields_[:-2],
    ]


new = ctypes.pythonapi.PyCapsule_New
new.restype, new.argtypes = ctypes.py_object, [c_void_p, c_char_p, c_void_p]

GIVEN_BACK: list[str] = []
SCHEMA, ITEMS, STREAM = (POINTER(cls) for cls in (Schema, Items, Stream))


def _release_schema(schema: Struct) -> None:
    GIVEN_BACK.append("schema")
    schema.contents.release = None


release_schema = ctypes.CFUNCTYPE(None, SCHEMA)(_release_schema)


def _release_items(items: Struct) -> None:
    GIVEN_BACK.append("items")
    items.contents.release = None


release_items = ctypes.CFUNCTYPE(None, ITEMS)(_release_items)


def _release_stream(stream: Struct) -> None:
    GIVEN_BACK.append("stream")
    stream.contents.release = None


release_stream = ctypes.CFUNCTYPE(None, STREAM)(_release_stream)


def _delete_tensor(_: Struct) -> None:
    GIVEN_BACK.append("tensor")


delete_tensor = ctypes.CFUNCTYPE(None, c_void_p)(_delete_tensor)


def pointer(function: Struct) -> Struct:
    return ctypes.cast(function, c_void_p)


NUMBERS = (ctypes.c_uint64 * 4)(0x1000, 0x3000, 0x5000, 0x7000)
BUFFERS = (c_void_p * 2)(None, ctypes.addressof(NUMBERS))
NO_ITEMS = (c_void_p * 2)(None, None)
VALID = (c_uint8 * 1)(0b1011)
WITH_NULL = (c_void_p * 2)(ctypes.addressof(VALID), ctypes.addressof(NUMBERS))


def at(thing: Struct) -> int:
    return ctypes.addressof(thing)


class Exporter:
    """Hands over structs that it keeps, with some fields as they are told."""

    def __init__(self, schema: dict[str, Any] | None = None, **items: Struct) -> None:
        self.schema = Schema(format=b"L", name=b"", release=pointer(release_schema))
        given = {"length": 3, "n_buffers": 2, "buffers": at(BUFFERS)} | items
        self.items = Items(release=pointer(release_items))
        for struct, fields in ((self.schema, schema or {}), (self.items, given)):
            for name, value in fields.items():
                setattr(struct, name, value)

    def __arrow_c_array__(self, _: object = None) -> tuple[object, object]:
        return (
            new(at(self.schema), b"arrow_schema", None),
            new(at(self.items), b"arrow_array", None),
        )


@pytest.fixture(autouse=True)
def _nothing_given_back() -> None:
    GIVEN_BACK.clear()


def test_structs_are_moved_out_and_given_back_once() -> None:
    exporter = Exporter()
    assert Phyr.from_pages(exporter) == LIST
    assert sorted(GIVEN_BACK) == ["items", "schema"]
    with pytest.raises(ArrayTypeError, match="that nobody took"):
        Phyr.from_pages(exporter)
    assert sorted(GIVEN_BACK) == ["items", "schema"]


def test_bits_that_say_null_are_looked_at_where_the_count_is_not_known() -> None:
    assert Phyr.from_pages(Exporter(null_count=-1)) == LIST
    for count in (-1, 1):
        with pytest.raises(ArrayError, match="item 2 of the array is null"):
            Phyr.from_pages(Exporter(null_count=count, buffers=at(WITH_NULL)))
    with pytest.raises(ArrayError, match="item 1 of the array is null"):
        Phyr.from_pages(Exporter(null_count=-1, buffers=at(WITH_NULL), offset=1, length=3))
    assert Phyr.from_pages(Exporter(null_count=0, buffers=at(WITH_NULL))) == LIST
    with pytest.raises(ArrayError, match="item 0 of the array is null"):
        Phyr.from_pages(Exporter(null_count=1))


def test_an_offset_is_heeded() -> None:
    assert Phyr.from_pages(Exporter(offset=1, length=2)) == Phyr.from_pages([0x3000, 0x5000])


@pytest.mark.parametrize(
    "fields",
    [
        {"length": -1},
        {"offset": -1},
        {"length": 1 << 62},
        {"offset": (1 << 63) - 1},
        {"buffers": None},
        {"buffers": at(NO_ITEMS)},
        {"n_buffers": 1},
        {"n_buffers": -1},
    ],
    ids=str,
)
def test_an_array_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ArrayError, match="that no array has"):
        Phyr.from_pages(Exporter(**fields))
    assert sorted(GIVEN_BACK) == ["items", "schema"]


def test_an_array_of_nothing_needs_no_buffers() -> None:
    assert len(Phyr.from_pages(Exporter(length=0, buffers=None, n_buffers=0))) == 0


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"format": None}, 'format ""'),
        ({"format": b"\xff"}, "does not hold integers"),
        ({"format": b"g"}, "of float64"),
        ({"format": b"+s"}, "a table of 0 columns"),
        ({"format": b"+s", "n_children": 3}, "a table of 0 columns"),
        ({"format": b"+s", "n_children": -3}, "a table of 0 columns"),
        ({"dictionary": 1}, "dictionary"),
    ],
    ids=str,
)
def test_a_schema_that_says_no_integers_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ArrayTypeError, match=why):
        Phyr.from_pages(Exporter(fields))
    assert sorted(GIVEN_BACK) == ["items", "schema"]


def test_a_struct_shorter_than_its_rows_is_refused() -> None:
    children = [Exporter({"name": name}, length=2) for name in (b"paddr", b"length")]
    schemas = (c_void_p * 2)(*[at(child.schema) for child in children])
    for items in [(c_void_p * 2)(*[at(child.items) for child in children]), (c_void_p * 2)()]:
        table = Exporter(
            {"format": b"+s", "n_children": 2, "children": at(schemas)},
            n_children=2,
            children=at(items),
            buffers=at(NO_ITEMS),
        )
        with pytest.raises(ArrayError, match="that no array has"):
            Phyr.from_chunks(table)


class Bare:
    """An object without any method of a protocol, or with one that answers as it is told."""

    def __init__(self, name: str, answer: Callable[..., object]) -> None:
        setattr(self, name, answer)


def returns(name: str, answer: Callable[[], object]) -> Struct:
    return Bare(name, lambda *_, **__: answer())


@pytest.mark.parametrize(
    "answer",
    [
        lambda: None,
        lambda: (1, 2),
        lambda: (),
        lambda: new(at(NUMBERS), b"arrow_schema", None),
        lambda: new(at(NUMBERS), None, None),
        lambda: tuple(reversed(COLUMN.__arrow_c_array__())),
        lambda: COLUMN.__arrow_c_array__()[:1],
    ],
)
@pytest.mark.parametrize(
    "name", ["__arrow_c_array__", "__arrow_c_stream__", "__dlpack__", "__array__"]
)
def test_an_answer_of_another_type_is_refused(name: str, answer: Callable[[], object]) -> None:
    with pytest.raises(ArrayTypeError, match=name):
        Phyr.from_pages(returns(name, answer))


def test_an_exception_of_a_protocol_is_passed_on() -> None:
    def fails() -> object:
        message = "no"
        raise LookupError(message)

    for name in ("__arrow_c_array__", "__arrow_c_stream__", "__dlpack__", "__array__"):
        with pytest.raises(LookupError, match="no"):
            Phyr.from_pages(returns(name, fails))


# Streams.

GET_SCHEMA, GET_NEXT = (ctypes.CFUNCTYPE(c_int, STREAM, kind) for kind in (SCHEMA, ITEMS))
GET_ERROR = ctypes.CFUNCTYPE(c_void_p, STREAM)


class Streamer:
    """Hands over a stream of two batches, one of which may fail."""

    def __init__(self, failing: int = 9, words: bytes | None = None, missing: str = "") -> None:
        self.batches = [Exporter(length=1), Exporter(offset=1, length=2)]
        self.calls, self.words = 0, c_char_p(words)

        def get_schema(_: Struct, out: Struct) -> int:
            out[0] = Schema(format=b"L", name=b"", release=pointer(release_schema))
            return 22 if failing == 0 else 0

        def get_next(_: Struct, out: Struct) -> int:
            self.calls += 1
            if self.calls == failing:
                return 5
            out[0] = self.batches.pop(0).items if self.batches else Items()
            return 0

        def get_last_error(_: Struct) -> int | None:
            return ctypes.cast(self.words, c_void_p).value

        self.kept = GET_SCHEMA(get_schema), GET_NEXT(get_next), GET_ERROR(get_last_error)
        self.stream = Stream(*map(pointer, (*self.kept, release_stream)))
        if missing:
            setattr(self.stream, missing, None)

    def __arrow_c_stream__(self, _: object = None) -> object:
        return new(at(self.stream), b"arrow_array_stream", None)


def test_a_stream_is_read_to_its_end_and_given_back() -> None:
    streamer = Streamer()
    assert Phyr.from_pages(streamer) == LIST
    assert sorted(GIVEN_BACK) == ["items", "items", "schema", "stream"]
    assert streamer.calls == 3
    with pytest.raises(ArrayTypeError, match="that nobody took"):
        Phyr.from_pages(streamer)


def test_a_stream_that_fails_says_what_it_has_to_say() -> None:
    with pytest.raises(ArrayError, match="failed: the disk is gone"):
        Phyr.from_pages(Streamer(2, b"the disk is gone"))
    assert sorted(GIVEN_BACK) == ["items", "schema", "stream"]
    for words in (None, b""):
        with pytest.raises(ArrayError, match="failed: error 5"):
            Phyr.from_pages(Streamer(1, words))
    with pytest.raises(ArrayError, match="failed: error 22"):
        Phyr.from_pages(Streamer(0))
    with pytest.raises(ArrayError, match="failed: error 5"):
        Phyr.from_pages(Streamer(1, missing="get_last_error"))
    for name in ("get_schema", "get_next"):
        with pytest.raises(ArrayError, match=name):
            Phyr.from_pages(Streamer(missing=name))


# DLPack.


class Dlpack:
    """Hands over a tensor that it keeps, with some fields as they are told."""

    def __init__(
        self, cls: type[Structure] = Tensor, name: bytes = b"dltensor", **fields: Struct
    ) -> None:
        self.name, self.shape = name, (c_int64 * 1)(3)
        self.struct = cls(
            data=at(NUMBERS),
            device_type=1,
            ndim=1,
            code=1,
            bits=64,
            lanes=1,
            shape=at(self.shape),
            deleter=pointer(delete_tensor),
        )
        for field, value in fields.items():
            setattr(self.struct, field, value)

    def __dlpack__(self, **_: object) -> object:
        self.capsule = new(at(self.struct), self.name, None)
        return self.capsule


def test_a_tensor_is_taken_and_given_back_once() -> None:
    for tensor in (Dlpack(), Dlpack(Versioned, b"dltensor_versioned", major=1)):
        GIVEN_BACK.clear()
        assert Phyr.from_pages(tensor) == LIST
        assert GIVEN_BACK == ["tensor"]
        assert "used_" in repr(tensor.capsule)
    assert Phyr.from_pages(Dlpack(byte_offset=8, deleter=None)) == Phyr.from_pages(NUMBERS[1:])


STRIDE = (c_int64 * 1)(2)
MINUS = (c_int64 * 1)(-1)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"device_type": 2}, "device type 2"),
        ({"code": 2}, "type code 2"),
        ({"bits": 63}, "63 bits"),
        ({"bits": 128}, "128 bits"),
        ({"lanes": 2}, "2 lanes"),
        ({"ndim": 0}, "0 dimensions"),
        ({"ndim": -1}, "-1 dimensions"),
        ({"shape": None}, "dimensions"),
        ({"shape": at(MINUS)}, "-1 items"),
        ({"strides": at(STRIDE)}, "items 2 apart"),
        ({"data": None}, "no memory"),
    ],
    ids=str,
)
def test_a_tensor_that_is_no_column_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ArrayTypeError, match=why):
        Phyr.from_pages(Dlpack(**fields))
    assert GIVEN_BACK == ["tensor"]


def test_a_tensor_of_a_version_to_come_is_refused() -> None:
    with pytest.raises(ArrayTypeError, match="version 2"):
        Phyr.from_pages(Dlpack(Versioned, b"dltensor_versioned", major=2))
    assert GIVEN_BACK == ["tensor"]


def test_memory_of_a_device_is_refused_before_it_is_handed_over() -> None:
    tensor = Dlpack()
    tensor.__dlpack_device__ = lambda: (2, 0)  # type: ignore[attr-defined]
    with pytest.raises(ArrayTypeError, match=r"device \(2, 0\)"):
        Phyr.from_pages(tensor)
    tensor.__dlpack_device__ = lambda: "cuda"  # type: ignore[attr-defined]
    with pytest.raises(ArrayTypeError, match="device cuda"):
        Phyr.from_pages(tensor)
    assert GIVEN_BACK == []


# Capsules of phyr, taken by nobody, or by phyr.


def test_capsules_that_nobody_takes_give_their_memory_back() -> None:
    chunks = LIST.chunks
    for _ in range(100):
        COLUMN.__arrow_c_schema__()
        COLUMN.__arrow_c_array__()
        COLUMN.__dlpack__()
        COLUMN.__dlpack__(max_version=(1, 0))
        chunks.__arrow_c_stream__()
        chunks.__arrow_c_array__()


@pytest.mark.parametrize("name", ["__arrow_c_array__", "__dlpack__"])
def test_a_column_that_only_has_a_protocol_makes_its_list(name: str) -> None:
    only: Struct = Bare(name, getattr(COLUMN, name))
    assert Phyr.from_pages(only) == LIST
