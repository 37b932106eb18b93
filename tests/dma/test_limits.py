"""`DeviceLimits`: segments against cutting byte by byte, and errors that name the chunk."""

import dataclasses
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import LimitError, Phyr, RangeError, desc
from phyr.iommu import DeviceLimits
from support.agree import names


def cut(phyr: Phyr, limits: DeviceLimits) -> list[tuple[int, int]]:
    """Cut byte by byte: try every end of a segment, and keep the last one that the rules allow."""
    segments = []
    for paddr, length in phyr.chunks:
        start, last = paddr, paddr + length - 1
        while start <= last:
            end = start
            for at in range(start, min(last, start + limits.max_segment_size - 1) + 1):
                if at > start and at % (limits.seg_boundary_mask + 1) == 0:
                    break  # this byte belongs to the next segment
                if at == last or (at + 1) % (limits.virt_boundary_mask + 1) == 0:
                    end = at + 1
            segments.append((start, end - start))
            start = end
    return segments


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), max_size=5),
    st.integers(1, 40),
    st.integers(0, 7),
    st.integers(0, 4),
    st.integers(0, 16),
    st.integers(0, 15),
)
def test_segments_are_as_long_as_the_limits_allow(  # noqa: PLR0913, PLR0917 - as many rules
    runs: list[tuple[int, int]], most: int, boundary_lg2: int, virt_lg2: int, head: int, tail: int
) -> None:
    whole = Phyr.from_chunks([(at * 16, n * 16) for at, n in runs], granule=1)
    phyr = whole[head : max(head, len(whole) - tail)]
    virt, boundary = (1 << virt_lg2) - 1, (1 << boundary_lg2) - 1
    if virt >= min(most, boundary + 1):
        with pytest.raises(RangeError):
            DeviceLimits(max_segment_size=most, seg_boundary_mask=boundary, virt_boundary_mask=virt)
        return
    limits = DeviceLimits(
        max_segment_size=most, seg_boundary_mask=boundary, virt_boundary_mask=virt
    )
    expected = cut(phyr, limits)
    assert list(limits.segments(phyr)) == expected
    limits.check(phyr)
    vecs = desc.phys_vecs(
        phyr,
        limits=DeviceLimits(
            max_segment_size=most, seg_boundary_mask=boundary, virt_boundary_mask=virt
        ),
    )
    assert list(struct.iter_unpack("<QQ", vecs)) == expected
    assert len(vecs) == len(expected)


def test_a_chunk_that_fits_is_not_cut_at_a_virt_boundary() -> None:
    phyr = Phyr.from_chunks([(0x1800, 0x1800)], granule=0x800)
    limits = DeviceLimits(max_segment_size=0x1800, virt_boundary_mask=0xFFF)
    assert list(limits.segments(phyr)) == [(0x1800, 0x1800)]
    longer = Phyr.from_chunks([(0x1000, 0x2800)], granule=0x800)
    assert list(limits.segments(longer)) == [(0x1000, 0x1000), (0x2000, 0x1800)]


def test_more_segments_than_are_made_at_a_time() -> None:
    phyr = Phyr.from_chunks([(0x1000, 0x30_0000)])
    limits = DeviceLimits(max_segment_size=0x1000)
    assert list(limits.segments(phyr)) == [(at, 0x1000) for at in range(0x1000, 0x30_1000, 0x1000)]


def test_a_list_that_ends_at_the_top_is_cut_to_the_last_byte() -> None:
    phyr = Phyr.from_chunks([(2**64 - 0x6000, 0x6000)])
    limits = DeviceLimits(
        max_segment_size=0x2800, seg_boundary_mask=0x3FFF, virt_boundary_mask=0xFFF
    )
    assert list(limits.segments(phyr)) == [
        (2**64 - 0x6000, 0x2000),
        (2**64 - 0x4000, 0x2000),
        (2**64 - 0x2000, 0x2000),
    ]


def test_no_limits_change_nothing() -> None:
    phyr = Phyr.from_chunks([(0x7123, 0xEDD), (2**64 - 0x1000, 0x1000)])
    assert list(DeviceLimits().segments(phyr)) == list(phyr.chunks)


@pytest.mark.parametrize(
    ("limits", "number", "dma_addr", "limit"),
    [
        (DeviceLimits(dma_mask=0xFFFF_FFFF), 1, 0xFFFF_F000, 0xFFFF_FFFF),
        (DeviceLimits(virt_boundary_mask=0xFFFF), 0, 0x3000, 0xFFFF),
    ],
)
def test_what_cannot_be_met_names_the_chunk_and_the_limit(
    limits: DeviceLimits, number: int, dma_addr: int, limit: int
) -> None:
    phyr = Phyr.from_chunks([(0x3800, 0x800), (0xFFFF_F000, 0x2000), (0x5000, 0x1000)])
    if number == 0:
        phyr = Phyr.from_chunks([(0x3000, 0x1000), (0xFFFF_F000, 0x2000)])
    with pytest.raises(LimitError, match=f"^chunk {number}, ") as caught:
        limits.check(phyr)
    names(caught.value, dma_addr, limit)
    assert caught.value.number == number


def refused(phyr: Phyr, limits: DeviceLimits) -> tuple[int, str] | None:
    """Return the first chunk that no cutting helps and what is wrong, asking each in turn."""
    virt, count = limits.virt_boundary_mask + 1, len(phyr.chunks)
    for number, (paddr, length) in enumerate(phyr.chunks):
        if paddr + length - 1 > limits.dma_mask:
            return number, "ends above"
        if number > 0 and paddr % virt:
            return number, "starts inside"
        if number < count - 1 and (paddr + length) % virt:
            return number, "ends inside"
    return None


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=9),
    st.integers(0, 1),
    st.integers(0, 4),
    st.just(2**64 - 1) | st.integers(0, 100 * 4096),
    st.integers(0, 8192),
    st.integers(0, 8192),
)
def test_the_first_chunk_that_no_cutting_helps_is_named(  # noqa: PLR0913, PLR0917 - as many rules
    runs: list[tuple[int, int]], order: int, virt_lg2: int, mask: int, head: int, tail: int
) -> None:
    # Some lists in several nodes, of which a part is looked at.
    whole = Phyr.from_chunks([(at << 12 + order, n << 12 + order) for at, n in runs])
    if whole.length:
        whole = sum([whole] * 60, whole)
    phyr = whole[head : max(head, whole.length - tail)]
    virt = (4096 << virt_lg2) - 1 if virt_lg2 else 0
    limits = DeviceLimits(dma_mask=mask, virt_boundary_mask=virt)
    expected = refused(phyr, limits)
    if expected is None:
        limits.check(phyr)
        return
    number, why = expected
    with pytest.raises(LimitError, match=f"^chunk {number}, .* {why}") as caught:
        limits.check(phyr)
    assert caught.value.number == number
    names(caught.value, *phyr.chunks[number])


def test_a_chunk_that_starts_off_the_virt_boundary_is_named() -> None:
    phyr = Phyr.from_chunks([(0x1_F000, 0x1000), (0x5_1000, 0x1000)])
    with pytest.raises(LimitError, match=r"^chunk 1, .* starts inside"):
        DeviceLimits(virt_boundary_mask=0xFFFF).check(phyr)


@pytest.mark.parametrize(
    ("limits", "numbers"),
    [
        ({"virt_boundary_mask": 0xFFF, "max_segment_size": 0x800}, ("0x800", "0x1000")),
        ({"virt_boundary_mask": 0xFFF, "seg_boundary_mask": 0x1FF}, ("0xfff", "0x1ff")),
        ({"virt_boundary_mask": 2**64 - 1, "max_segment_size": 1}, ("0x1",)),
    ],
)
def test_limits_that_contradict_each_other_are_refused(
    limits: dict[str, int], numbers: tuple[str, ...]
) -> None:
    with pytest.raises(RangeError) as caught:
        DeviceLimits(**limits)
    for number in numbers:
        assert number in str(caught.value)


@pytest.mark.parametrize(
    "limits",
    [
        {"seg_boundary_mask": 0x1000},
        {"seg_boundary_mask": -1},
        {"virt_boundary_mask": 2**65 - 1},
        {"max_segment_size": 0},
        {"dma_mask": -1},
    ],
)
def test_what_is_no_limit_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(RangeError):
        DeviceLimits(**limits)


@pytest.mark.parametrize("value", ["a", 1.5, None])
@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(DeviceLimits)])
def test_a_limit_is_a_whole_number(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} is {value!r}, not an int"):
        DeviceLimits(**{name: value})  # type: ignore[arg-type]
