"""The serialised form comes back as it was written, and nothing else is taken."""

import ctypes
import mmap
import random
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import FormatError, Phyr
from support.agree import agree, built
from support.model import Model
from support.strategies import NODE_EDGES, cuts, model_of, models, patterned

# One-word and two-word entries, a late start and an early end.
SMALL = Model(((0x5800, 0x800), (0x1000, 4095 << 12), (0x4000_0000, 0x20_0123)), kind="mmio:7")


@given(models(), st.data())
def test_what_is_written_comes_back(model: Model, data: st.DataObject) -> None:
    a, b = sorted(data.draw(st.tuples(cuts(model), cuts(model))))
    view = built(model)[a:b]
    written = view.to_bytes()
    again = Phyr.from_bytes(written)
    agree(again, model.slice(a, b))
    assert again == view
    assert again.to_bytes() == written


@given(models(max_runs=4), models(max_runs=4))
def test_bytes_are_equal_where_lists_are(left: Model, right: Model) -> None:
    one, other = built(left), built(right)
    assert (one.to_bytes() == other.to_bytes()) is (one == other)


@pytest.mark.parametrize("long_every", [0, 1, 3])
@pytest.mark.parametrize("nr_entries", NODE_EDGES)
def test_lists_of_every_size_come_back(nr_entries: int, long_every: int) -> None:
    model = model_of(patterned(nr_entries, long_every))
    written = built(model).to_bytes()
    agree(Phyr.from_bytes(written), model)
    assert 8 * model.words() <= len(written) <= 8 * model.words() + 128


def test_every_bytes_like_object_is_read() -> None:
    written = built(SMALL).to_bytes()
    assert type(written) is bytes
    readable: list[Any] = [
        bytearray(written),
        memoryview(written),
        memoryview(b"x" + written)[1:],
        array("B", written),
        np.frombuffer(written, dtype=np.uint8),
        (ctypes.c_char * len(written)).from_buffer_copy(written),
    ]
    for given_bytes in readable:
        agree(Phyr.from_bytes(given_bytes), SMALL)


def test_a_list_is_read_from_shared_memory() -> None:
    written = built(SMALL).to_bytes()
    with mmap.mmap(-1, len(written)) as shared:
        shared[:] = written
        phyr = Phyr.from_bytes(shared)
        shared[:] = bytes(len(written))
        agree(phyr, SMALL)


@pytest.mark.parametrize("given_object", ["text", 5, None, [1, 2]])
def test_what_is_no_bytes_is_a_type_error(given_object: object) -> None:
    with pytest.raises(TypeError):
        Phyr.from_bytes(given_object)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [Model(), SMALL, model_of(patterned(600, 3))])
def test_every_truncation_is_refused(model: Model) -> None:
    written = built(model).to_bytes()
    ends = range(len(written))
    if len(written) > 1000:
        ends = range(0, len(written), 7)
    for end in ends:
        with pytest.raises(FormatError):
            Phyr.from_bytes(written[:end])


@pytest.mark.parametrize("more", [b"\0", b"\xff", bytes(8), bytes(4096)])
def test_bytes_past_the_end_are_refused(more: bytes) -> None:
    for model in (Model(), SMALL):
        with pytest.raises(FormatError):
            Phyr.from_bytes(built(model).to_bytes() + more)


@pytest.mark.parametrize("model", [Model(), Model(((0, 1),)), SMALL])
def test_every_single_bit_counts(model: Model) -> None:
    written = built(model).to_bytes()
    for bit in range(8 * len(written)):
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            Phyr.from_bytes(flipped)


def test_every_pair_of_flipped_bits_in_a_tiny_list_is_refused() -> None:
    written = Phyr.from_pfns([5]).to_bytes()
    rng = random.Random(2)  # noqa: S311
    for _ in range(5000):
        flipped = bytearray(written)
        for bit in rng.sample(range(8 * len(written)), 2):
            flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            Phyr.from_bytes(flipped)


@given(st.integers(0, 200), st.sampled_from([1, 2, 4, 8]), st.sampled_from([0xFF, 0x7F, 0]))
def test_huge_claims_in_any_field_are_refused(at: int, width: int, filler: int) -> None:
    written = bytearray(built(SMALL).to_bytes())
    at = at // width * width % len(written)
    claim = bytes([0xFF] * (width - 1) + [filler])
    if written[at : at + width] != claim[: len(written) - at]:
        written[at : at + width] = claim[: len(written) - at]
        with pytest.raises(FormatError):
            Phyr.from_bytes(written)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        Phyr.from_bytes(data)


@given(st.integers(0, 100), st.binary(min_size=1, max_size=40))
def test_random_bytes_inside_a_list_are_refused(at: int, data: bytes) -> None:
    written = built(SMALL).to_bytes()
    changed = written[:at] + data + written[at + len(data) :]
    if changed != written:
        with pytest.raises(FormatError):
            Phyr.from_bytes(changed)


@given(st.data())
def test_words_swapped_or_repeated_are_refused(data: st.DataObject) -> None:
    written = built(model_of(patterned(30, 4))).to_bytes()
    words = [written[at : at + 8] for at in range(0, len(written), 8)]
    a, b = data.draw(st.tuples(*[st.integers(0, len(words) - 1)] * 2))
    swapped = words.copy()
    swapped[a], swapped[b] = words[b], words[a]
    for changed in (swapped, [*words[:a], words[b], *words[a:]], words[:a] + words[a + 1 :]):
        if changed != words:
            with pytest.raises(FormatError):
                Phyr.from_bytes(b"".join(changed))


def test_the_same_list_gives_the_same_bytes_each_time() -> None:
    phyr = built(model_of(patterned(1000, 3)))
    assert phyr.to_bytes() == phyr.to_bytes() == phyr[:].to_bytes()
