"""The exception that the checks raise, and where in a list they look."""

from collections.abc import Callable

from phyr._arguments import wrong
from phyr._phyr import Phyr
from phyr.errors import PhyrError


class ConformanceError(PhyrError, AssertionError):
    """A backend or a domain breaks a rule."""


def expect(right: bool, sentence: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise `ConformanceError` with the sentence unless it is right."""
    if not right:
        raise ConformanceError(sentence)


def check_maker(make: Callable[[], object], of: str) -> None:
    """Refuse an object in place of a function that makes one.

    Raises:
        TypeError: It cannot be called.
    """
    if not callable(make):
        wanted = f"a function that makes {of}: pass its class or a lambda"  # type: ignore[unreachable]
        raise wrong("make", make, wanted)


def positions_of(phyr: Phyr) -> list[int]:
    """Return the first and last byte of each chunk, and one in between."""
    positions: set[int] = set()
    position = 0
    for _, length in phyr.chunks:
        positions |= {position, position + length // 2, position + length - 1}
        position += length
    return sorted(positions)
