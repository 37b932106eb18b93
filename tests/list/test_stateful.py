"""Long histories of building, slicing, joining and splitting, judged at every step."""

import pickle
from itertools import pairwise

import numpy as np
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from phyr import AlignmentError, Builder, Phyr, RangeError
from support.agree import agree, agree_at, built
from support.model import Model
from support.strategies import cuts, granules, kinds, model_of, pages, patterned, positions, runs

Pair = tuple[Phyr, Model]

# So many bytes in one list that sums of a few still fit in 64 bits.
SMALL = 1 << 60


class Lists(RuleBasedStateMachine):
    """One builder, and lists made from it and from each other, each beside its model."""

    lists: Bundle[Pair] = Bundle("lists")

    def __init__(self) -> None:
        super().__init__()
        self.granule, self.kind = 4096, "ram"
        self.builder = Builder()
        self.pending = Model()

    @initialize(granule=granules(), kind=kinds())
    def start(self, granule: int, kind: str) -> None:
        self.granule, self.kind = granule, kind
        self.builder = Builder(granule, kind)
        self.pending = Model((), granule, kind)

    def take(self, phyr: Phyr, model: Model) -> Pair:
        """Check a new list and keep it."""
        note(f"{phyr!r}")
        agree(phyr, model)
        return phyr, model

    def follow(self, more: Model) -> bool:
        """Say whether the builder must take these pieces, and take them into its model if so."""
        steps = [Model((piece,), self.granule, self.kind) for piece in more.pieces]
        fits = self.pending.joins(more) and all(a.joins(b) for a, b in pairwise(steps))
        if fits:
            self.pending = self.pending + more
        return fits

    @rule(data=st.data())
    def append_a_range(self, data: st.DataObject) -> None:
        drawn = data.draw(runs(self.granule, max_runs=1, largest=1 << 30))
        whole = model_of(drawn, self.granule, self.kind)
        a, b = sorted(data.draw(st.tuples(cuts(whole), cuts(whole))))
        for paddr, length in whole.slice(a, b).pieces:
            if self.follow(Model(((paddr, length),), self.granule, self.kind)):
                self.builder.append(paddr, length)
            else:
                with_alignment_error(lambda p=paddr, n=length: self.builder.append(p, n))

    @precondition(lambda self: self.pending.pieces)
    @rule(length=st.integers(1, 10_000))
    def append_the_very_next_bytes(self, length: int) -> None:
        paddr = sum(self.pending.pieces[-1])
        limit = min((1 << 52) * self.granule, 1 << 64)
        if paddr + length <= limit:
            self.builder.append(paddr, length)
            assert self.follow(Model(((paddr, length),), self.granule, self.kind))

    @rule(data=st.data(), by_address=st.booleans(), as_array=st.booleans())
    def extend_by_pages(self, data: st.DataObject, *, by_address: bool, as_array: bool) -> None:
        pfns = data.draw(pages(self.granule))
        numbers = [pfn * self.granule for pfn in pfns] if by_address else pfns
        given = np.array(numbers, dtype=np.uint64) if as_array else numbers
        extend = self.builder.extend_pages if by_address else self.builder.extend_pfns
        if self.follow(Model.of_pages(pfns, self.granule, self.kind)):
            extend(given)
        else:
            with_alignment_error(lambda: extend(given))

    @rule(data=st.data(), columns=st.booleans())
    def extend_by_chunks(self, data: st.DataObject, *, columns: bool) -> None:
        more = model_of(data.draw(runs(self.granule)), self.granule, self.kind)
        paddrs = [paddr for paddr, _ in more.pieces]
        lengths = [length for _, length in more.pieces]
        if not self.follow(more):
            with_alignment_error(lambda: self.builder.extend_chunks(more.pieces))
        elif columns:
            self.builder.extend_chunks(paddrs, lengths)
        else:
            self.builder.extend_chunks(more.pieces)

    @rule(pair=lists)
    def extend_by_a_list(self, pair: Pair) -> None:
        phyr, model = pair
        if self.pending.length + model.length > SMALL:
            return
        if self.follow(model):
            self.builder.extend(phyr)
        else:
            with_alignment_error(lambda: self.builder.extend(phyr))

    @rule(target=lists, data=st.data())
    def finish(self, data: st.DataObject) -> Pair:
        a, b = sorted(data.draw(st.tuples(cuts(self.pending), cuts(self.pending))))
        whole, self.pending = self.pending, Model((), self.granule, self.kind)
        return self.take(self.builder.finish(a, b - a), whole.slice(a, b))

    @rule(target=lists)
    def finish_all(self) -> Pair:
        whole, self.pending = self.pending, Model((), self.granule, self.kind)
        return self.take(self.builder.finish(), whole)

    @rule(target=lists, nr_entries=st.integers(490, 1100), long_every=st.integers(0, 4))
    def build_around_a_node_edge(self, nr_entries: int, long_every: int) -> Pair:
        model = model_of(patterned(nr_entries, long_every), self.granule, self.kind)
        return self.take(built(model), model)

    @rule(target=lists, pair=lists, data=st.data())
    def slice_one(self, pair: Pair, data: st.DataObject) -> Pair:
        phyr, model = pair
        a, b = sorted(data.draw(st.tuples(cuts(model), cuts(model))))
        return self.take(phyr[a:b], model.slice(a, b))

    @rule(target=lists, left=lists, right=lists)
    def join_two(self, left: Pair, right: Pair) -> Pair:
        (phyr, model), (other, judge) = left, right
        if model.length + judge.length > SMALL:
            return left
        if not model.joins(judge):
            with_alignment_error(lambda: phyr + other)
            return left
        return self.take(phyr + other, model + judge)

    @rule(target=lists, pair=lists, data=st.data())
    def split_and_swap(self, pair: Pair, data: st.DataObject) -> Pair:
        phyr, model = pair
        at = data.draw(cuts(model))
        (a, b), (c, d) = phyr.split(at), (model.slice(0, at), model.slice(at, model.length))
        self.take(a, c)
        self.take(b, d)
        assert a + b == phyr
        return self.take(b + a, d + c) if d.joins(c) else (b, d)

    @rule(target=lists, pair=lists)
    def compact_one(self, pair: Pair) -> Pair:
        phyr, model = pair
        compact = self.take(phyr.compact(), model)
        assert (compact[0], hash(compact[0])) == (phyr, hash(phyr))
        return compact

    @rule(target=lists, pair=lists)
    def send_one(self, pair: Pair) -> Pair:
        return self.take(pickle.loads(pickle.dumps(pair[0])), pair[1])  # noqa: S301

    @rule(pair=lists, data=st.data())
    def look_into_one(self, pair: Pair, data: st.DataObject) -> None:
        phyr, model = pair
        if model.length:
            agree_at(phyr, model, [data.draw(positions(model))])
        assert np.asarray(phyr.chunks.paddrs).tolist() == [paddr for paddr, _ in model.chunks()]
        assert phyr.orders() == model.orders()

    @rule(left=lists, right=lists)
    def compare_two(self, left: Pair, right: Pair) -> None:
        assert (left[0] == right[0]) is (left[1].chunks() == right[1].chunks())

    @invariant()
    def the_builder_is_as_long_as_its_model(self) -> None:
        assert self.builder.length == self.pending.length


def with_alignment_error(act: object) -> None:
    """Assert that an act is refused for its alignment."""
    assert callable(act)
    try:
        act()
    except AlignmentError:
        return
    except RangeError as error:
        raise AssertionError("refused for its range") from error
    raise AssertionError("not refused")


TestLists = Lists.TestCase
