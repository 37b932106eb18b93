"""The simulated IOMMU against a dictionary of pages, its tables against an independent walk."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from phyr.errors import MappedError, NotMappedError
from phyr.sim import Memory, SimDomain
from support import vtd_walker
from support.sim_tables import G1, K4, M2, MEMORY, columns, image


class Machine(RuleBasedStateMachine):
    """Maps and unmaps of every size; the oracle holds a leaf for each mapped page."""

    @initialize(levels=st.integers(3, 5))
    def begin(self, levels: int) -> None:
        self.memory = Memory(MEMORY)
        self.domain = SimDomain(self.memory, levels=levels, reserved=())
        self.top = 1 << (12 + 9 * levels)
        # First address of a leaf: physical address, size, permission.
        self.leaves: dict[int, tuple[int, int, int]] = {}

    def overlaps(self, start: int, length: int) -> bool:
        return any(
            iova < start + length and start < iova + size
            for iova, (_, size, _) in self.leaves.items()
        )

    # Few places, so that maps and unmaps meet.
    places = st.tuples(
        st.sampled_from([0, G1, 511 * G1, -G1]),
        st.sampled_from([0, M2, 511 * M2]),
        st.sampled_from([0, K4, 2 * K4, 510 * K4, 511 * K4]),
    ).map(sum)
    shapes = st.sampled_from(
        [(K4, 1), (K4, 2), (K4, 3), (K4, 514), (M2, 1), (M2, 2), (M2, 513), (G1, 1), (G1, 2)]
    )
    prots = st.sampled_from([1, 2, 3, 7, 5])

    def call(self, place: int, shape: tuple[int, int]) -> tuple[int, int, int]:
        pgsize, pgcount = shape
        iova = place % self.top // pgsize * pgsize
        return iova, pgsize, min(pgcount, (self.top - iova) // pgsize)

    @rule(place=places, shape=shapes, pfn=st.integers(0, 1 << 20), prot=prots)
    def map_pages(self, place: int, shape: tuple[int, int], pfn: int, prot: int) -> None:
        iova, pgsize, pgcount = self.call(place, shape)
        paddr = pfn * pgsize % (1 << 50)
        before, counters = image(self.memory), self.domain.counters
        try:
            self.domain.map_pages(iova, paddr, pgsize, pgcount, prot)
        except MappedError as error:
            clash: int = error.iova  # type: ignore[assignment]
            assert self.overlaps(iova, pgsize * pgcount)
            assert self.overlaps(clash, K4)
            assert image(self.memory) == before
            assert self.domain.counters == counters._replace(map_calls=counters.map_calls + 1)
        else:
            assert not self.overlaps(iova, pgsize * pgcount)
            for page in range(0, pgsize * pgcount, pgsize):
                self.leaves[iova + page] = (paddr + page, pgsize, prot)

    @rule(data=st.data(), prot=prots)
    def map_batch(self, data: st.DataObject, prot: int) -> None:
        calls = []
        for place, shape, pfn in data.draw(
            st.lists(st.tuples(self.places, self.shapes, st.integers(0, 1 << 20)), max_size=4)
        ):
            iova, pgsize, pgcount = self.call(place, shape)
            calls.append((iova, pfn * pgsize % (1 << 50), pgsize, pgcount))
        before, counters, leaves = image(self.memory), self.domain.counters, dict(self.leaves)
        clash = False
        for iova, paddr, pgsize, pgcount in calls:
            clash = clash or self.overlaps(iova, pgsize * pgcount)
            for page in range(0, pgsize * pgcount, pgsize):
                self.leaves[iova + page] = (paddr + page, pgsize, prot)
        try:
            self.domain.map_batch(columns(calls), prot)
        except MappedError:
            assert clash
            self.leaves = leaves
            assert image(self.memory) == before
            assert self.domain.counters == counters._replace(batch_calls=counters.batch_calls + 1)
        else:
            assert not clash

    @rule(place=places, shape=shapes)
    def unmap_pages(self, place: int, shape: tuple[int, int]) -> None:
        self.unmap(*self.call(place, shape))

    @precondition(lambda self: self.leaves)
    @rule(data=st.data())
    def unmap_what_is_mapped(self, data: st.DataObject) -> None:
        iova = data.draw(st.sampled_from(sorted(self.leaves)))
        pgsize, count = self.leaves[iova][1], 0
        while self.leaves.get(iova + count * pgsize, (0, 0))[1] == pgsize:
            count += 1
        self.unmap(iova, pgsize, data.draw(st.integers(1, count)))

    def names(self, error: MappedError | NotMappedError) -> None:
        found: int = error.iova  # type: ignore[assignment]
        assert bool(self.overlaps(found, 1)) == isinstance(error, MappedError)

    def unmap(self, iova: int, pgsize: int, pgcount: int) -> None:
        end = iova + pgsize * pgcount
        inside = {at: leaf for at, leaf in self.leaves.items() if iova <= at < end}
        whole = all(at + size <= end for at, (_, size, _) in inside.items())
        covered = sum(size for _, size, _ in inside.values()) == pgsize * pgcount
        before = image(self.memory)
        try:
            self.domain.unmap_pages(iova, pgsize, pgcount)
        except (MappedError, NotMappedError) as error:
            # It names the first address that is not mapped, or a page that is cut.
            self.names(error)
            assert not (whole and covered)
            assert image(self.memory) == before
        else:
            assert whole
            assert covered
            for at in inside:
                del self.leaves[at]

    @invariant()
    def the_tables_say_what_was_mapped(self) -> None:
        if not hasattr(self, "domain"):
            return
        root, levels = self.domain.root, self.domain.levels
        found = vtd_walker.leaves(self.memory, root, levels)
        assert [leaf[:3] for leaf in found] == [
            (iova, paddr, size) for iova, (paddr, size, _) in sorted(self.leaves.items())
        ]
        for leaf in found:
            prot = self.leaves[leaf.iova][2]
            size_bit = vtd_walker.PAGE_SIZE if leaf.size > K4 else 0
            snoop = vtd_walker.SNOOP if prot & 4 else 0
            assert leaf.word == leaf.paddr | (prot & 3) | size_bit | snoop

    @invariant()
    def no_table_is_empty_and_each_is_a_page_of_its_own(self) -> None:
        if not hasattr(self, "domain"):
            return
        tables = list(vtd_walker.tables(self.memory, self.domain.root, self.domain.levels))
        assert all(any(words) for level, _, _, words in tables if level < self.domain.levels)
        assert len({table for _, table, _, _ in tables}) == len(tables)
        counters = self.domain.counters
        assert counters.table_pages == len(tables)
        assert self.memory.free_bytes == MEMORY - (1 + len(tables)) * K4
        entries = sum(word != 0 for _, _, _, words in tables for word in words)
        assert counters.ptes_written - counters.ptes_cleared == entries

    @invariant()
    def every_address_translates_as_the_walker_says(self) -> None:
        if not hasattr(self, "domain"):
            return
        for iova in list(self.leaves)[:3]:
            paddr, size, prot = self.leaves[iova]
            for into in (0, 1, size - 1):
                assert self.domain.iova_to_phys(iova + into) == paddr + into
            for write in (False, True):
                permitted = prot & (2 if write else 1)
                fault = -5 if write else -6
                assert self.walk(iova + 5, write=write) == (paddr + 5 if permitted else fault)

    def walk(self, iova: int, *, write: bool) -> int:
        """Return the walker's address, or its reason as a negative number."""
        root, levels = self.domain.root, self.domain.levels
        try:
            return vtd_walker.translate(self.memory, root, levels, iova, write=write)
        except vtd_walker.Refused as refused:
            return -refused.reason

    def teardown(self) -> None:
        if hasattr(self, "domain"):
            del self.domain
            assert self.memory.free_bytes == MEMORY - K4
            assert self.memory.resident == 0


Machine.TestCase.settings = settings(
    settings.get_profile("fast"), max_examples=20, stateful_step_count=10
)
TestMachine = Machine.TestCase
