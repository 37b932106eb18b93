"""The address of memory of this process: of a buffer, or as ``(uaddr, length)``."""

from phyr._phyr import Loan
from phyr.errors import ArrayTypeError, RangeError

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

__all__ = ["lent", "uaddr_and_length"]


class _Given:
    """Lends memory that the caller keeps in place."""

    def __init__(self, uaddr: int, length: int) -> None:
        self._given = uaddr, length

    def __enter__(self) -> tuple[int, int]:
        return self._given

    def __exit__(self, *_failure: object) -> None:
        pass


def lent(buffer: object) -> "AbstractContextManager[tuple[int, int], None]":
    """Give the user virtual address and length of a buffer, and keep it in place meanwhile.

    Args:
        buffer: Anything with contiguous memory, or ``(uaddr, length)``, whose memory the caller
            keeps in place.

    Raises:
        ArrayTypeError: It is neither.
        ArrayError: Its memory is not contiguous.
        RangeError: The range passes 2^64.
    """
    if isinstance(buffer, tuple):
        return _Given(*uaddr_and_length(buffer))
    return Loan(buffer)


def uaddr_and_length(given: "tuple[Any, ...]") -> tuple[int, int]:
    """Check memory that is given by its address.

    Raises:
        ArrayTypeError: These are not two integers.
        RangeError: The range passes 2^64.
    """
    if len(given) != len(("uaddr", "length")):
        text = f"a tuple of {len(given)} is not (uaddr, length)"
        raise ArrayTypeError(text, items=len(given))
    if not all(hasattr(type(number), "__index__") for number in given):
        kinds = " and ".join(str(type(number)) for number in given)
        raise ArrayTypeError(f"{kinds} are not (uaddr, length): two integers")
    uaddr, length = (number.__index__() for number in given)
    if min(uaddr, length) < 0 or uaddr + length > 1 << 64:
        text = f"memory {uaddr:#x}+{length:#x} is outside 64 bits"
        raise RangeError(text, uaddr=uaddr, length=length)
    return uaddr, length
