"""`Bounce`: only what is out of reach is copied, and the copies follow the direction."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyr import MismatchError, Phyr, RangeError
from phyr.iommu import Bounce, Direction, Staging, dma_map
from support.agree import names
from support.machine import FlatMemory, pattern

SIZE = 1 << 19
REACH = SIZE // 2
BOTH = Direction.BIDIRECTIONAL


def machine() -> FlatMemory:
    memory = FlatMemory(SIZE, pool=REACH // 2)
    memory.data[:] = pattern(SIZE)
    return memory


def bounce(memory: FlatMemory, mask: int = REACH - 1, offset: int = 0) -> Bounce:
    return Bounce(Staging(memory, memory), dma_mask=mask, offset=offset)


NEAR, FAR = REACH - 0x1000, REACH + 0x5000


def test_a_list_within_reach_is_its_own_mapping() -> None:
    memory = machine()
    phyr = Phyr.from_pages([NEAR, 0x1000])
    with dma_map(phyr, bounce(memory), BOTH) as mapping:
        assert mapping.dma is phyr
        mapping.sync_for_cpu()
        mapping.sync_for_device()
    assert memory.handed_out == 0
    with dma_map(phyr[7:7], bounce(memory, -1), BOTH) as mapping:
        assert mapping.dma == phyr[7:7]


def test_reach_is_that_of_the_last_byte() -> None:
    memory = machine()
    edge = Phyr.from_chunks([(REACH - 0x10, 0x10)])
    for mask, bounced in [(REACH - 1, 0), (REACH - 2, 1)]:
        with dma_map(edge, bounce(memory, mask), BOTH) as mapping:
            assert (mapping.dma is not edge) == bounced == memory.handed_out
            assert mapping.dma[-1] <= mask


def test_only_what_is_out_of_reach_is_bounced() -> None:
    memory = machine()
    phyr = Phyr.from_pages([NEAR, FAR, 0x1_1000, REACH - 0x2000])
    with dma_map(phyr, bounce(memory), BOTH) as mapping:
        addresses = [mapping.dma[page * 4096] for page in range(4)]
        assert addresses[0] == NEAR
        assert addresses[1] < REACH // 2
        assert addresses[2:] == [0x1_1000, REACH - 0x2000]
        assert memory.handed_out == 1


def test_of_a_chunk_across_the_border_only_the_far_part_is_bounced() -> None:
    memory = machine()
    phyr = Phyr.from_chunks([(NEAR - 0x800, 0x4000)])
    with dma_map(phyr, bounce(memory), BOTH) as mapping:
        assert mapping.dma.chunks[0] == (NEAR - 0x800, 0x1800)
        assert all(paddr + length <= REACH for paddr, length in mapping.dma.chunks)
        assert memory.read(mapping.dma) == memory.read(phyr)


def test_an_offset_is_added_to_near_and_far() -> None:
    memory = machine()
    phyr = Phyr.from_pages([NEAR, FAR])
    with dma_map(phyr, bounce(memory, (1 << 30) + REACH - 1, 1 << 30), BOTH) as mapping:
        assert mapping.dma[0] == NEAR + (1 << 30)
        assert mapping.dma[-1] < (1 << 30) + REACH
    with dma_map(phyr[:4096], bounce(memory, 1 << 31, 1 << 30), BOTH) as mapping:
        assert mapping.dma[0] == NEAR + (1 << 30)


def test_a_device_that_reaches_nothing_gets_nothing() -> None:
    memory = machine()
    with pytest.raises(MemoryError):
        dma_map(Phyr.from_pages([NEAR]), bounce(memory, 0xFFF, 1 << 30), BOTH)
    assert memory.handed_out == 0


def test_a_devices_own_memory_is_never_bounced() -> None:
    memory = machine()
    mmio = Phyr.from_pages([NEAR, FAR], kind="mmio:4")
    device = bounce(memory)
    with pytest.raises(MismatchError, match="no route to provider 4"):
        dma_map(mmio, device, BOTH)
    routed = Bounce(device.staging, dma_mask=device.dma_mask, offset=0x7000, providers={4: -0x1000})
    with pytest.raises(MismatchError, match="mmio:4") as caught:
        dma_map(mmio, routed, BOTH)
    names(caught.value, 1, FAR, 0x1000)
    with dma_map(mmio[:4096], routed, BOTH) as mapping:
        # The provider's offset, not that of RAM.
        assert mapping.dma[0] == NEAR - 0x1000


def test_a_pool_that_runs_dry_leaves_nothing() -> None:
    memory = machine()
    memory.free_pages = memory.free_pages[:3]
    phyr = Phyr.from_pages([FAR, NEAR, FAR + 0x2000, 0x1_1000, FAR + 0x4000, FAR + 0x8000])
    with pytest.raises(MemoryError):
        dma_map(phyr, bounce(memory), BOTH)
    assert memory.handed_out == 0
    assert len(memory.free_pages) == 3


def test_a_memory_that_fails_leaves_nothing() -> None:
    class Broken(FlatMemory):
        def write(self, _phyr: Phyr, _data: bytes) -> None:
            raise OSError("bad page")

    memory = Broken(SIZE, pool=REACH // 2)
    with pytest.raises(OSError, match="bad page"):
        dma_map(Phyr.from_pages([FAR]), bounce(memory), BOTH)
    assert memory.handed_out == 0


def test_pages_go_back_even_if_the_copy_back_fails() -> None:
    class Forgets(FlatMemory):
        forgets = False

        def read(self, phyr: Phyr) -> bytes:
            return b"" if self.forgets else super().read(phyr)

    memory = Forgets(SIZE, pool=REACH // 2)
    mapping = dma_map(Phyr.from_pages([FAR]), bounce(memory), BOTH)
    memory.forgets = True
    with pytest.raises(AssertionError):
        mapping.unmap()
    assert memory.handed_out == 0


def test_what_the_device_writes_is_not_overwritten_where_it_only_writes() -> None:
    memory = machine()
    with dma_map(Phyr.from_pages([FAR]), bounce(memory), Direction.FROM_DEVICE) as mapping:
        memory.write(mapping.dma[:5], b"fresh")
        mapping.sync_for_device()
        assert memory.read(mapping.dma[:5]) == b"fresh"


def test_what_the_cpu_writes_later_reaches_the_device_by_a_sync() -> None:
    memory = machine()
    phyr = Phyr.from_pages([FAR])
    with dma_map(phyr, bounce(memory), Direction.TO_DEVICE) as mapping:
        memory.write(phyr[:5], b"later")
        assert memory.read(mapping.dma[:5]) != b"later"
        mapping.sync_for_device()
        assert memory.read(mapping.dma[:5]) == b"later"


def test_a_bus_address_below_0_is_an_error() -> None:
    with pytest.raises(RangeError):
        dma_map(Phyr.from_pages([0x1000]), bounce(machine(), offset=-0x2000), BOTH)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(16, 60), st.integers(1, 5)), min_size=1, max_size=5),
    st.sampled_from([512, 4096]),
    st.sampled_from(list(Direction)),
    st.data(),
)
def test_the_device_and_the_cpu_see_what_the_direction_says(
    runs: list[tuple[int, int]], granule: int, direction: Direction, data: st.DataObject
) -> None:
    memory = machine()
    # Runs lie apart, so that no byte is in the list twice.
    places = data.draw(st.permutations(range(len(runs))))
    pieces = [
        (REACH - 0x9000 + place * 0x6000 + at % 8 * 512 // granule * granule, count * 4096)
        for place, (at, count) in zip(places, runs, strict=True)
    ]
    whole = Phyr.from_chunks(pieces, granule=granule)
    start = data.draw(st.integers(0, whole.length - 1))
    phyr = whole[start : data.draw(st.integers(start + 1, whole.length))]
    before = memory.read(phyr)

    with dma_map(phyr, bounce(memory), direction) as mapping:
        dma = mapping.dma
        dma.validate()
        assert len(dma) == len(phyr)
        assert all(paddr + length <= REACH for paddr, length in dma.chunks)
        assert memory.read(dma) == before

        if direction is not Direction.FROM_DEVICE:
            fresh = bytes(byte ^ 255 for byte in before)
            memory.write(phyr, fresh)
            mapping.sync_for_device()
            assert memory.read(dma) == fresh
        wanted = memory.read(phyr)
        if direction is not Direction.TO_DEVICE:
            # The device writes some of it; the rest reads as before.
            wanted = b"written" * (len(phyr) // 14) + wanted[len(phyr) // 14 * 7 :]
            memory.write(dma, wanted)
            mapping.sync_for_cpu()
            assert memory.read(phyr) == wanted
            wanted = bytes(reversed(wanted))
            memory.write(dma, wanted)
    assert memory.read(phyr) == wanted
    assert memory.handed_out == 0


def test_a_bouncing_device_shows_its_reach() -> None:
    memory = FlatMemory(1 << 16)
    bounce = Bounce(Staging(memory, memory), dma_mask=0xFFFF, offset=0x10)
    assert repr(bounce) == "Bounce(dma_mask 0xffff, BusOffset(+0x10), 0 mappings with copies)"
