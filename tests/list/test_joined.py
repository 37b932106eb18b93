"""Joins of lists, frozen lists and parts of those, against the bytes of all of them in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import AlignmentError, Builder, FrozenPhyr, MismatchError, Phyr
from support.agree import agree, built
from support.archives import archives_of
from support.model import Model
from support.strategies import any_models, cuts, granules, kinds, long_models

List = Phyr | FrozenPhyr
FORMS = st.sampled_from(["frozen", "list", "part of a frozen list"] * 2 + ["part of a list"])


def formed(model: Model, form: str) -> List:
    """Return a list in a form; where it is a part, the rest is a granule in front and behind."""
    if form == "list":
        return built(model)
    if form == "frozen":
        return built(model).freeze()
    size = model.granule
    start = model.pieces[0][0] % size if model.pieces else 0
    end = sum(model.pieces[-1]) % size if model.pieces else 0
    # Beside a cut inside a granule is the rest of that granule.
    front = (model.pieces[0][0] - start, start) if start else (5 * size, size)
    behind = (sum(model.pieces[-1]), size - end) if end else (9 * size, size)
    pieces = (front, *model.pieces, behind)
    whole = Phyr.from_chunks(pieces, granule=size, kind=model.kind)
    part = whole if form == "part of a list" else whole.freeze()
    return part[front[1] : front[1] + model.length]


def whole_granules(model: Model) -> Model:
    """Return what a list has between its first boundary of a granule and its last."""
    if not model.pieces:
        return model
    start = -model.pieces[0][0] % model.granule
    end = model.length - sum(model.pieces[-1]) % model.granule
    return model.slice(start, end) if start < end else model.slice(0, 0)


@st.composite
def crowds(draw: st.DrawFn) -> list[tuple[Model, str]]:
    """Draw lists of one granule and kind, and their forms; most of the crowds can be joined."""
    granule, kind = draw(granules()), draw(kinds() | st.just("user"))
    joins = draw(st.sampled_from([True, True, True, False]))
    models: list[Model] = []
    for _ in range(draw(st.sampled_from([1, 2, 3, 4]))):
        strategy = draw(st.sampled_from([any_models, long_models]))
        model = draw(strategy(granule=granule, kind=kind))
        models.append(whole_granules(model) if joins else model)
        if draw(st.sampled_from([True, False, False])):
            # The next goes on where this one ends, inside a granule or not.
            before = models.pop()
            cut = draw(cuts(before))
            models += [before.slice(0, cut), before.slice(cut, before.length)]
    return [(model, draw(FORMS)) for model in models]


def first_fault(models: list[Model]) -> int | None:
    """Return the position of the first joint that no list can have."""
    whole = Model(granule=models[0].granule, kind=models[0].kind)
    for model in models:
        if not whole.joins(model):
            return whole.length
        whole += model
    return None


def whole_of(models: list[Model]) -> Model:
    """Return the list of all, in order."""
    pieces = tuple(piece for model in models for piece in model.pieces)
    return Model(pieces, models[0].granule, models[0].kind)


def test_many_of_the_joined_are_archives_and_many_join() -> None:
    def frozen(drawn: list[tuple[Model, str]]) -> list[FrozenPhyr]:
        if first_fault([model for model, _ in drawn]) is not None:
            return []
        lists = [formed(model, form) for model, form in drawn]
        return [form for form in lists if isinstance(form, FrozenPhyr)]

    assert archives_of(crowds(), frozen) >= 0.25


@given(crowds())
def test_lists_in_any_form_join_to_the_bytes_of_all(drawn: list[tuple[Model, str]]) -> None:
    models = [model for model, _ in drawn]
    lists = [formed(model, form) for model, form in drawn]
    for one, model in zip(lists, models, strict=True):
        assert list(one.chunks) == model.chunks()
    fault = first_fault(models)
    if fault is not None:
        with pytest.raises(AlignmentError) as caught:
            Phyr.join(lists)
        assert caught.value.position == fault
        return
    expected = whole_of(models)
    agree(Phyr.join(lists), expected)
    agree(Phyr.join(iter(lists)), expected)
    builder = Builder(granule=expected.granule, kind=expected.kind)
    for one in lists:
        builder.extend(one)
    agree(builder.finish(), expected)


@given(crowds())
def test_a_sum_is_the_bytes_of_one_and_then_of_the_other(drawn: list[tuple[Model, str]]) -> None:
    (one, form), (other, other_form) = drawn[0], drawn[-1]
    left, right = formed(one, form), formed(other, other_form)
    if not one.joins(other):
        with pytest.raises(AlignmentError):
            _ = left + right
        return
    found = left + right
    assert isinstance(found, Phyr)
    agree(found, whole_of([one, other]))
    assert found.freeze() == found
    # Both are as they were.
    assert list(left.chunks) == one.chunks()
    assert list(right.chunks) == other.chunks()


@given(any_models(), st.data())
def test_parts_of_a_frozen_list_join_to_the_list(model: Model, data: st.DataObject) -> None:
    frozen = built(model).freeze()
    ends = sorted(data.draw(st.lists(cuts(model), max_size=6)))
    bounds = list(zip([0, *ends], [*ends, model.length], strict=True))
    parts = [frozen[start:end] for start, end in bounds]
    agree(Phyr.join(parts), model)
    mixed = [part.thaw() if data.draw(st.booleans()) else part for part in parts]
    agree(Phyr.join(mixed), model)


@given(long_models(), any_models(), FORMS)
def test_lists_of_other_granules_or_kinds_join_in_no_form(
    one: Model, other: Model, form: str
) -> None:
    if (one.granule, one.kind) == (other.granule, other.kind):
        return
    left, right = built(one).freeze(), formed(other, form)
    for lists in ([left, right], [right, left]):
        with pytest.raises(MismatchError):
            Phyr.join(lists)
        with pytest.raises(MismatchError):
            _ = lists[0] + lists[1]
