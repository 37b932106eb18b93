"""What stays open until it is closed: devices, and the backends that open them."""

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """A context manager that closes itself, and says so where nobody did.

    Who inherits this sets `_process` as soon as there is something to close, and `closed` to False
    once it is open.
    """

    closed = True
    """Whether it is closed, or not yet open."""

    # What `__del__` finds where an interrupt ended `__init__`.
    _process = 0

    @property
    def _is_ours(self) -> bool:
        """Whether this process opened it; it may be a fork of that, without its other threads."""
        return self._process == os.getpid()

    @abstractmethod
    def close(self) -> None:
        """Let go of all of it; again, it does nothing.

        Raises:
            BufferError: A part of a device region's view is still about; all else is closed.
        """

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        """Close what nobody did, and say so."""
        try:
            if not self.closed and self._is_ours:
                warn(f"never closed: {self!r}", ResourceWarning, source=self, stacklevel=2)
        finally:
            # What an interrupt ended in its beginnings has nothing to close.
            if self._process:
                with suppress(BufferError):
                    self.close()
