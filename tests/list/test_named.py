"""Named tuples of phyr, beside those of `typing`."""

import inspect
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple, get_type_hints

import pytest

from phyr import Chunk, Pinned, _named, pagemap


class Usual(NamedTuple):
    """A pair."""

    first: int
    second: str = "two"

    @property
    def both(self) -> str:
        """Both."""
        return f"{self.first} {self.second}"

    @classmethod
    def of(cls, first: int) -> "Usual":
        return cls(first)


class Quick(_named.NamedTuple):
    """A pair."""

    first: int
    second: str = "two"

    @property
    def both(self) -> str:
        """Both."""
        return f"{self.first} {self.second}"

    @classmethod
    def of(cls, first: int) -> "Quick":
        return cls(first)


def test_a_field_without_a_default_follows_none_with_one() -> None:
    with pytest.raises(TypeError, match="Wrong: a field without a default follows one with"):

        class Wrong(_named.NamedTuple):
            first: int = 1
            second: int  # type: ignore[misc]


def test_hints_can_be_read() -> None:
    for public in (Pinned.__enter__, pagemap.Folios.total, pagemap.Extent, pagemap.Extent.__new__):
        assert get_type_hints(public)


@pytest.mark.parametrize(
    "name",
    ["_fields", "_field_defaults", "__annotations__", "__doc__", "__module__", "__match_args__"],
)
def test_a_class_is_what_typing_makes(name: str) -> None:
    assert getattr(Quick, name) == getattr(Usual, name)


def test_values_are_what_typing_makes() -> None:
    for values in (Quick(1), Quick.of(1), Quick(second="two", first=1), pickled(Quick(1))):
        assert isinstance(values, Quick)
        assert tuple(values) == tuple(Usual(1))
        assert (values.both, repr(values)) == ("1 two", "Quick(first=1, second='two')")
    with pytest.raises(TypeError):
        Quick()  # type: ignore[call-arg]


def test_methods_do_what_those_of_typing_do() -> None:
    for quick, usual in ((Quick(1), Usual(1)), (Quick(3, "four"), Usual(3, "four"))):
        assert quick._asdict() == usual._asdict()
        assert (*quick._replace(second="x"),) == (*usual._replace(second="x"),)
        assert isinstance(quick._replace(first=9), Quick)
        assert isinstance(Quick._make([1, "x"]), Quick)
        assert (*Quick._make([1, "x"]),) == (*Usual._make([1, "x"]),)
        assert quick == (*usual,)
        assert hash(quick) == hash(usual)
    assert [inspect.signature(made) for made in (Quick, Quick.__new__)] == [
        inspect.signature(made) for made in (Usual, Usual.__new__)
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda made: made._make([1]),
        lambda made: made._make([1, "x", 3]),
        lambda made: made(1)._replace(third=3),
        lambda made: made(third=3),
        lambda made: setattr(made(1), "first", 2),
        lambda made: setattr(made(1), "third", 3),
    ],
)
def test_wrong_uses_fail_as_those_of_typing_do(wrong: Callable[[Any], object]) -> None:
    failures = []
    for made in (Quick, Usual):
        with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
            wrong(made)
        failures.append((caught.type, str(caught.value).replace("Usual", "Quick")))
    assert failures[0] == failures[1]


def pickled(value: Quick) -> object:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - ours


def test_records_of_phyr_keep_their_names() -> None:
    assert (Chunk.__module__, Chunk.__qualname__, Chunk._fields) == (
        "phyr._records",
        "Chunk",
        ("paddr", "length"),
    )


def test_enumerations_of_page_maps_are_loaded_when_they_are_asked_for() -> None:
    assert {"PageFlag", "State"} <= set(dir(pagemap))
    assert pagemap.State("ram") is pagemap.State.RAM
    with pytest.raises(AttributeError, match=r"module 'phyr.pagemap' has no attribute 'nothing'"):
        _ = pagemap.nothing  # type: ignore[attr-defined]
