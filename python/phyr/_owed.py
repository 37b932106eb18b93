"""What a mapping owes is paid at the latest when nobody refers to the mapping any more."""

from phyr._phyr import Owed as _Owed

__all__ = ["Owed"]


class Owed(_Owed):
    """What a mapping owes: to be unmapped, and its owner to be let go.

    Where the mapping, its backend and its owner refer to each other, Python calls `__del__` while
    all of them are whole. It is no function in Python, which an interrupt could end.
    """

    __slots__ = ()

    __del__ = _Owed.pay_late
