"""A check that a strategy draws lists with archives: freezing leaves short ones as they are."""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from phyr import FrozenPhyr

T = TypeVar("T")


def archives_of(strategy: st.SearchStrategy[T], frozen: Callable[[T], list[FrozenPhyr]]) -> float:
    """Return the share of 200 draws whose lists, or one of them, are archives."""
    found = []

    @settings(max_examples=200, database=None, derandomize=True, phases=[Phase.generate])
    @given(strategy)
    def draw(drawn: T) -> None:
        found.append(any(form.to_bytes().startswith(b"PHYF") for form in frozen(drawn)))

    draw()
    return sum(found) / len(found)
