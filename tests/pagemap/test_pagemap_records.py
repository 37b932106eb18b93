"""Records of page maps, decoded as each of them says."""

import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phyr
from phyr import pagemap
from phyr._phyr import PagemapDecoder
from phyr.pagemap import reader
from support.live import PAGE, PFN, PRESENT, linux
from support.processes import START, synthetic


@linux
def test_swap_and_device_pages_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = 1 << 62 | 0x1234
    ranges = [(0x10_0000, 0x1F_FFFF)]
    monkeypatch.setattr(reader, "ram_ranges", lambda: ranges)
    pfn = 0x10_0000 // PAGE
    synthetic(
        monkeypatch,
        [PRESENT | pfn, swapped, swapped, PRESENT | 1 << 30, PRESENT | (1 << 30) + 1, 0],
    )
    start = START
    extents = pagemap.read("self", start, 6 * PAGE)
    assert extents == [
        (start, PAGE, "ram", phyr.Phyr.from_pfns([pfn], granule=PAGE)),
        (start + PAGE, 2 * PAGE, "swap", None),
        (
            start + 3 * PAGE,
            2 * PAGE,
            "device",
            phyr.Phyr.from_pfns([1 << 30, (1 << 30) + 1], granule=PAGE, kind="mmio"),
        ),
        (start + 5 * PAGE, PAGE, "hole", None),
    ]
    resident = pagemap.resident("self", start, 6 * PAGE)
    assert resident == (extents[0].phyr, PAGE, 2 * PAGE, 0, 2 * PAGE, PAGE)


SWAPPED = 1 << 62
GUARD = 1 << 58
RAM_PAGES = [(10, 3000), (5000, 9000)]
ZERO_PAGES = [(77, 77), (2048, 2559)]


def state_of(record: int) -> str:
    """Tell what one record says."""
    if not record & PRESENT:
        return "swap" if record & SWAPPED and not record & GUARD else "hole"
    pfn = record & PFN
    if any(first <= pfn <= last for first, last in ZERO_PAGES):
        return "zero"
    return "ram" if any(first <= pfn <= last for first, last in RAM_PAGES) else "device"


def stretch(kind: str, pfn: int, count: int, flags: int) -> list[int]:
    """Make records such as the kernel gives for neighbouring pages, other bits set at will."""
    if kind == "present":
        return [PRESENT | flags | number for number in range(pfn, pfn + count)]
    if kind == "same":
        return [PRESENT | flags | pfn] * count
    if kind == "swapped":
        return [SWAPPED | flags | number for number in range(pfn, pfn + count)]
    if kind == "guard":
        return [SWAPPED | GUARD | flags | 0x9F] * count
    if kind == "scattered":
        return [PRESENT | flags | 1 + pfn * number % 9999 for number in range(1, count + 1)]
    return [flags & ~PRESENT] * count


@given(
    stretches=st.lists(
        st.builds(
            stretch,
            st.sampled_from(["present", "same", "swapped", "guard", "scattered", "hole"]),
            st.sampled_from([1, 9, 70, 77, 2047, 2600, 2990, 4999, 8990, (1 << 52) - 1200])
            | st.integers(1, 9999),
            st.integers(1, 20) | st.sampled_from([511, 512, 513, 1100]),
            st.sampled_from([0, 1 << 55, 1 << 56, 1 << 57, 1 << 61]),
        ),
        max_size=6,
    ),
    cut=st.integers(1, 1000),
    join=st.booleans(),
)
def test_the_decoder_says_of_each_page_what_its_record_says(
    stretches: list[list[int]], cut: int, *, join: bool
) -> None:
    records = [record for stretch in stretches for record in stretch]
    granule = 4096
    decoder = PagemapDecoder(
        granule,
        granule,
        ram=[(first * granule, last * granule + granule - 1) for first, last in RAM_PAGES],
        zero=[(first * granule, last * granule + granule - 1) for first, last in ZERO_PAGES],
        join=join,
    )
    for start in range(0, len(records), cut):
        decoder.feed(array.array("Q", records[start : start + cut]))

    # Page by page, in the shape of extents: first page, and the numbers of all.
    expected: list[tuple[str, int, list[int]]] = []
    for page, record in enumerate(records, start=1):
        state = state_of(record)
        same = [each for each in (expected if join else expected[-1:]) if each[0] == state]
        if not same:
            same = [(state, page * granule, [])]
            expected += same
        same[0][2].append(record & PFN)

    found = decoder.finish()
    for _, _, _, list_ in found:
        if list_ is not None:
            list_.validate()
    assert sorted(found, key=lambda each: each[0]) == [
        (
            uaddr,
            len(pfns) * granule,
            state,
            None
            if state not in {"ram", "device"}
            else phyr.Phyr.from_pfns(pfns, kind="ram" if state == "ram" else "mmio"),
        )
        for state, uaddr, pfns in expected
    ]
