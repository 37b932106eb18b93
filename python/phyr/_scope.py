"""Objects that end with their block."""

from abc import ABC, abstractmethod

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import Self
else:
    Self = object

__all__ = ["Scope"]


class Scope(ABC):
    """A context manager that returns itself and ends itself."""

    __slots__ = ()

    @abstractmethod
    def _end(self) -> None:
        """End it, at the end of the block."""

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: object,
    ) -> None:
        """End it."""
        self._end()
