"""The law: the list of a part of a buffer is that part of the list of the buffer.

Memory is simulated by a page table: a dict from virtual page to physical page.
"""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from phyr import Phyr
from support.agree import agree
from support.model import Model

PageTable = dict[int, int]


@dataclass(frozen=True)
class Buffer:
    """Bytes at consecutive virtual addresses, like a `bytes` that knows where it lies."""

    table: PageTable
    granule: int
    uaddr: int
    length: int

    def __getitem__(self, key: slice) -> "Buffer":
        """Return a part, by the rules of Python."""
        start, stop, _ = key.indices(self.length)
        return Buffer(self.table, self.granule, self.uaddr + start, max(stop - start, 0))

    def address(self, position: int) -> int:
        """Translate one byte, as a processor would."""
        page, offset = divmod(self.uaddr + position, self.granule)
        return self.table[page] * self.granule + offset

    def pfns(self) -> list[int]:
        """Return the physical pages under the buffer."""
        if not self.length:
            return []
        first, last = self.uaddr // self.granule, (self.uaddr + self.length - 1) // self.granule
        return [self.table[page] for page in range(first, last + 1)]


def phyr_of(buffer: Buffer) -> Phyr:
    """Return the list of a buffer, from its page numbers."""
    offset = buffer.uaddr % buffer.granule if buffer.length else 0
    return Phyr.from_pfns(
        buffer.pfns(), granule=buffer.granule, offset=offset, length=buffer.length
    )


@st.composite
def buffers(draw: st.DrawFn) -> Buffer:
    """Draw a page table that often runs on, with pages shared and repeated, and a buffer in it."""
    granule = draw(st.sampled_from([1, 8, 512, 4096]))
    table: PageTable = {}
    first = draw(st.integers(0, 1 << 36))
    far = st.integers(0, (1 << 52) - 1)
    for page, jump in enumerate(draw(st.lists(st.none() | far, min_size=1, max_size=30)), first):
        before = table.get(page - 1, 41)
        table[page] = (before + 1) % (1 << 52) if jump is None else jump
    start = draw(st.integers(0, len(table) * granule - 1))
    length = draw(st.integers(0, len(table) * granule - start))
    return Buffer(table, granule, first * granule + start, length)


@given(buffers(), st.data())
def test_the_phyr_of_a_slice_is_the_slice_of_the_phyr(buffer: Buffer, data: st.DataObject) -> None:
    bound = st.none() | st.integers(-buffer.length - 3, buffer.length + 3)
    a, b = data.draw(bound), data.draw(bound)
    assert phyr_of(buffer)[a:b] == phyr_of(buffer[a:b])
    assert hash(phyr_of(buffer)[a:b]) == hash(phyr_of(buffer[a:b]))


def test_the_law_holds_for_every_slice_of_a_small_buffer() -> None:
    table = dict(enumerate([7, 8, 3, 3, 4, 5, 1, 2, 9, 0]))
    for granule in (1, 4):
        whole = Buffer(table, granule, 1, 9 * granule)
        phyr = phyr_of(whole)
        for a in range(whole.length + 1):
            for b in range(a, whole.length + 1):
                assert phyr[a:b] == phyr_of(whole[a:b])
                phyr[a:b].validate()


@given(buffers())
def test_every_byte_lies_where_the_page_table_says(buffer: Buffer) -> None:
    phyr = phyr_of(buffer)
    assert phyr.length == buffer.length
    for position in {0, buffer.length // 3, buffer.length // 2, buffer.length - 1}:
        if 0 <= position < buffer.length:
            assert phyr[position] == buffer.address(position)


@given(buffers())
def test_the_list_has_the_pages_of_the_buffer_one_by_one(buffer: Buffer) -> None:
    model = Model.of_pages(buffer.pfns(), buffer.granule)
    start = buffer.uaddr % buffer.granule if buffer.length else 0
    agree(phyr_of(buffer), model.slice(start, start + buffer.length))


@given(buffers(), st.data())
def test_the_phyr_of_two_halves_is_the_sum_of_their_phyrs(
    buffer: Buffer, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, buffer.length))
    assert phyr_of(buffer[:cut]) + phyr_of(buffer[cut:]) == phyr_of(buffer)
