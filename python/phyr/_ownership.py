"""Owners of memory: several owners as one, and the calls that a mapping still owes."""

from functools import cached_property
from typing import TYPE_CHECKING

from phyr._phyr import Owed as _Owed
from phyr._phyr import Sides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["HOLDING", "Owed", "Owners"]

HOLDING = ("io_uring", "vfio", "iommufd")
"""Methods of `phyr.pin` that keep pages from moving."""


class Owners:
    """Several owners as one: see `phyr.iommu.Owner`.

    Args:
        sides: Owners of the parts, None for a part that has no owner.

    Examples:
        >>> Owners([None, None]).method is None
        True
    """

    def __init__(self, sides: "Iterable[object]") -> None:
        """Keep all alive. The parts of an `Owners` become parts of this one."""
        parts = [
            part for side in sides for part in (side.parts if isinstance(side, Owners) else (side,))
        ]
        self.parts: tuple[object, ...] = tuple({id(part): part for part in parts}.values())

    @property
    def method(self) -> str | None:
        """The weakest method of the parts; None if a part is not held at all."""
        methods: list[str | None] = [getattr(part, "method", None) for part in self.parts]
        if None in methods:
            return None
        return next((method for method in methods if method not in HOLDING), methods[0])

    @cached_property
    def _several(self) -> Sides:
        return Sides(tuple(part for part in self.parts if part is not None))

    @property
    def hold(self) -> "Callable[[], None]":
        """Hold all of them, or none."""
        return self._several.hold

    @property
    def release(self) -> "Callable[[], None]":
        """Release all of them, even if one fails, although owners promise not to."""
        return self._several.release

    def __repr__(self) -> str:
        """Show each owner."""
        return f"Owners({', '.join(map(repr, self.parts))})"


class Owed(_Owed):
    """The calls that a mapping owes: to unmap, and to release its owner.

    If the mapping, its backend and its owner refer to each other, Python calls `__del__` before it
    takes any of them apart. `__del__` is not a function in Python, because an interrupt could end
    that.
    """

    __slots__ = ()

    __del__ = _Owed.pay_late
