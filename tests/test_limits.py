"""`DeviceLimits`: segments against cutting byte by byte, and errors that name the chunk."""

import pytest
from agree import names
from hypothesis import given
from hypothesis import strategies as st
from phyr import LimitError, Phyr, RangeError
from phyr.iommu import DeviceLimits


def cut(phyr: Phyr, limits: DeviceLimits) -> list[tuple[int, int]]:
    """Cut byte by byte: a segment ends where the next byte may not be in it."""
    segments = []
    for paddr, length in phyr.chunks:
        start = paddr
        for at in range(paddr + 1, paddr + length):
            full = at - start == limits.max_segment_size
            if full or at % (limits.seg_boundary_mask + 1) == 0:
                segments.append((start, at - start))
                start = at
        segments.append((start, paddr + length - start))
    return segments


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=5),
    st.integers(1, 40),
    st.integers(0, 7),
    st.integers(0, 5),
)
def test_segments_are_as_long_as_the_limits_allow(
    runs: list[tuple[int, int]], most: int, boundary_lg2: int, granule_lg2: int
) -> None:
    granule = 1 << granule_lg2
    phyr = Phyr.from_chunks([(at * granule, n * granule) for at, n in runs], granule=granule)
    limits = DeviceLimits(max_segment_size=most, seg_boundary_mask=(1 << boundary_lg2) - 1)
    assert list(limits.segments(phyr)) == cut(phyr, limits)
    limits.check(phyr)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(0, 4),
    st.integers(0, 15),
)
def test_with_a_virt_boundary_only_the_ends_lie_off_it(
    runs: list[tuple[int, int]], most: int, virt_lg2: int, head: int
) -> None:
    whole = Phyr.from_chunks([(at * 16, n * 16) for at, n in runs], granule=4)
    phyr = whole[head:]
    virt = (1 << virt_lg2) - 1
    limits = DeviceLimits(max_segment_size=most, virt_boundary_mask=virt)
    try:
        segments = list(limits.segments(phyr))
    except LimitError as error:
        # No cut between two boundaries is short enough.
        assert most <= virt or error.limit == most < 2 * virt  # noqa: PT017
        return
    assert [byte for a, n in segments for byte in range(a, a + n)] == [
        byte for a, n in phyr.chunks for byte in range(a, a + n)
    ]
    assert all(length <= most for _, length in segments)
    assert all(address & virt == 0 for address, _ in segments[1:])
    assert all((address + length) & virt == 0 for address, length in segments[:-1])


def test_no_limits_change_nothing() -> None:
    phyr = Phyr.from_chunks([(0x7123, 0xEDD), (2**64 - 0x1000, 0x1000)])
    assert list(DeviceLimits().segments(phyr)) == list(phyr.chunks)


@pytest.mark.parametrize(
    ("limits", "number", "dma_addr", "limit"),
    [
        (DeviceLimits(dma_mask=0xFFFF_FFFF), 1, 0xFFFF_F000, 0xFFFF_FFFF),
        (DeviceLimits(virt_boundary_mask=0xFFFF), 0, 0x3000, 0xFFFF),
        (DeviceLimits(virt_boundary_mask=0xFFF, max_segment_size=0x800), 1, 0xFFFF_F000, 0x800),
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


def test_a_chunk_that_starts_off_the_virt_boundary_is_named() -> None:
    phyr = Phyr.from_chunks([(0x1_F000, 0x1000), (0x5_1000, 0x1000)])
    with pytest.raises(LimitError, match=r"^chunk 1, .* starts inside"):
        DeviceLimits(virt_boundary_mask=0xFFFF).check(phyr)


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
