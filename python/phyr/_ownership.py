"""Who keeps memory in place: several owners as one, and what a mapping still owes its owners."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from phyr._phyr import Owed as _Owed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from phyr.iommu.protocols import Owner

__all__ = ["HOLDING", "Owed", "Owners"]

HOLDING = ("io_uring", "vfio", "iommufd")
"""Methods of `phyr.pin` after which pages stay where they are."""


class Owners:
    """Several owners as one: see `phyr.iommu.Owner`.

    Args:
        sides: Owners of the parts, each None if nothing holds that part.

    Examples:
        >>> Owners([None, None]).method is None
        True
    """

    def __init__(self, sides: "Iterable[object]") -> None:
        """Keep both alive, and each of those that are several by itself."""
        parts = [
            part for side in sides for part in (side.parts if isinstance(side, Owners) else (side,))
        ]
        self.parts: tuple[object, ...] = tuple({id(part): part for part in parts}.values())

    @property
    def method(self) -> str | None:
        """How that part is held which is held least; None if one is not held at all."""
        methods: list[str | None] = [getattr(part, "method", None) for part in self.parts]
        if None in methods:
            return None
        return next((method for method in methods if method not in HOLDING), methods[0])

    def hold(self) -> None:
        """Hold all, or none."""
        with ExitStack() as undo:
            for part in self._owners():
                part.hold()
                undo.callback(part.release)
            undo.pop_all()

    def release(self) -> None:
        """Let go of all, even where one breaks its promise not to fail."""
        with ExitStack() as each:
            for part in self._owners():
                each.callback(part.release)

    def __repr__(self) -> str:
        """Show each."""
        return f"Owners({', '.join(map(repr, self.parts))})"

    def _owners(self) -> "list[Owner]":
        return [cast("Owner", part) for part in self.parts if part is not None]


class Owed(_Owed):
    """What a mapping owes: to be unmapped, and its owner to be let go.

    Where the mapping, its backend and its owner refer to each other, Python calls `__del__` while
    all of them are whole. It is no function in Python, which an interrupt could end.
    """

    __slots__ = ()

    __del__ = _Owed.pay_late
