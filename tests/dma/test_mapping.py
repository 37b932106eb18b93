"""`dma_map`: the three results, what the device sees, and a mapping that behaves as a file does."""

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import (
    MismatchError,
    Phyr,
    PhyrError,
    RangeError,
    UnmappedError,
)
from phyr.iommu import (
    BusOffset,
    Direct,
    Direction,
    DmaBackend,
    ExposingBackend,
    Mapping,
    Paging,
    Plan,
    Prot,
    SyncBackend,
    dma_map,
    dma_unmap,
)
from phyr.testing import TableDomain
from support.agree import built, names
from support.machine import FlatMemory, NoTablePageError, PageTable, pattern, seen
from support.model import Model
from support.strategies import models

BOTH = Direction.BIDIRECTIONAL
MIB = 1 << 20


def scattered() -> Phyr:
    return Phyr.from_pages([0x9000, 0x3000, 0x5000, 0x6000, 0x1000])[0x123:0x4321]


# The three results


@given(models())
def test_direct_returns_the_very_same_object(model: Model) -> None:
    phyr = built(model)
    with dma_map(phyr, Direct(), BOTH) as mapping:
        assert mapping.dma is phyr
        assert mapping.phyr is phyr


def test_a_subclass_of_direct_is_asked() -> None:
    class Halved(Direct):
        def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
            return Phyr.from_chunks([(1 << 30, phyr.length)])

    with dma_map(Phyr.from_pfns([1]), Halved(), BOTH) as mapping:
        assert mapping.dma[0] == 1 << 30


@given(models(granule=4096), st.integers(-(1 << 52), 1 << 52))
def test_bus_offset_is_a_full_new_list_of_the_same_shape(model: Model, pages: int) -> None:
    phyr, offset = built(model), pages << 12
    bus = BusOffset(offset, providers={0: offset, 1: offset, 2**32 - 1: offset})
    moved = [(paddr + offset, length) for paddr, length in model.chunks()]
    if all(paddr >= 0 and paddr + length <= 2**64 for paddr, length in moved):
        with dma_map(phyr, bus, BOTH) as mapping:
            assert list(mapping.dma.chunks) == moved
            assert (mapping.dma.kind, mapping.dma.granule) == (phyr.kind, phyr.granule)
            mapping.dma.validate()
    else:
        with pytest.raises(RangeError):
            dma_map(phyr, bus, BOTH)


@pytest.mark.parametrize("offset", [0x8000_0000, -0x1000])
def test_bus_offset_has_as_many_entries_as_the_list(offset: int) -> None:
    phyr = Phyr.from_pfns(range(1, 4000, 2))
    with dma_map(phyr, BusOffset(offset), BOTH) as mapping:
        assert mapping.dma.stats().nr_entries == phyr.stats().nr_entries == 2000
        assert mapping.dma is not phyr


def test_bus_offset_0_returns_the_very_same_object() -> None:
    phyr = scattered()
    with dma_map(phyr, BusOffset(0), BOTH) as mapping:
        assert mapping.dma is phyr


def test_an_offset_that_overflows_names_the_chunk() -> None:
    phyr = Phyr.from_pages([0x3000, 0x1000])
    with pytest.raises(RangeError) as caught:
        dma_map(phyr, BusOffset(-0x2000), BOTH)
    names(caught.value, 0x1000)
    with pytest.raises(RangeError):
        dma_map(phyr, BusOffset(1 << 200), BOTH)
    with pytest.raises(RangeError):
        dma_map(phyr, BusOffset(0x800), BOTH)
    with pytest.raises(TypeError):
        dma_map(phyr, BusOffset(0.5), BOTH)  # type: ignore[arg-type]


def test_a_window_costs_the_same_at_2_to_the_10_and_at_2_to_the_24_pages() -> None:
    for lg2 in (10, 24):
        # Pages that touch nowhere, so that the list itself is as long as can be.
        numpy = pytest.importorskip("numpy")
        phyr = Phyr.from_pfns(numpy.arange(1, 2 << lg2, 2, numpy.uint64))
        assert len(phyr.chunks) == 1 << lg2

        domain = OneCall()
        paging = Paging(domain)
        with dma_map(phyr, paging, BOTH) as mapping:
            stats = mapping.dma.stats()
            # No heap: what there is lies in the object.
            assert (stats.nr_chunks, stats.nr_nodes, stats.storage) == (1, 0, 0)
            assert domain.length == phyr.length
            iova = mapping.dma[0]
        # And one call takes it away.
        assert domain.unmaps == [(iova, 1 << 12, 1 << lg2)]


class OneCall:
    """A domain that takes whole plans and remembers only how much."""

    pgsize_bitmap = 1 << 12
    aperture = (0, 2**48 - 1)
    reserved = ()
    length = 0

    def __init__(self) -> None:
        self.unmaps: list[tuple[int, int, int]] = []

    def map_batch(self, plan: Plan, prot: Prot) -> None:
        assert prot == Prot.READ | Prot.WRITE
        self.length += plan.phyr.length

    def map_pages(self, *call: int) -> None:
        raise AssertionError(call)

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        self.unmaps.append((iova, pgsize, pgcount))

    def iova_to_phys(self, _iova: int) -> int | None:
        return None


# What the device sees


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 4)), min_size=1, max_size=4),
    st.sampled_from([1, 512, 4096, 16384]),
    st.sets(st.sampled_from([9, 12, 13, 14, 16])),
    st.data(),
)
def test_the_device_sees_the_bytes_of_the_buffer(
    runs: list[tuple[int, int]], granule: int, sizes: set[int], data: st.DataObject
) -> None:
    unit = max(granule, 512)
    smallest = data.draw(st.sampled_from([lg2 for lg2 in (9, 12, 14) if 1 << lg2 <= unit]))
    table = PageTable(sum(1 << lg2 for lg2 in sizes | {smallest} if lg2 >= smallest))
    whole = Phyr.from_chunks([(at * unit, count * unit) for at, count in runs], granule=granule)
    start = data.draw(st.integers(0, whole.length))
    phyr = whole[start : data.draw(st.integers(start, whole.length))]

    memory = FlatMemory(50 * 16384)
    memory.data[:] = pattern(len(memory.data))
    with dma_map(phyr, Paging(table), Direction.TO_DEVICE) as mapping:
        assert len(mapping.dma.chunks) == bool(phyr)
        assert (mapping.dma.granule, mapping.dma.kind) == (granule, "ram")
        assert seen(table, mapping.dma, memory) == memory.read(phyr)
    assert table.pages == table.leaves == {}


@given(models(granule=4096, kind="mmio:1", max_runs=5))
def test_a_devices_own_memory_is_mapped_as_such(model: Model) -> None:
    phyr = built(model)[: 64 << 12]
    table = PageTable(1 << 12)
    with dma_map(phyr, Paging(table), Direction.FROM_DEVICE) as mapping:
        assert mapping.dma.kind == "mmio:1"
        assert {call[4] for call in table.calls} <= {Prot.WRITE | Prot.MMIO}
        for position in range(0, phyr.length, 4095):
            assert table.iova_to_phys(mapping.dma[position]) == phyr[position]


def test_a_switch_routes_each_provider_by_its_own_offset() -> None:
    bus = BusOffset(0x1000, providers={0: 1 << 40, 7: -0x2000})
    for kind, dma_addr in [("ram", 0x9000), ("mmio", (1 << 40) + 0x8000), ("mmio:7", 0x6000)]:
        with dma_map(Phyr.from_pages([0x8000], kind=kind), bus, BOTH) as mapping:
            assert (mapping.dma[0], mapping.dma.kind) == (dma_addr, kind)
    with pytest.raises(MismatchError) as caught:
        dma_map(Phyr.from_pages([0x8000], kind="mmio:3"), bus, BOTH)
    names(caught.value, 3)


# A mapping behaves as a file does


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
    # What was mapped, and how, is no secret.
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


class Pin:
    """Memory that is pinned, and how many mappings it has."""

    def __init__(self, *, gone: bool = False) -> None:
        self.gone = gone
        self.count = [0]

    def hold(self) -> None:
        if self.gone:
            raise PhyrError("unpinned")
        self.count[0] += 1

    def release(self) -> None:
        self.count[0] -= 1

    @property
    def mappings(self) -> int:
        return self.count[0]


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


# Bytes beyond the list that a device can reach


def test_exposed_counts_the_bytes_of_pages_beyond_the_list() -> None:
    phyr = Phyr.from_chunks([(0x7080, 0x100)])
    cases: list[tuple[DmaBackend, int | None]] = [
        (Paging(PageTable(1 << 12)), 0xF00),
        (Paging(PageTable(1 << 21)), (2 << 20) - 0x100),
        (Paging(PageTable(1 << 4)), 0),
        (BusOffset(1 << 40), None),
        (Direct(), None),
    ]
    for backend, exposed in cases:
        with dma_map(phyr, backend, BOTH) as mapping:
            assert mapping.exposed == exposed
        with pytest.raises(UnmappedError):
            mapping.exposed  # noqa: B018
        assert isinstance(backend, ExposingBackend) == (exposed is not None)
    with dma_map(phyr[:0], Paging(PageTable()), BOTH) as mapping:
        assert mapping.exposed == 0
    with dma_map(phyr, Direct(), BOTH, owner=Pin()) as mapping:
        assert mapping.exposed is None


def test_what_is_mapped_shows_itself_shortly() -> None:
    phyr = scattered()
    paging = Paging(TableDomain())
    with dma_map(phyr, paging, BOTH) as mapping:
        assert repr(paging).startswith("Paging(<phyr.testing.TableDomain object at 0x")
        assert repr(paging).endswith(", 1 mappings)")
        assert repr(paging.iovas) == "IovaAllocator(0x0 to 0xffffffffffff, 1 windows)"
        assert repr(mapping).startswith("Mapping(BIDIRECTIONAL, Phyr(0x41fe bytes")
    assert repr(Direct()) == "Direct()"
    assert repr(BusOffset(-0x1000, {3: 0x20})) == "BusOffset(-0x1000, mmio:3 +0x20)"


# Backends of all sorts


def test_a_backend_that_returns_another_length_is_caught_and_unmapped() -> None:
    class Short:
        unmapped = 0

        def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
            return phyr[1:]

        def unmap(self, _dma: Phyr, _direction: Direction) -> None:
            self.unmapped += 1

    backend = Short()
    with pytest.raises(MismatchError) as caught:
        dma_map(scattered(), backend, BOTH)
    names(caught.value, scattered().length, scattered().length - 1)
    assert backend.unmapped == 1


def test_a_backend_that_fails_to_unmap_is_reported_and_the_owner_kept() -> None:
    class Stuck(Direct):
        def unmap(self, _dma: Phyr, _direction: Direction) -> None:
            raise OSError("stuck")

    pin = Pin()
    mapping = dma_map(scattered(), Stuck(), BOTH, owner=pin)
    with pytest.raises(OSError, match="stuck"):
        mapping.unmap()
    assert mapping.unmapped
    # A device may still reach the memory, so it stays where it is, whoever forgets about it.
    assert pin.mappings == 1
    kept = weakref.ref(pin)
    del mapping, pin
    gc.collect()
    assert kept() is not None


@pytest.mark.parametrize("shown", [ValueError, KeyboardInterrupt])
def test_a_failure_that_cannot_be_shown_hides_no_other(shown: type[BaseException]) -> None:
    class Odd(Exception):  # noqa: N818
        def __repr__(self) -> str:
            raise shown

    class Owner(Pin):
        def release(self) -> None:
            raise Odd

    with pytest.raises(NoTablePageError if shown is ValueError else KeyboardInterrupt):
        dma_map(scattered(), Paging(PageTable(fail_at=0)), BOTH, owner=Owner())


class Rude(Exception):  # noqa: N818 - what a backend may raise
    pass


class Failing:
    """A backend and an owner that fail wherever they are told to."""

    def __init__(self, *failing: str, made: object = None) -> None:
        self.failing = failing
        self.made = made
        self.calls: list[str] = []
        self.unmaps: list[object] = []

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if what in self.failing:
            raise Rude(what)

    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        self._do("map")
        return phyr if self.made is None else self.made  # type: ignore[return-value]

    def unmap(self, dma: Phyr, _direction: Direction) -> None:
        self.unmaps.append(dma)
        self._do("unmap")

    def hold(self) -> None:
        self._do("hold")

    def release(self) -> None:
        self._do("release")


def test_the_first_failure_is_raised_and_those_after_it_are_notes() -> None:
    failing = Failing("map", "release")
    with pytest.raises(Rude, match="map") as caught:
        dma_map(scattered(), failing, BOTH, owner=failing)
    assert caught.value.__notes__ == ["letting the owner go: Rude('release')"]
    assert failing.calls == ["hold", "map", "release"]

    failing = Failing("unmap", "release")
    mapping = dma_map(scattered(), failing, BOTH, owner=failing)
    with pytest.raises(Rude, match="unmap"):
        mapping.unmap()
    assert failing.calls == ["hold", "map", "unmap"]
    mapping.unmap()

    failing = Failing("release")
    mapping = dma_map(scattered(), Direct(), BOTH, owner=failing)
    with pytest.raises(Rude, match="release"):
        mapping.unmap()


@pytest.mark.parametrize("made", [[1], "no list", scattered()[1:]])
def test_whatever_a_backend_returns_that_is_no_mapping_is_unmapped(made: object) -> None:
    failing = Failing(made=made)
    with pytest.raises((TypeError, MismatchError)):
        dma_map(scattered(), failing, BOTH, owner=failing)
    assert failing.unmaps == [made]
    assert failing.unmaps[0] is made
    assert failing.calls == ["hold", "map", "unmap", "release"]

    failing = Failing("unmap", "release", made=made)
    with pytest.raises((TypeError, MismatchError)) as caught:
        dma_map(scattered(), failing, BOTH, owner=failing)
    assert caught.value.__notes__ == ["unmapping it again: Rude('unmap')"]
    # It may be mapped all the same.
    assert failing.calls == ["hold", "map", "unmap"]


def test_an_interrupt_while_cleaning_up_comes_before_the_failure() -> None:
    class Interrupted(Failing):
        def release(self) -> None:
            raise KeyboardInterrupt

    failing = Interrupted("map")
    with pytest.raises(KeyboardInterrupt) as caught:
        dma_map(scattered(), failing, BOTH, owner=failing)
    assert caught.value.__notes__ == ["letting the owner go: Rude('map')"]


def test_a_backend_that_is_interrupted_is_asked_once_more() -> None:
    class Interrupted(Failing):
        def unmap(self, dma: Phyr, direction: Direction) -> None:
            if not self.unmaps:
                self.unmaps.append(dma)
                raise KeyboardInterrupt
            super().unmap(dma, direction)

    failing = Interrupted("unmap")
    mapping = dma_map(scattered(), failing, BOTH, owner=failing)
    with pytest.raises(KeyboardInterrupt) as caught:
        mapping.unmap()
    assert caught.value.__notes__ == ["unmapping once more after the interrupt: Rude('unmap')"]
    assert len(failing.unmaps) == 2
    assert failing.calls == ["hold", "map", "unmap"]
    assert mapping.unmapped


@pytest.mark.parametrize("direction", ["to_device", 1, None])
def test_a_direction_is_one_of_three(direction: object) -> None:
    with pytest.raises(TypeError, match="Direction"):
        dma_map(scattered(), Direct(), direction)  # type: ignore[arg-type]


def test_a_backend_must_return_a_list() -> None:
    class Odd(Direct):
        def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
            return [phyr]  # type: ignore[return-value]

    with pytest.raises(TypeError):
        dma_map(scattered(), Odd(), BOTH)


def test_backends_without_a_copy_have_nothing_to_sync() -> None:
    with dma_map(scattered(), Direct(), BOTH) as mapping:
        mapping.sync_for_cpu()
        mapping.sync_for_device()


def test_protocols_know_their_backends() -> None:
    paging = Paging(PageTable())
    for backend in (Direct(), BusOffset(5), paging):
        assert isinstance(backend, DmaBackend)
    assert isinstance(paging, SyncBackend)
    assert not isinstance(Direct(), SyncBackend)
    assert not isinstance(PageTable(), DmaBackend)


@pytest.mark.parametrize("kind", ["ram", "mmio:3"])
@pytest.mark.parametrize("direction", list(Direction))
def test_protection_follows_direction_and_kind(direction: Direction, kind: str) -> None:
    table = PageTable()
    with dma_map(Phyr.from_pfns([1], kind=kind), Paging(table), direction):
        prot = table.calls[0][4]
    assert (Prot.READ in prot) == (direction is not Direction.FROM_DEVICE)
    assert (Prot.WRITE in prot) == (direction is not Direction.TO_DEVICE)
    assert (Prot.MMIO in prot) == (kind != "ram")


def test_a_mapping_dropped_by_an_error_does_not_hide_it() -> None:
    def never(*_: object) -> None:
        raise AssertionError

    for backend in (Direct(), BusOffset(1 << 40)):
        with (
            pytest.warns(ResourceWarning, match="never unmapped"),
            pytest.raises(ZeroDivisionError),
        ):
            never(dma_map(scattered(), backend, BOTH), 1 // 0)
