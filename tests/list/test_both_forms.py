"""Every function that reads a list reads its frozen form as well, and answers the same."""

import random
from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import Builder, FrozenPhyr, Phyr, PhyrError, desc
from phyr._phyr import Unmapping, alignment, first_beyond, shift
from phyr.iommu import (
    BusOffset,
    DeviceLimits,
    Direct,
    Direction,
    DmaBackend,
    IovaMap,
    Paging,
    dma_map,
    plan_map,
)
from phyr.sim import Device, Memory, SimDomain, scatter
from support.archives import archives_of

List = Phyr | FrozenPhyr
SIZES = 1 << 12 | 1 << 21
VMEMMAP = 0xEA00_0000_0000_0000
BLOCKS = Phyr.from_pfns(range(1 << 20, (1 << 20) + 64, 2))
TABLES = Phyr.from_pfns(range(1 << 21, (1 << 21) + 4096))
LIMITS = DeviceLimits(max_segment_size=0x3000, dma_mask=2**40 - 1)


def calls(phyr: List) -> object:
    """Return all that a plan says."""
    plan = plan_map(phyr, (1 << 40) + phyr[0] % (1 << 21), SIZES)
    assert plan.phyr == phyr
    assert type(plan.phyr) is type(phyr)
    undone: list[tuple[int, int, int]] = []
    Unmapping(plan).run(lambda *call: undone.append(call))
    columns = [list(column) for column in (plan.iovas, plan.paddrs, plan.pgsizes, plan.pgcounts)]
    assert undone == list(plan.unmaps())
    return list(plan), undone, columns, len(plan), repr(plan)


def with_lists(write: Callable[[List, List], "desc.Prp | desc.Sgl"]) -> Callable[[List], object]:
    """Describe a list by blocks in either form."""

    def act(phyr: List) -> object:
        first, second, table = 0, 0, b""
        for blocks in (BLOCKS, BLOCKS.freeze()):
            made = write(phyr, blocks)
            first, second, table = hash(made[0]), hash(made[0]), bytes(made[-1])
        return first, second, table

    return act


FUNCTIONS: dict[str, Callable[[List], object]] = {
    "length": lambda phyr: (len(phyr), phyr.length, phyr.granule, phyr.kind, bool(phyr)),
    "chunks": lambda phyr: list(phyr.chunks),
    "orders": lambda phyr: phyr.orders(),
    "stats": lambda phyr: phyr.stats()[:3],
    "pages": lambda phyr: list(islice(phyr.pages(512), 1000)),
    "translate": lambda phyr: list(phyr.translate(range(0, phyr.length, 1 + phyr.length // 50))),
    "split": lambda phyr: phyr.split(phyr.length // 3),
    "repr": lambda phyr: repr(phyr).removeprefix("Frozen"),
    "scatterlist": lambda phyr: bytes(desc.scatterlist(phyr, vmemmap=VMEMMAP, bus_offset=0x1000)),
    "scatterlist_limits": lambda phyr: bytes(
        desc.scatterlist(phyr, vmemmap=VMEMMAP, bus_offset=3, limits=LIMITS)
    ),
    "bio_vecs": lambda phyr: bytes(desc.bio_vecs(phyr, vmemmap=VMEMMAP, limits=LIMITS)),
    "iovecs": lambda phyr: bytes(desc.iovecs(phyr, 0x7000, limits=LIMITS)),
    "dma_buf_vecs": lambda phyr: bytes(desc.dma_buf_vecs(phyr)),
    "kho_radix": lambda phyr: desc.kho_radix(phyr, TABLES),
    "kho_vmalloc": lambda phyr: desc.kho_vmalloc(phyr, TABLES).head,
    "memfd_folios": lambda phyr: bytes(desc.memfd_folios(phyr)),
    "phys_vecs": lambda phyr: bytes(desc.phys_vecs(phyr)),
    "phys_vecs_limits": lambda phyr: bytes(desc.phys_vecs(phyr, limits=LIMITS)),
    "segments": lambda phyr: list(LIMITS.segments(phyr)),
    "gaps": lambda phyr: DeviceLimits(virt_boundary_mask=0x1FFF).check(phyr),
    "prp": with_lists(desc.prp),
    "sgl": with_lists(desc.sgl),
    "best_pgsize": lambda phyr: desc.best_pgsize(phyr, (1 << 64) - 1, 0x1000),
    "page_list": lambda phyr: bytes(desc.page_list(phyr, 4096, byteorder="big")),
    "map_requests": lambda phyr: bytes(desc.map_requests(phyr, 0, page_size=1)),
    "vfio_maps": lambda phyr: bytes(desc.vfio_maps(phyr, 0, page_size=1)),
    "ioas_maps": lambda phyr: bytes(desc.ioas_maps(phyr, 0, ioas_id=3, page_size=1)),
    "desc.split": lambda phyr: desc.split(phyr, [1, phyr.length - 3], start=1),
    "plan": calls,
    "strict plan": lambda phyr: list(plan_map(phyr, phyr[0], SIZES, strict=True)),
    "alignment": lambda phyr: alignment(phyr, SIZES),
    "first_beyond": lambda phyr: first_beyond(phyr, 1 << 30),
    "shift": lambda phyr: (shift(phyr, 0) is phyr, shift(phyr, 1 << 30)),
    "join": lambda phyr: Phyr.join([phyr[: phyr.length // 2], phyr[phyr.length // 2 :]]),
}


def outcome(act: Callable[[List], object], phyr: List) -> object:
    """Return what a function returns, or how it fails."""
    try:
        return act(phyr)
    except PhyrError as failure:
        return type(failure), str(failure), vars(failure)


@st.composite
def lists(draw: st.DrawFn) -> tuple[Phyr, FrozenPhyr]:
    """Draw lists of about 4 KiB pages in any granule and kind, and their frozen forms.

    Short ones and long ones; some are cut inside a page, some parts of a frozen list.
    """
    lg2 = draw(st.just(12) | st.integers(0, 16))
    kind = draw(st.just("ram") | st.sampled_from(["mmio:7", "user"]))
    pages = scatter(draw(st.integers(1, 3000)) << 12, seed=draw(st.integers(0, 1 << 20)))
    scale = max(lg2 - 12, 0)
    # Whole pages; or ends inside a page, and of a granule below the page, odd boundaries.
    odd, cut, rest = 0, 0, 0
    if draw(st.sampled_from([True, False])):
        odd = draw(st.integers(0, 7)) << lg2 if lg2 < 9 else 0
        cut, rest = 4 * draw(st.integers(0, 1023)), draw(st.integers(0, 100))
    whole = Phyr.from_chunks(
        [((paddr << scale) + odd, (length << scale) - odd) for paddr, length in pages.chunks],
        granule=1 << lg2,
        kind=kind,
    )
    end = max(cut, whole.length - rest)
    phyr = whole[cut:end]
    return phyr, draw(st.sampled_from([phyr.freeze(), whole.freeze()[cut:end]]))


def test_many_of_the_lists_are_archives() -> None:
    assert archives_of(lists(), lambda forms: [forms[1]]) >= 0.25
    others = lists().filter(lambda forms: forms[0].granule != 4096)
    assert archives_of(others, lambda forms: [forms[1]]) >= 0.25


@pytest.mark.parametrize("name", FUNCTIONS)
@given(forms=lists())
def test_a_frozen_list_is_read_as_the_list_itself(
    name: str, forms: tuple[Phyr, FrozenPhyr]
) -> None:
    phyr, frozen = forms
    found, expected = outcome(FUNCTIONS[name], frozen), outcome(FUNCTIONS[name], phyr)
    assert found == expected


def test_parts_have_the_form_of_the_whole() -> None:
    frozen = scatter(1 << 20).freeze()
    parts = desc.split(frozen, [0x1000, 0x2000])
    assert [type(part) for part in parts] == [FrozenPhyr, FrozenPhyr]
    assert [part.length for part in parts] == [0x1000, 0x2000]


def test_a_builder_takes_either_form() -> None:
    phyr = scatter(1 << 20)
    builder = Builder()
    builder.extend(phyr.freeze())
    builder.extend(phyr)
    assert builder.finish() == Phyr.join([phyr, phyr.freeze()])


def test_what_is_no_list_is_a_type_error() -> None:
    for what in (None, 7, b"list", [(0, 4096)]):
        with pytest.raises(TypeError, match="is not a list of memory"):
            desc.phys_vecs(what)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["direct", "bus offset", "paging"])
def test_a_frozen_list_is_mapped_as_the_list_itself(kind: str) -> None:
    memory = Memory(64 << 20)
    domain = SimDomain(memory)
    backends: dict[str, DmaBackend] = {
        "direct": Direct(),
        "bus offset": BusOffset(1 << 40),
        "paging": Paging(domain),
    }
    device = Device(
        memory,
        domain=domain if kind == "paging" else None,
        offset=1 << 40 if kind == "bus offset" else 0,
    )
    phyr = memory.scatter(2 << 20, seed=5)
    frozen = phyr.freeze()
    data = random.Random(1).randbytes(phyr.length)  # noqa: S311 - a test
    memory.write(frozen, data)
    assert memory.read(frozen) == memory.read(phyr) == data
    calls = []
    for form in (phyr, frozen):
        before = domain.counters.map_calls
        with dma_map(form, backends[kind], Direction.BIDIRECTIONAL) as mapping:
            assert mapping.phyr is form
            assert mapping.dma.length == form.length
            assert (mapping.dma is form) == (kind == "direct")
            assert device.read(mapping.dma) == data
            device.write(mapping.dma, data)
            mapping.sync_for_cpu()
            assert repr(form) in repr(mapping)
        assert mapping.unmapped
        calls.append(domain.counters.map_calls - before)
    assert calls[0] == calls[1]
    target = bytearray(frozen.length)
    memory.readinto(frozen, target)
    assert bytes(target) == data
    memory.free(frozen)
    memory.reserve(frozen)


def test_a_backend_may_answer_in_either_form() -> None:
    class Keeping:
        def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
            return phyr.freeze()  # type: ignore[return-value]

        def unmap(self, dma: Phyr, direction: Direction) -> None:
            """Nothing was done."""

    phyr = scatter(1 << 20)
    with dma_map(phyr, Keeping(), Direction.TO_DEVICE) as mapping:
        assert mapping.dma == phyr
        assert type(mapping.dma).__name__ == "FrozenPhyr"


def test_owner_and_address_stay_with_the_parts_of_a_map() -> None:
    areas: IovaMap[List] = IovaMap()
    frozen = scatter(1 << 20).freeze()
    areas.map(0x10_0000, frozen, "tag")
    assert areas.ranges()[0][1] is frozen
    areas.unmap(0x10_2000, 0x1000)
    (_, first, _), (_, second, _) = areas.ranges()
    assert (first, second) == (frozen[:0x2000], frozen[0x3000:])
    assert {type(first), type(second)} == {FrozenPhyr}
    assert areas.translate(0x10_4321) == frozen[0x4321]
