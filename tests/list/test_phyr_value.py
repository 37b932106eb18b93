"""A `Phyr` is a value: equal, hashed, copied, pickled, shown, and as small as can be."""

import copy
import gc
import pickle
import sys
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import Builder, Index, Phyr
from phyr._phyr import held
from support.agree import agree, built
from support.model import Model
from support.strategies import EDGES, cuts, model_of, models, patterned


def test_a_phyr_is_not_iterable_and_says_what_is() -> None:
    phyr = built(EDGES)
    with pytest.raises(TypeError, match=r"chunks.*pages"):
        iter(phyr)
    with pytest.raises(TypeError, match=r"chunks.*pages"):
        5 in phyr  # type: ignore[operator]  # noqa: B015


def test_a_phyr_has_no_other_operators() -> None:
    phyr = built(EDGES)
    for act in (
        lambda: phyr + b"",  # type: ignore[operator]
        lambda: phyr * 2,  # type: ignore[operator]
        lambda: phyr < 5,  # type: ignore[operator]
        lambda: phyr + None,  # type: ignore[operator]
    ):
        with pytest.raises(TypeError):
            act()


def test_a_phyr_cannot_be_changed() -> None:
    phyr = built(EDGES)
    with pytest.raises(AttributeError):
        phyr.length = 5  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        phyr.other = 5  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        phyr[0] = 5  # type: ignore[index]
    with pytest.raises(TypeError):
        type("Child", (Phyr,), {})


@given(models(), models())
def test_lists_are_equal_where_their_models_are(left: Model, right: Model) -> None:
    same = (left.granule, left.kind, left.chunks()) == (right.granule, right.kind, right.chunks())
    assert (built(left) == built(right)) is same
    assert (built(left) != built(right)) is not same


@given(models(), st.data())
def test_equal_lists_have_equal_hashes_and_bytes(model: Model, data: st.DataObject) -> None:
    a, b = sorted(data.draw(st.tuples(cuts(model), cuts(model))))
    view, own = built(model)[a:b], built(model.slice(a, b))
    assert view == own
    assert hash(view) == hash(own) == hash(view.compact())
    assert view.to_bytes() == own.to_bytes() == view.compact().to_bytes()


def test_lists_that_differ_in_one_thing_are_unequal() -> None:
    pieces = [(0x1000, 0x1000), (0x8000, 0x2000)]
    one = Phyr.from_chunks(pieces)
    others = [
        Phyr.from_chunks(pieces, granule=512),
        Phyr.from_chunks(pieces, kind="mmio"),
        Phyr.from_chunks(pieces, kind="mmio:1"),
        Phyr.from_chunks(pieces, offset=1),
        Phyr.from_chunks(pieces, length=0x2FFF),
        Phyr.from_chunks([(0x1000, 0x1000), (0x9000, 0x2000)]),
        Phyr.from_chunks([(0x8000, 0x2000), (0x1000, 0x1000)]),
        Phyr.from_chunks([(0x2000, 0x1000), (0x8000, 0x2000)]),
        Phyr.from_chunks([(0x1000, 0x1000), (0x8000, 0x3000)]),
        Phyr.from_pfns([]),
    ]
    assert len({one, *others}) == 1 + len(others)
    for other in others:
        assert one != other
        assert not one == other  # noqa: SIM201


def test_empty_lists_of_another_granule_or_kind_are_unequal() -> None:
    empties = [Phyr.from_pfns([], granule=size) for size in (1, 4096)]
    empties += [Phyr.from_pfns([], kind=kind) for kind in ("mmio", "mmio:7")]
    assert len(set(empties)) == 4


def test_a_phyr_equals_nothing_but_a_phyr() -> None:
    phyr = built(EDGES)
    others: list[object] = [None, 5, phyr.to_bytes(), list(phyr.chunks), phyr.chunks, "ram"]
    for other in others:
        assert phyr != other
        assert not phyr == other  # noqa: SIM201


@given(models(), st.data())
def test_compact_is_equal_and_as_small_as_if_built_alone(model: Model, data: st.DataObject) -> None:
    a, b = sorted(data.draw(st.tuples(cuts(model), cuts(model))))
    view = built(model)[a:b]
    compact = view.compact()
    agree(compact, model.slice(a, b))
    assert compact == view
    assert compact.stats() == built(model.slice(a, b)).stats()
    assert compact.stats().nr_entries == model.slice(a, b).words()


def test_compact_lets_go_of_a_long_list() -> None:
    long = Phyr.from_pfns(np.arange(0, 200_000, 2))
    view = long[0x5000:0x7000]
    assert sys.getsizeof(view) >= sys.getsizeof(long) >= 8 * 100_000
    assert view.stats().storage == long.stats().storage
    assert sys.getsizeof(view.compact()) < 200
    assert view.compact() == view


def test_getsizeof_counts_all_storage() -> None:
    for nr_entries in (3, 10, 100, 1000, 10_000, 100_000):
        phyr = Phyr.from_pfns(np.arange(nr_entries) * 2)
        storage = phyr.stats().storage
        assert storage >= 8 * nr_entries
        assert sys.getsizeof(phyr) >= storage + object.__sizeof__(object())
        if nr_entries >= 10_000:
            assert sys.getsizeof(phyr) <= 8.25 * nr_entries


def test_getsizeof_counts_what_companions_keep_alive() -> None:
    phyr = Phyr.from_pfns(np.arange(0, 200_000, 2))
    builder = Builder()
    builder.extend(phyr)
    for keeper in (phyr.chunks, phyr.chunks.paddrs, builder):
        assert sys.getsizeof(keeper) >= 8 * 100_000


def test_a_list_of_one_entry_needs_no_heap() -> None:
    odd = [(0x1000, length << 12) for length in (2047, 2048, 1 << 40)]
    for pieces in ([], [(0x1000, 0x1000)], [(0, 1 << 63)], *zip(odd), [((1 << 64) - 1, 1)]):
        phyr = Phyr.from_chunks(pieces)
        assert (phyr.stats().storage, phyr.stats().nr_nodes) == (0, 0)
        assert sys.getsizeof(phyr) == sys.getsizeof(Phyr.from_pfns([]))


def test_a_slice_keeps_the_storage_alive() -> None:
    model = model_of(patterned(2000, 5))
    phyr = built(model)
    view, chunks, forth, back = phyr[5000:-5000], phyr.chunks, iter(phyr.chunks), phyr[-1:]
    del phyr
    gc.collect()
    agree(view, model.slice(5000, model.length - 5000))
    assert list(chunks) == list(forth) == model.chunks()
    agree(back, model.slice(model.length - 1, model.length))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_gives_an_equal_list(protocol: int) -> None:
    for model in (
        Model(),
        EDGES,
        EDGES.slice(7, 0x3003),
        model_of(patterned(1025, 3), 512, "mmio:9"),
    ):
        again = pickle.loads(pickle.dumps(built(model), protocol))  # noqa: S301
        agree(again, model)


def test_pickling_a_slice_takes_only_the_slice() -> None:
    long = Phyr.from_pfns(np.arange(0, 200_000, 2))
    assert len(pickle.dumps(long)) >= 8 * 100_000
    assert len(pickle.dumps(long[0x5000:0x7000])) < 300


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_is_equal(duplicate: Callable[[Phyr], Phyr]) -> None:
    agree(duplicate(built(EDGES)[3:-3]), EDGES.slice(3, EDGES.length - 3))


def test_repr_shows_what_one_debugs_with() -> None:
    text = repr(Phyr.from_chunks([(0x1000, 0x1000), (0x9000, 0x80)], granule=512, kind="mmio:3"))
    assert text.startswith(("Phyr", "<Phyr", "<phyr", "phyr."))
    for shown in ("0x1000+0x1000", "0x9000+0x80", "512", "mmio:3"):
        assert shown in text
    assert "mmio:" not in repr(Phyr.from_pfns([1], kind="mmio"))


@given(models(max_runs=40))
def test_repr_is_bounded(model: Model) -> None:
    assert len(repr(built(model))) < 400


def test_repr_is_bounded_for_a_million_chunks() -> None:
    phyr = Phyr.from_pfns(np.arange(0, 2_000_000, 2))
    assert len(phyr.chunks) == 1_000_000
    for shown in (phyr, phyr.chunks, phyr.chunks.paddrs, phyr.chunks.lengths, phyr.stats()):
        assert len(repr(shown)) < 400
    assert "1000000" in repr(phyr).replace("_", "").replace(",", "")


def test_no_weak_reference_to_a_phyr_is_made() -> None:
    with pytest.raises(TypeError):
        weakref.ref(built(EDGES))


class Owner:
    """Keeps memory, and refers to something made of its list."""

    made: object

    def hold(self) -> None:
        """Promise nothing: no memory is behind it."""

    def release(self) -> None:
        """Take nothing back."""


@pytest.mark.parametrize(
    "make",
    [
        lambda phyr: phyr,
        lambda phyr: phyr[1:],
        lambda phyr: phyr + built(EDGES),
        lambda phyr: phyr.freeze()[1:],
        lambda phyr: Index([phyr]),
    ],
    ids=["list", "slice", "sum", "frozen", "index"],
)
def test_an_owner_that_refers_to_its_own_list_is_collected(
    make: Callable[[Phyr], object],
) -> None:
    owner = Owner()
    owner.made = make(held(built(EDGES), owner, None))
    gone = weakref.ref(owner)
    gc.collect()
    assert gone() is owner
    del owner
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("given_kind", "shown"),
    [("ram", "ram"), ("mmio", "mmio"), ("mmio:0", "mmio"), ("mmio:1", "mmio:1")],
)
def test_a_kind_has_one_name(given_kind: str, shown: str) -> None:
    assert Phyr.from_pfns([1], kind=given_kind).kind == shown
    assert Builder(4096, given_kind).kind == shown
    assert Phyr.from_pfns([1], kind=given_kind) == Phyr.from_pfns([1], kind=shown)


def test_a_copy_of_what_never_changes_is_itself() -> None:
    phyr = Phyr.from_pfns([1, 5])
    assert copy.copy(phyr) is phyr
    assert copy.deepcopy([phyr])[0] is phyr
