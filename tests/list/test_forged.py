"""The serialised form is as documented, and a forgery with a right digest is refused."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import FormatError, Phyr, RangeError
from support.agree import agree, built
from support.form import Form, entry, form_of
from support.model import Model
from support.strategies import models

TOP = 1 << 64
PAGE = 4096


def refused(form: Form) -> bool:
    """Say whether a form is refused."""
    try:
        Phyr.from_bytes(form.write()).validate()
    except FormatError:
        return True
    return False


@given(models())
def test_lists_are_written_as_documented(model: Model) -> None:
    written = form_of(model).write()
    assert built(model).to_bytes() == written
    agree(Phyr.from_bytes(written), model)


def test_a_form_that_is_right_is_read() -> None:
    assert Phyr.from_bytes(Form((), 0).write()) == Phyr.from_pfns([])
    one = Form(tuple(entry(5, 1)), PAGE)
    assert Phyr.from_bytes(one.write()) == Phyr.from_pfns([5])
    late = replace(one, offset=0xFFF, length=1, kind=1, provider=(1 << 32) - 1)
    agree(Phyr.from_bytes(late.write()), Model(((0x5FFF, 1),), kind="mmio:4294967295"))
    user = replace(one, kind=2)
    agree(Phyr.from_bytes(user.write()), Model(((0x5000, PAGE),), kind="user"))
    long = Form(tuple(entry(0x201, 2049)), 2049 * PAGE)
    agree(Phyr.from_bytes(long.write()), Model(((0x201 * PAGE, 2049 * PAGE),)))


HEADERS: dict[str, dict[str, int | bytes]] = {
    "magic": {"magic": b"PHYS"},
    "version 0": {"version": 0},
    "version 2": {"version": 2},
    "granule of 128 KiB": {"granule_lg2": 17, "length": 1 << 17},
    "granule of 2^64": {"granule_lg2": 64},
    "granule of 2^255": {"granule_lg2": 255},
    "kind 3": {"kind": 3},
    "user addresses of a provider": {"kind": 2, "provider": 1},
    "kind 255": {"kind": 255},
    "RAM of a provider": {"provider": 1},
    "provider of 33 bits": {"kind": 1, "provider": 1 << 32},
    "provider in the pad": {"kind": 1, "provider": TOP - (1 << 32)},
    "offset of a granule": {"offset": PAGE},
    "offset past the end": {"offset": 1, "length": PAGE},
    "offset near 2^64": {"offset": TOP - 1, "length": 1},
    "offset that wraps": {"offset": TOP - 1, "length": TOP - 1},
    "no length": {"length": 0},
    "no length, late": {"offset": 1, "length": 0},
    "long": {"length": PAGE + 1},
    "very long": {"length": TOP - 1},
    "no words": {"nr_words": 0},
    "one word more": {"nr_words": 2},
    "words to wrap": {"nr_words": 1 + (1 << 61)},
    "words to wrap with the header": {"nr_words": (1 << 61) - 5},
    "all the words": {"nr_words": TOP - 1},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_cannot_be_is_refused(name: str) -> None:
    assert refused(replace(Form(tuple(entry(5, 1)), PAGE), **HEADERS[name]))  # type: ignore[arg-type]


def test_a_refusal_names_what_it_refuses() -> None:
    one = Form(tuple(entry(5, 1)), PAGE)
    far = Form(tuple(entry(1 << 50, 1)), 1 << 16, granule_lg2=16)
    for form, names in [
        (replace(one, magic=b"PHYS"), {"magic": b"PHYS"}),
        (replace(one, kind=3), {"field": "kind", "value": 3}),
        (replace(one, version=9), {"version": 9}),
    ]:
        with pytest.raises(FormatError) as caught:
            Phyr.from_bytes(form.write())
        assert vars(caught.value) == names
    with pytest.raises(FormatError) as caught:
        Phyr.from_bytes(far.write())
    assert caught.value.index == 0
    why = caught.value.why
    assert isinstance(why, RangeError)
    assert (why.pfn, why.granule) == (1 << 50, 1 << 16)
    assert str(why) in str(caught.value)


def whole(*runs: tuple[int, int], granule_lg2: int = 12) -> Form:
    """Return the form of runs, allowed or not, that the length covers."""
    words = tuple(word for run in runs for word in entry(*run))
    length = sum(count for _, count in runs) << granule_lg2
    return Form(words, length % TOP, granule_lg2=granule_lg2)


def raw(*words: int, nr_pages: int) -> Form:
    """Return a form of any words."""
    return Form(words, nr_pages * PAGE % TOP)


FORGED = {
    "runs that touch": whole((5, 1), (6, 1)),
    "long runs that touch": whole((1, 4095), (4096, 4095)),
    "a run that touches in between": whole((9, 1), (1, 4), (5, 2), (90, 1)),
    "two parts of an aligned run": whole((0, 512), (512, 512)),
    "a first page beyond 2^64": whole((1 << 48, 1), granule_lg2=16),
    "a last page beyond 2^64": whole(((1 << 48) - 1, 2), granule_lg2=16),
    "a last page beyond 52 bits": raw(*entry((1 << 52) - 1, 2), nr_pages=2),
    "a long run beyond 52 bits": raw(*entry((1 << 52) - 1, 1 << 52), nr_pages=1 << 52),
    "a total of 2^64": whole((1 << 51, 1 << 51), (0, 1 << 51)),
    "a total that wraps": whole(*[(0, 1 << 51), (1 << 51, 1), (0, 1 << 51)]),
    "a total that wraps to a page": whole(*[(7, 1 << 51), (5, 1), (7, 1 << 51)]),
    "no marker": raw(0x001, nr_pages=1),
    "an unused slot": raw(0, nr_pages=0),
    "an unused slot behind an entry": raw(*entry(5, 1), 0, nr_pages=1),
    "an unused slot before an entry": raw(0, *entry(5, 1), nr_pages=1),
    "an escape without a count": raw(5 << 12 | 0x800, nr_pages=1),
    "an escape to a count that fits": raw(5 << 12 | 0x800, 2047, nr_pages=2047),
    "an escape to no pages": raw(5 << 12 | 0x800, 0, nr_pages=0),
    "an escape to one page": raw(5 << 12 | 0x800, 1, nr_pages=1),
    "an escape to 2^64 - 1 pages": raw(5 << 12 | 0x800, TOP - 1, nr_pages=TOP - 1),
    "an escape to 2^63 pages of order 1": raw(4 << 12 | 0x1000, 1 << 63, nr_pages=0),
    "an order that could be larger": raw(4 << 12 | 0x800 | 2, nr_pages=2),
    "an order that could be larger, escaped": raw(4 << 12 | 0x800, 4096, nr_pages=4096),
    "the largest order": raw(1 << 63 | 1, nr_pages=1 << 52),
    "the largest order, many": raw(1 << 63 | 2047, nr_pages=2047 << 52),
    "the largest order, escaped": raw(1 << 63, 4096, nr_pages=1 << 64),
    "all ones": raw(TOP - 1, nr_pages=2047),
}


@pytest.mark.parametrize("name", FORGED)
def test_words_that_cannot_be_are_refused(name: str) -> None:
    assert refused(FORGED[name])


def test_a_first_or_last_page_that_is_not_used_is_refused() -> None:
    two = whole((5, 1), (9, 1))
    assert not refused(two)
    for unused in (
        replace(two, offset=PAGE, length=PAGE),
        replace(two, length=PAGE),
        replace(two, offset=1, length=PAGE - 1),
        replace(two, offset=PAGE - 1, length=1),
    ):
        assert refused(unused)


def test_the_extremes_that_can_be_are_read() -> None:
    last = (1 << 52) - 1
    longest = whole((1, last))
    assert Phyr.from_bytes(longest.write()) == Phyr.from_chunks([(PAGE, TOP - PAGE)])
    assert Phyr.from_bytes(whole((last, 1), (0, 1)).write())[-PAGE - 1] == TOP - 1
    with pytest.raises(RangeError):
        Phyr.from_bytes(longest.write()) + Phyr.from_pfns([9])


LIKELY = st.integers(0, TOP - 1) | st.integers(0, 70_000)
RUN = st.tuples(st.integers(0, 1 << 52) | st.integers(0, 40), LIKELY)
WORDS = st.builds(lambda run: entry(run[0], run[1] or 1), RUN) | st.lists(LIKELY, max_size=2)


@given(
    st.lists(WORDS, max_size=5),
    LIKELY,
    st.integers(0, 5000),
    st.integers(0, 20),
    st.integers(0, 2),
    st.integers(0, 3),
)
def test_any_form_is_refused_or_is_the_form_of_a_sound_list(  # noqa: PLR0913, PLR0917 - one a field
    words: list[list[int]], length: int, offset: int, granule_lg2: int, kind: int, provider: int
) -> None:
    flat = tuple(word & (TOP - 1) for part in words for word in part)
    written = Form(flat, length, offset, granule_lg2, kind, provider).write()
    try:
        phyr = Phyr.from_bytes(written)
    except FormatError:
        return
    phyr.validate()
    assert phyr.to_bytes() == written
    assert all(sum(a) != b[0] for a, b in pairwise(phyr.chunks))


@given(models(max_runs=4), st.data())
def test_one_field_changed_is_refused_or_gives_another_sound_list(
    model: Model, data: st.DataObject
) -> None:
    form = form_of(model)
    words = list(form.words)
    flip = data.draw(st.booleans())
    if words and flip:
        at = data.draw(st.integers(0, len(words) - 1))
        words[at] ^= 1 << data.draw(st.integers(0, 63))
    more = data.draw(st.sampled_from([0, 1, 4096]))
    written = replace(form, words=tuple(words), length=form.length + more).write()
    try:
        phyr = Phyr.from_bytes(written)
    except FormatError:
        return
    phyr.validate()
    assert phyr.to_bytes() == written
    assert (phyr == built(model)) is (tuple(words) == form.words and not more)
