"""`align` is the size in every alignment error, and `argument` the one at fault."""

from collections.abc import Callable

import pytest

from phyr import AlignmentError, Builder, Phyr, desc
from phyr.errors import GapError
from phyr.iommu import DeviceLimits, Direction, Paging, Prot, plan_map
from phyr.sim import Memory, SimDomain
from phyr.testing import TableDomain

TOP = (1 << 64) - 1
PAGE = 4096
HOLE = Phyr.from_chunks([(0x1000, 0x200), (0x5000, 0x200)], granule=512)
ODD = Phyr.from_chunks([(0x1002, 8)])
LONG = Phyr.from_pfns([1, 3, 5])


def appended() -> None:
    builder = Builder()
    builder.append(0x1000, 0x200)
    builder.append(0x5000, 0x200)


def joined() -> Phyr:
    return Phyr.from_chunks([(0x1000, 0x200)]) + Phyr.from_chunks([(0x5000, 0x200)])


def mapped_strictly() -> Phyr:
    return Paging(TableDomain(), strict=True).map(HOLE[:1], Direction.TO_DEVICE)


def sim_domain() -> SimDomain:
    return SimDomain(Memory(1 << 20))


@pytest.mark.parametrize(
    ("fails", "align"),
    [
        (lambda: Phyr.from_chunks([(0x1000, 0x200), (0x5000, 0x200)]), PAGE),
        (lambda: Phyr.from_pages([0x1001], granule=PAGE), PAGE),
        (appended, PAGE),
        (joined, PAGE),
        (lambda: HOLE.pages(PAGE), PAGE),
        (lambda: plan_map(LONG, 0x1001, 1 << 16 | PAGE), PAGE),
        (mapped_strictly, PAGE),
        (lambda: sim_domain().map_pages(0x1001, 0x1000, PAGE, 1, Prot.READ), PAGE),
        (lambda: sim_domain().map_pages(0, 0x1000, 2 << 20, 1, Prot.READ), 2 << 20),
        (lambda: sim_domain().unmap_pages(0x1001, PAGE, 1), PAGE),
        (lambda: desc.prp(ODD), 4),
        (lambda: desc.prp(HOLE), PAGE),
        (lambda: desc.page_list(LONG, 1 << 16), 1 << 16),
        (
            lambda: desc.phys_vecs(HOLE, limits=DeviceLimits(virt_boundary_mask=0xFFFF)),
            1 << 16,
        ),
        (lambda: desc.phys_vecs(HOLE, limits=DeviceLimits(virt_boundary_mask=TOP)), 1 << 64),
        (lambda: desc.scatterlist(LONG, vmemmap=2), 4),
    ],
)
def test_an_alignment_error_has_the_size_as_align(fails: Callable[[], object], align: int) -> None:
    with pytest.raises(AlignmentError) as caught:
        fails()
    assert caught.value.align == align
    others = {"granule", "page_size", "pgsize", "mask"}
    assert not others & vars(caught.value).keys()
    assert f"{align:#x}" in str(caught.value) or f" {align}" in str(caught.value)


@pytest.mark.parametrize(
    ("fails", "kind", "argument"),
    [
        (lambda: desc.prp(ODD), AlignmentError, "phyr"),
        (lambda: desc.prp(HOLE), GapError, "phyr"),
        (lambda: desc.prp(LONG, Phyr.from_chunks([(0x9200, PAGE)])), AlignmentError, "lists"),
        (
            lambda: desc.prp(
                Phyr.from_pfns(range(1, 2000, 2)),
                Phyr.from_chunks([(0x9000, 0x200), (0xB000, 0x4000)], granule=512),
            ),
            GapError,
            "lists",
        ),
    ],
    ids=["first address", "hole", "lists", "hole in lists"],
)
def test_a_hole_is_told_from_a_bad_first_address_and_the_argument_named(
    fails: Callable[[], object], kind: type[AlignmentError], argument: str
) -> None:
    with pytest.raises(AlignmentError) as caught:
        fails()
    assert (type(caught.value), caught.value.argument) == (kind, argument)
