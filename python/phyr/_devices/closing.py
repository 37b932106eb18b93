"""Objects that stay open until they are closed: devices, and the backends that open them."""

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress

from phyr._scope import Scope

__all__ = ["Closing"]


class Closing(Scope):
    """A context manager that closes itself, with a warning, if nobody closed it.

    A subclass sets `_process` as soon as there is something to close. It sets `closed` to False
    once it is open.
    """

    closed = True
    """True if it is closed, or not yet open."""

    # The values for `__del__` if an interrupt ended `__init__`.
    _process = 0

    @property
    def _is_ours(self) -> bool:
        """True if this process opened it. In a fork it is False; a fork has no other threads."""
        return self._process == os.getpid()

    @abstractmethod
    def close(self) -> None:
        """Close everything. If it is closed already, do nothing.

        Raises:
            BufferError: A view of a part of a device region still exists; everything else is
                closed.
        """

    def _end(self) -> None:
        self.close()

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        """Close it if nobody did, with a warning."""
        try:
            if not self.closed and self._is_ours:
                warn(f"never closed: {self!r}", ResourceWarning, source=self, stacklevel=2)
        finally:
            # If an interrupt came before anything was open, there is nothing to close.
            if self._process:
                with suppress(BufferError):
                    self.close()
