"""No small argument makes work without end: counts are arithmetic, simulations have limits."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, GapError, Phyr, RangeError, desc
from phyr.errors import NoMemoryError
from phyr.iommu import DeviceLimits
from phyr.sim import Memory, SimDomain, scatter

K4 = 4096
BIG = Phyr.from_chunks([(0x1000, 1 << 62)])

masks = st.integers(0, 14).map(lambda order: (1 << order) - 1)
limits = st.fixed_dictionaries(
    {},
    optional={
        "max_segment_size": st.integers(1, 3 * K4) | st.integers(1, 40),
        "seg_boundary_mask": masks,
        "virt_boundary_mask": st.sampled_from([0, 1, 3, 0xFF, 0xFFF]),
    },
)
chunks = st.lists(
    st.tuples(st.integers(0, 3 * K4), st.integers(1, 3 * K4), st.integers(0, 2)),
    min_size=1,
    max_size=4,
)
Make: TypeAlias = Callable[[Phyr, DeviceLimits], Any]
BLOCKS = Phyr.from_chunks([(1 << 45, 1 << 30)])
FORMATS: list[Make] = [
    lambda phyr, limits: desc.phys_vecs(phyr, limits=limits),
    lambda phyr, limits: desc.iovecs(phyr, 0, limits=limits),
    lambda phyr, limits: desc.bio_vecs(phyr, vmemmap=1 << 40, limits=limits),
    lambda phyr, limits: desc.scatterlist(phyr, vmemmap=1 << 40, address=1 << 44, limits=limits),
    lambda phyr, limits: desc.sgl(phyr, BLOCKS, segment_size=4096, limits=limits).segments,
]


def small(pieces: list[tuple[int, int, int]]) -> Phyr:
    """Make a list of bytes, of which no two pieces touch."""
    ranges, at = [], 0
    for gap, length, _ in pieces:
        at += gap
        ranges.append((at, length))
        at += length + 1
    return Phyr.from_chunks(ranges, granule=1)


@given(chunks, limits, st.sampled_from(FORMATS))
def test_a_count_is_the_number_of_records_written(
    pieces: list[tuple[int, int, int]],
    limits: dict[str, int],
    make: Make,
) -> None:
    phyr = small(pieces)
    try:
        table = make(phyr, DeviceLimits(**limits))
    except (RangeError, AlignmentError):
        return
    # `fill` writes each record; it asks for no count.
    ring = bytearray(table.itemsize * 7)
    records = 0
    while written := table.fill(ring):
        records += written // table.itemsize
    assert (len(table), table.nbytes) == (records, records * table.itemsize)


@given(
    st.integers(0, 3 * K4),
    st.integers(1, 64 * K4),
    st.integers(0, 14),
    limits,
    st.sampled_from(FORMATS[:4]),
)
def test_a_count_of_many_blocks_goes_on_as_that_of_a_few(
    start: int,
    length: int,
    order: int,
    limits: dict[str, int],
    make: Make,
) -> None:
    limits = {**limits, "seg_boundary_mask": (1 << order) - 1}
    period = max(1 << order, K4)

    def count(periods: int) -> int:
        phyr = Phyr.from_chunks([(start, length + periods * period)], granule=1)
        return int(make(phyr, DeviceLimits(**limits)).nents)

    try:
        few, more = count(4), count(5)
    except (RangeError, AlignmentError):
        return
    each = more - few
    for periods in (6, 1000, 1 << 20, 1 << 30):
        assert count(periods) == few + (periods - 4) * each


def test_counting_a_huge_chunk_ends_at_once() -> None:
    before = time.monotonic()
    table = desc.phys_vecs(BIG, limits=DeviceLimits(max_segment_size=300, seg_boundary_mask=0xFFF))
    # 13 segments of 300 bytes a page, and what is left.
    segments = 14 << 50
    assert (len(table), table.nents, table.nbytes) == (segments, segments, segments * 16)
    assert repr(table).startswith(f"Descriptors({segments} records")
    with pytest.raises(RangeError):
        desc.sgl(
            BIG,
            Phyr.from_pfns([1]),
            limits=DeviceLimits(max_segment_size=8192, seg_boundary_mask=0x3FFF),
        )
    with pytest.raises(RangeError):
        desc.scatterlist(
            BIG,
            vmemmap=0,
            address=0xFFFF_FFFF_FFFF_0000,
            limits=DeviceLimits(max_segment_size=12288, seg_boundary_mask=0x3FFF),
        )
    assert time.monotonic() - before < 5


@pytest.mark.skipif(sys.platform != "linux", reason="sends itself a signal by a timer")
@pytest.mark.parametrize("make", ["bytes(table)", "table.tobytes()", "table.fill(memory)"])
def test_writing_descriptors_can_be_interrupted(make: str) -> None:
    limits = "max_segment_size=4096" if make == "table.tobytes()" else "max_segment_size=4095"
    program = f"""
import signal, mmap, time
from phyr import Phyr, desc
from phyr.iommu import DeviceLimits
table = desc.phys_vecs(Phyr.from_chunks([(0x1000, 1 << 38)]), limits=DeviceLimits({limits}))
memory = mmap.mmap(-1, 1 << 30)
signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    {make}
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_a_map_that_needs_more_tables_than_memory_may_have_is_refused_at_once() -> None:
    memory = Memory(1 << 52)
    domain = SimDomain(memory)
    resident = memory.resident
    with pytest.raises(NoMemoryError, match="limit of 0x100000000") as info:
        domain.map_pages(1 << 40, 1 << 40, K4, 1 << 34, 3)
    # A table for each 2 MiB, less the root that is there.
    assert info.value.length == ((1 << 25) - 1) * K4
    assert (info.value.resident, info.value.limit) == (resident, 4 << 30)
    assert (memory.resident, domain.counters.table_pages) == (resident, 1)
    assert domain.iova_to_phys(1 << 40) is None


def test_memory_keeps_no_more_pages_than_its_limit() -> None:
    memory = Memory(1 << 40, most_resident=8 * K4)
    domain = SimDomain(memory)
    domain.map_pages(0, 0, K4, 1, 3)
    assert memory.resident == 4 * K4
    free = memory.free_bytes
    domain.map_pages(0x7FFF_FFE0_0000, 0, K4, 512, 3)
    # As far as is known before, the tables fit the limit of eight; the last one does not.
    with pytest.raises(NoMemoryError, match="limit of 0x8000"):
        domain.map_pages(0x7000_0000_0000, 0, K4, 1024, 3)
    domain.unmap_pages(0x7FFF_FFE0_0000, K4, 512)
    assert (memory.resident, memory.free_bytes) == (4 * K4, free)
    buffer = memory.alloc(5 * K4)
    memory.write_u64(buffer[K4], 7)
    with pytest.raises(NoMemoryError) as info:
        memory.write(buffer, b"x" * len(buffer))
    assert (info.value.length, info.value.limit) == (K4, 8 * K4)
    assert memory.read(buffer) == bytes(K4) + b"\x07" + bytes(4 * K4 - 1)
    assert memory.resident == 5 * K4
    for page in (0, 2, 3):
        memory.write_u64(buffer[page * K4], 1)
    with pytest.raises(NoMemoryError):
        memory.write_u64(buffer[4 * K4], 1)
    memory.write(buffer[: 4 * K4], b"y" * 4 * K4)


def test_a_scattered_list_of_too_many_blocks_is_refused_at_once() -> None:
    for make in (scatter, Memory(1 << 52).scatter):
        with pytest.raises(RangeError) as info:
            make(1 << 50, orders=[0])
        assert (info.value.blocks, info.value.most) == (1 << 38, 1 << 24)
    assert len(scatter(1 << 50, orders=[27]).chunks) == 1 << 11


@pytest.mark.parametrize("vmemmap", [1, 2, 3, (1 << 64) - 2])
def test_pointers_leave_the_marks_of_a_scatterlist_free(vmemmap: int) -> None:
    phyr = Phyr.from_pfns([0])
    with pytest.raises(AlignmentError, match="vmemmap") as info:
        desc.scatterlist(phyr, vmemmap=vmemmap)
    assert (info.value.value, info.value.align, info.value.argument) == (vmemmap, 4, "vmemmap")
    assert desc.scatterlist(phyr, vmemmap=4).tobytes()[:8] == (4 | 2).to_bytes(8, "little")
    # Vectors have no marks.
    assert desc.bio_vecs(phyr, vmemmap=1).tobytes()[:8] == (1).to_bytes(8, "little")


def test_prp_says_which_argument_is_not_aligned() -> None:
    phyr, lists = Phyr.from_pfns([1, 3, 5]), Phyr.from_pfns([100])
    holed = Phyr.from_chunks([(0x1000, 0x800), (0x4800, 0x1800)], granule=0x800)
    with pytest.raises(GapError, match="inside `phyr`") as gap:
        desc.prp(holed, lists)
    assert (gap.value.argument, gap.value.position) == ("phyr", 0x800)
    with pytest.raises(GapError, match="inside `lists`") as gap:
        desc.prp(phyr, holed)
    assert (gap.value.argument, gap.value.position) == ("lists", 0x800)
    for arguments, argument in (
        ((Phyr.from_chunks([(0x1002, 0x800)]), lists), "phyr"),
        ((phyr, Phyr.from_chunks([(0x800, 0x1000)])), "lists"),
    ):
        with pytest.raises(AlignmentError) as bad:
            desc.prp(*arguments)
        assert (bad.value.argument, type(bad.value)) == (argument, AlignmentError)
    with pytest.raises(GapError, match="inside `lists`"):
        desc.sgl(phyr, holed, segment_size=4096)
