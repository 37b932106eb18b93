"""Frozen lists answer as lists do, by the oracle; their bytes are a file that can be opened."""

import copy
import ctypes
import mmap
import pickle
import random
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import (
    ArrayError,
    ArrayTypeError,
    FormatError,
    FrozenPhyr,
    Phyr,
    PositionError,
    RangeError,
)
from phyr._phyr import held
from support.agree import agree, built
from support.archives import archives_of
from support.form import digest
from support.model import Model
from support.strategies import any_models, cuts, long_models, model_of, positions

# Three blocks of pages, none beside another.
PAGES = [1 + i * 7919 % 65536 for i in range(300)]
LIST = Phyr.from_pfns(PAGES, offset=0x123)
MODEL = Model.of_pages(PAGES).slice(0x123, 300 * 4096)


def same(frozen: FrozenPhyr, model: Model) -> None:
    """Assert that a frozen list is sound and is what the model says."""
    frozen.validate()
    assert frozen.length == model.length
    assert (frozen.granule, frozen.kind) == (model.granule, model.kind)
    chunks = model.chunks()
    assert list(frozen.chunks) == chunks
    assert len(frozen.chunks) == len(chunks)
    agree(frozen.thaw(), model)


def test_many_of_the_lists_are_archives() -> None:
    for strategy, least in ((any_models(), 0.25), (long_models(), 0.4)):
        assert archives_of(strategy, lambda model: [built(model).freeze()]) >= least


@given(any_models(), st.data())
def test_a_frozen_slice_is_the_slice_of_the_list(model: Model, data: st.DataObject) -> None:
    phyr = built(model)
    frozen = phyr.freeze()
    same(frozen, model)
    a, b = sorted(data.draw(st.tuples(cuts(model), cuts(model))))
    part, expected = frozen[a:b], model.slice(a, b)
    same(part, expected)
    assert part == phyr[a:b]
    assert phyr[a:b] == part
    assert hash(part) == hash(phyr[a:b])
    assert part == phyr[a:b].freeze()
    assert part.to_bytes() == phyr[a:b].freeze().to_bytes()
    before, after = frozen.split(a)
    same(before, model.slice(0, a))
    same(after, model.slice(a, model.length))


@given(any_models(), st.data())
def test_bytes_are_where_the_model_says(model: Model, data: st.DataObject) -> None:
    frozen = built(model).freeze()
    if not model.length:
        assert not frozen
        return
    assert frozen
    chunks = model.chunks()
    asked = data.draw(st.lists(positions(model), min_size=1, max_size=10))
    for position in asked:
        assert frozen[position] == model.translate(position)
        number = model.find(position)
        assert frozen.chunks.find(position) == number
        assert frozen.chunks[number] == chunks[number]
        assert frozen.chunks[number - len(chunks)] == chunks[number]
        assert frozen.chunks.position(number) == model.position(number)
    assert list(frozen.translate(asked)) == [model.translate(position) for position in asked]
    assert frozen[-1] == model.translate(model.length - 1)


@given(any_models(), st.data())
def test_chunks_are_a_sequence(model: Model, data: st.DataObject) -> None:
    phyr = built(model)
    chunks, expected = phyr.freeze().chunks, model.chunks()
    assert list(reversed(chunks)) == expected[::-1]
    assert list(chunks.paddrs) == [paddr for paddr, _ in expected]
    assert list(chunks.lengths) == [length for _, length in expected]
    assert chunks == phyr.chunks
    assert phyr.chunks == chunks
    assert hash(chunks) == hash(phyr.chunks)
    a, b = (data.draw(st.integers(0, len(expected))) for _ in range(2))
    assert list(chunks[a:b]) == expected[a:b]
    assert chunks[a:] == phyr.freeze().chunks[a:]
    for wanted in expected[:3]:
        assert wanted in chunks
        assert chunks.index(wanted) == expected.index(wanted)
        assert chunks.count(wanted) == expected.count(wanted)
    assert (1, 0) not in chunks


@given(any_models())
def test_what_is_written_comes_back(model: Model) -> None:
    frozen = built(model).freeze()
    written = frozen.to_bytes()
    for again in (
        FrozenPhyr.from_bytes(written),
        FrozenPhyr.open(written),
        FrozenPhyr.open(written, validate=False),
        pickle.loads(pickle.dumps(frozen)),  # noqa: S301 - our own
    ):
        same(again, model)
        assert again == frozen
        assert again.to_bytes() == written
    # The bytes of a `Phyr` can be opened as well, and freezing makes no list larger.
    plain = built(model).to_bytes()
    assert FrozenPhyr.open(plain) == frozen
    assert len(written) <= len(plain)


@given(long_models(), st.data())
def test_changed_bytes_are_refused_and_are_no_crash_unvalidated(
    model: Model, data: st.DataObject
) -> None:
    written = bytearray(built(model).freeze().to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(written) - 1) | st.integers(0, 120))
        written[place] ^= data.draw(st.integers(1, 255))
    for reader in (FrozenPhyr.from_bytes, FrozenPhyr.open):
        with suppress(FormatError):
            assert built(model) == reader(bytes(written))  # changed, and changed back
    try:
        frozen = FrozenPhyr.open(written, validate=False)
    except FormatError:
        return
    count = len(frozen.chunks)
    for paddr, length in list(frozen.chunks[: min(count, 500)]):
        assert length > 0
        assert paddr + length <= 1 << 64
    for position in range(0, frozen.length, frozen.length // 20 + 1):
        assert 0 <= frozen[position] < 1 << 64
        assert frozen.chunks.find(position) >= 0
    try:
        frozen.thaw().validate()
    except FormatError:
        with pytest.raises(FormatError):
            frozen.validate()


def words_of(written: bytes) -> list[int]:
    """Return the words of a frozen list's bytes."""
    return list(struct.unpack(f"<{len(written) // 8}Q", written))


def forged(words: list[int]) -> bytes:
    """Return bytes of these words, with the digest that they should have."""
    words = [*words[:7], digest(words[:7] + words[8:]), *words[8:]]
    return struct.pack(f"<{len(words)}Q", *words)


def test_the_form_is_as_documented() -> None:
    written = LIST.freeze().to_bytes()
    words = words_of(written)
    nr_blocks, nr_buckets = 3, 3  # 300 runs; buckets of 128 pages hold the first of each
    assert written[:4] == b"PHYF"
    assert words[0] >> 32 == 1 | 12 << 16  # version, granule, RAM
    assert words[1:7] == [0, 0x123, len(LIST), 300, len(words), 0]
    assert words[7] == digest(words[:7] + words[8:])
    directory = struct.unpack("<4I", written[64:80])
    assert directory == (0, 1, 2, 2)
    index = 8 + (nr_buckets + 1) // 2
    data = index + 3 * (nr_blocks + 1)
    for number in range(nr_blocks):
        first_page, packing, lowest = words[index + 3 * number :][:3]
        block = PAGES[128 * number :][:128]
        assert first_page == 128 * number
        assert lowest == min(block)
        bits, unit, page_unit, low = (packing >> shift & 63 for shift in (0, 6, 12, 18))
        assert (unit, page_unit, low) == (0, 0, 0)
        at = 64 * (data + (packing >> 24))
        everything = int.from_bytes(written, "little")
        found = [
            lowest + (everything >> at + bits * i & (1 << bits) - 1) for i in range(len(block))
        ]
        assert found == block
    assert words[index + 3 * nr_blocks :][:3] == [300, len(words) - data << 24, 0]
    assert forged(words) == written


def test_the_starts_of_long_runs_are_as_documented() -> None:
    source = random.Random(5)  # noqa: S311 - a test
    runs = [(source.randrange(1 << 30), source.randint(1, 40)) for _ in range(100)]
    written = built(model_of(runs)).freeze().to_bytes()
    words = words_of(written)
    index, data = 8 + 1, 8 + 1 + 6
    everything = int.from_bytes(written, "little")
    packing = words[index + 1]
    bits, low = packing & 63, packing >> 18 & 63
    total = sum(count for _, count in runs)
    assert low == (total // 100).bit_length() - 1
    nr_marks = (total - 1 >> low) + 100
    fields = 64 * (data + -(-nr_marks // 64))
    marks = [mark for mark in range(nr_marks) if everything >> 64 * data + mark & 1]
    starts = [
        (mark - i << low) | everything >> fields + low * i & (1 << low) - 1
        for i, mark in enumerate(marks)
    ]
    assert [b - a for a, b in pairwise([*starts, total])] == [count for _, count in runs]
    first = fields + 100 * low
    lowest = words[index + 2]
    found = [lowest + (everything >> first + bits * i & (1 << bits) - 1) for i in range(100)]
    assert found == [pfn for pfn, _ in runs]


@pytest.mark.parametrize(
    ("word", "value", "part"),
    [
        (0, lambda word: word & ~0xFF, "PHYR"),
        (0, lambda word: word ^ 2 << 32, "version 3"),
        (0, lambda word: word ^ 17 << 48 ^ 12 << 48, "granule"),
        (0, lambda word: word ^ 4 << 56, "kind"),
        (1, lambda _: 1, "provider"),
        (1, lambda _: 1 << 32, "provider"),
        (2, lambda _: 4096, "offset"),
        (3, lambda word: word + 4096, "length"),
        (3, lambda _: 0, "length"),
        (3, lambda _: (1 << 64) - 1, "length"),
        (4, lambda _: 0, "chunks"),
        (4, lambda _: 1 << 60, "chunks"),
        (4, lambda _: 1 << 15, "chunks"),
        (5, lambda word: word + 1, "bytes"),
        (6, lambda _: 1, "unused"),
        (7, lambda word: word ^ 1, "check word"),
    ],
)
def test_headers_that_lie_are_refused(word: int, value: Callable[[int], int], part: str) -> None:
    words = words_of(LIST.freeze().to_bytes())
    words[word] = value(words[word])
    written = struct.pack(f"<{len(words)}Q", *words) if word == 7 else forged(words)
    with pytest.raises(FormatError, match=part):
        FrozenPhyr.from_bytes(written)


def test_every_bit_of_a_forged_list_counts() -> None:
    written = LIST.freeze().to_bytes()
    words = words_of(written)
    for index in range(8, len(words)):
        for bit in range(0, 64, 7):
            words[index] ^= 1 << bit
            try:
                again = FrozenPhyr.from_bytes(forged(words))
            except FormatError as error:
                assert "check word" not in str(error)  # noqa: PT017 - either is right
            else:
                # Another list, in its one form.
                assert again != LIST
                assert again.thaw().freeze().to_bytes() == forged(words)
            words[index] ^= 1 << bit


def test_a_file_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(LIST.freeze().to_bytes())
    for given_path in (path, str(path)):
        frozen = FrozenPhyr.open(given_path)
        same(frozen, MODEL)
        assert frozen == LIST
        assert sys.getsizeof(frozen) < 400
    path.unlink()
    assert list(frozen.chunks) == MODEL.chunks()
    with pytest.raises(FileNotFoundError):
        FrozenPhyr.open(path)
    path.write_bytes(b"")
    with pytest.raises(FormatError):
        FrozenPhyr.open(path)
    path.write_bytes(Phyr.from_pfns([1, 2, 9]).freeze().to_bytes())
    assert FrozenPhyr.open(path).chunks[1] == (0x9000, 0x1000)
    with pytest.raises(TypeError):
        FrozenPhyr.open(7)  # type: ignore[arg-type]


def test_memory_is_used_where_it_is() -> None:
    written = LIST.freeze().to_bytes()
    memory = mmap.mmap(-1, 4096)
    memory[: len(written)] = written
    view = memoryview(memory)[: len(written)]
    frozen = FrozenPhyr.open(view, validate=False)
    assert frozen == LIST
    # Its words change under it: the first page of the second block.
    struct.pack_into("<Q", memory, 80 + 24, 0)
    with pytest.raises(FormatError):
        frozen.validate()
    with pytest.raises(FormatError):
        frozen.thaw()
    with pytest.raises(FormatError):
        frozen[1:].to_bytes()
    memory[: len(written)] = written
    frozen.validate()
    with pytest.raises(BufferError):
        memory.close()
    del frozen
    view.release()
    memory.close()


def test_memory_at_odd_places_is_copied() -> None:
    written = LIST.freeze().to_bytes()
    for shift in (1, 4, 8):
        shifted = memoryview(bytes(shift) + written)[shift:]
        frozen = FrozenPhyr.open(shifted, validate=False)
        assert frozen == LIST
    others: list[Any] = [
        bytearray(written),
        np.frombuffer(written, dtype=np.uint64),
        (ctypes.c_char * len(written)).from_buffer_copy(written),
    ]
    for other in others:
        assert FrozenPhyr.open(other) == LIST
        assert FrozenPhyr.from_bytes(other) == LIST
    for cut in (0, 3, 8, 60, 64, len(written) - 8, len(written) - 1):
        for reader in (FrozenPhyr.from_bytes, FrozenPhyr.open):
            with pytest.raises(FormatError):
                reader(written[:cut])
    gaps: Any = np.zeros((8, 8), dtype=np.uint64)[::2]
    with pytest.raises(ArrayError):
        FrozenPhyr.open(gaps)


def test_a_frozen_list_is_a_value() -> None:
    frozen = LIST.freeze()
    assert frozen != LIST[1:]
    assert frozen != LIST[1:].freeze()
    assert frozen != 3
    assert frozen.chunks != 3
    assert {LIST: 1}[frozen] == 1  # type: ignore[index]
    assert copy.copy(frozen) is frozen
    assert copy.deepcopy(frozen) is frozen
    assert repr(frozen) == "Frozen" + repr(LIST)
    assert repr(frozen.chunks) == repr(LIST.chunks) == repr(LIST).replace("Phyr", "Chunks")
    assert repr(LIST[5:5].freeze()) == "FrozenPhyr(0x0 bytes, granule 4096, 0 chunks:)"
    assert sys.getsizeof(frozen) < sys.getsizeof(LIST)
    assert sys.getsizeof(frozen.chunks) < sys.getsizeof(LIST.chunks)
    assert type(frozen.chunks) is type(LIST.chunks)
    with pytest.raises(TypeError, match="not iterable"):
        iter(frozen)
    with pytest.raises(TypeError, match="not iterable"):
        _ = 5 in frozen  # type: ignore[operator]


def test_bad_places_are_refused() -> None:
    frozen = LIST.freeze()
    with pytest.raises(PositionError):
        _ = frozen[len(LIST)]
    with pytest.raises(PositionError):
        _ = frozen.chunks[300]
    with pytest.raises(PositionError):
        frozen.chunks.find(len(LIST))
    with pytest.raises(PositionError):
        frozen.chunks.position(300)
    with pytest.raises(PositionError):
        frozen.translate([0, len(LIST)])
    with pytest.raises(ArrayTypeError):
        frozen.translate(["0"])  # type: ignore[list-item]
    with pytest.raises(RangeError):
        frozen.split(len(LIST) + 1)
    with pytest.raises(ValueError, match="1"):
        _ = frozen[::2]
    with pytest.raises(ValueError, match="no such"):
        frozen.chunks.index((1, 1))
    huge = Phyr.from_chunks([(1 << 62, 1 << 62), (0x2000, 1 << 62)]).freeze()
    assert huge.length == 1 << 63
    with pytest.raises(OverflowError, match="0x8000000000000000"):
        len(huge)


def test_pages_are_those_of_the_list() -> None:
    phyr = Phyr.from_pfns([8, 9, 10, 11, 0x100, 0x101])
    assert list(phyr.freeze().pages(0x2000)) == list(phyr.pages(0x2000))


def test_whoever_holds_the_memory_goes_on_holding_it() -> None:
    owner: Any = type("Owner", (), {"hold": lambda _: None, "release": lambda _: None})()
    frozen = held(LIST, owner, 0x7000_0000).freeze()
    assert frozen.owner is owner
    assert frozen[0x10:].uaddr == 0x7000_0010
    assert frozen[0x10:].thaw().uaddr == 0x7000_0010
    assert frozen.split(0x20)[1].owner is owner
    assert LIST.freeze().owner is None
