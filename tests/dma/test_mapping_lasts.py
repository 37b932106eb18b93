"""A mapping behaves as a file does, and holds its owner while it lives."""

import gc

import pytest

from phyr import Phyr, PhyrError, UnmappedError
from phyr.iommu import BusOffset, Direct, Direction, Mapping, Paging, dma_map, dma_unmap
from support.agree import names
from support.machine import NoTablePageError, PageTable
from support.mappings import BOTH, Pin, scattered


def test_unmapping_twice_does_nothing_the_second_time() -> None:
    table = PageTable()
    mapping = dma_map(scattered(), Paging(table), BOTH)
    mapping.unmap()
    calls = len(table.unmaps)
    mapping.unmap()
    dma_unmap(mapping)
    assert len(table.unmaps) == calls


def test_a_mapping_cannot_be_used_after_it_is_unmapped() -> None:
    phyr = scattered()
    mapping = dma_map(phyr, Direct(), BOTH)
    before = mapping.unmapped
    dma_unmap(mapping)
    assert (before, mapping.unmapped) == (False, True)
    uses = [
        lambda: mapping.dma,
        mapping.__enter__,
        mapping.sync_for_cpu,
        mapping.sync_for_device,
    ]
    for use in uses:
        with pytest.raises(UnmappedError) as caught:
            use()
        names(caught.value, phyr.length)
        assert isinstance(caught.value, ValueError)
    # The attributes stay after the end.
    assert (mapping.phyr, mapping.direction, mapping.owner) == (phyr, BOTH, None)


def test_dropping_a_mapping_warns_and_unmaps() -> None:
    table = PageTable()
    mapping = dma_map(scattered(), Paging(table), Direction.TO_DEVICE)
    assert table.pages
    with pytest.warns(ResourceWarning, match="never unmapped: Mapping\\(TO_DEVICE"):
        del mapping
    assert table.pages == {}


def test_a_mapping_in_a_cycle_is_unmapped_with_the_cycle() -> None:
    class Holder:
        mapping: Mapping

        def hold(self) -> None:
            pass

        def release(self) -> None:
            pass

    table, holder = PageTable(), Holder()
    holder.mapping = dma_map(scattered(), Paging(table), BOTH, owner=holder)
    del holder
    with pytest.warns(ResourceWarning):
        gc.collect()
    assert table.pages == {}


class Ring:
    """A backend that may refer to a mapping through it, as may its domain."""

    def __init__(self) -> None:
        self.paging = Paging(PageTable())
        self.mapping: Mapping | None = None

    def map(self, phyr: Phyr, direction: Direction) -> Phyr:
        return self.paging.map(phyr, direction)

    def unmap(self, dma: Phyr, direction: Direction) -> None:
        self.paging.unmap(dma, direction)


@pytest.mark.parametrize("knot", ["backend", "domain", "owner", "both"])
def test_a_mapping_in_a_cycle_with_its_backend_is_unmapped_with_it(knot: str) -> None:
    ring, pin = Ring(), Pin()
    table = ring.paging.domain
    assert isinstance(table, PageTable)
    pages = table.pages
    mapping = dma_map(scattered(), ring, BOTH, owner=pin)
    for name, holder in {"backend": ring, "domain": table, "owner": pin}.items():
        if knot in (name, "both"):
            vars(holder)["boot"] = mapping
    mappings = pin.count
    del ring, table, pin, holder, mapping
    assert pages
    with pytest.warns(ResourceWarning, match="never unmapped: Mapping"):
        gc.collect()
    assert pages == {}
    assert mappings == [0]


def test_a_mapping_that_owes_nothing_warns_in_a_cycle_too() -> None:
    holder: list[object] = []
    holder += [holder, dma_map(scattered(), Direct(), BOTH)]
    del holder
    with pytest.warns(ResourceWarning, match="never unmapped: Mapping"):
        gc.collect()


def test_a_mapping_brought_back_from_a_cycle_is_unmapped() -> None:
    kept: list[Mapping] = []

    class Clinging(Ring):
        def __del__(self) -> None:
            assert self.mapping
            kept.append(self.mapping)

    ring = Clinging()
    ring.mapping = dma_map(scattered(), ring, BOTH)
    del ring
    with pytest.warns(ResourceWarning):
        gc.collect()
    [mapping] = kept
    assert mapping.unmapped
    mapping.unmap()


def test_a_mapping_is_unmapped_when_its_block_raises() -> None:
    table = PageTable()
    with pytest.raises(KeyError), dma_map(scattered(), Paging(table), BOTH):
        raise KeyError
    assert table.pages == {}


def test_a_mapping_shows_what_it_is() -> None:
    phyr = Phyr.from_pages([0x7000])
    with dma_map(phyr, BusOffset(0x1000), Direction.TO_DEVICE) as mapping:
        assert repr(mapping) == (
            "Mapping(TO_DEVICE, Phyr(0x1000 bytes, granule 4096, 1 chunk: 0x7000+0x1000) -> "
            "Phyr(0x1000 bytes, granule 4096, 1 chunk: 0x8000+0x1000))"
        )
    assert repr(mapping).endswith("0x7000+0x1000), unmapped)")


def test_the_owner_is_held_for_as_long_as_the_mapping_lives() -> None:
    pin = Pin()
    for backend in (Direct(), Paging(PageTable())):
        with dma_map(scattered(), backend, BOTH, owner=pin) as mapping:
            assert mapping.owner is pin
            assert pin.mappings == 1
        assert pin.mappings == 0
        mapping.unmap()
        assert pin.mappings == 0


def test_the_owner_is_let_go_if_nothing_was_mapped() -> None:
    pin = Pin()
    with pytest.raises(NoTablePageError):
        dma_map(scattered(), Paging(PageTable(fail_at=0)), BOTH, owner=pin)
    assert pin.mappings == 0


def test_an_owner_that_is_gone_refuses_before_anything_is_mapped() -> None:
    table = PageTable()
    with pytest.raises(PhyrError, match="unpinned"):
        dma_map(scattered(), Paging(table), BOTH, owner=Pin(gone=True))
    assert table.calls == []
