"""Long ranges with few pages: holes are leapt over, and progress is told."""

import mmap
from collections.abc import Iterator

import pytest

from phyr import pagemap
from phyr._phyr import Loan
from support.live import PAGE, PFN, record_of, shown
from support.pages import private
from support.processes import Scans

SPARSE = 8 << 30


@pytest.fixture
def sparse() -> Iterator[tuple[mmap.mmap, int]]:
    """Map gigabytes with few pages in them: at both ends of a piece of page map, and later."""
    area = private(SPARSE)
    with Loan(area) as (base, _):
        for offset in (0, (700 << 20), (5 << 30)):
            area[offset] = 1
        yield area, base


SPARSE_STATES = [
    ("ram", PAGE),
    ("hole", (700 << 20) - PAGE),
    ("ram", PAGE),
    ("hole", (5 << 30) - (700 << 20) - PAGE),
    ("ram", PAGE),
    ("hole", (3 << 30) - PAGE),
]


@shown
@pytest.mark.parametrize("known", [True, False])
def test_holes_are_leapt_over_where_the_kernel_can_tell(
    sparse: tuple[mmap.mmap, int], monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    scans = Scans(monkeypatch, known=known)
    with pagemap.Pagemap() as opened:
        extents = opened.read(sparse[1], SPARSE)
        assert [(each.state, each.length) for each in extents] == SPARSE_STATES
        for extent in extents[::2]:
            assert extent.phyr is not None
            assert extent.phyr[0] == (record_of("self", extent.uaddr // PAGE) & PFN) * PAGE
        assert scans.calls == 1
        resident = opened.resident(sparse[1], SPARSE)
        ram = [each.phyr for each in extents[::2] if each.phyr is not None]
        assert resident.phyr == ram[0] + ram[1] + ram[2]
        assert resident.hole == SPARSE - 3 * PAGE
        assert scans.calls == (2 if known else 1)


@shown
def test_progress_climbs_to_the_length(sparse: tuple[mmap.mmap, int]) -> None:
    seen: list[tuple[int, int]] = []
    start = sparse[1] + 1
    pagemap.resident(
        "self", start, SPARSE - 2, progress=lambda done, length: seen.append((done, length))
    )
    assert {length for _, length in seen} == {SPARSE - 2}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == SPARSE - 2
