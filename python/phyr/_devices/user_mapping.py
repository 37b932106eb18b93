"""A buffer mapped for devices by its user address alone: no page numbers, and so no capability."""

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from phyr._phyr import Builder, Loan
from phyr._scope import Scope
from phyr.errors import NotMappedError
from phyr.pinning.methods import UserMapper

if TYPE_CHECKING:
    from phyr.pinning.tensors import Exported

__all__ = ["UserMapping"]


class UserMapping(Scope):
    """A buffer that devices reach until it is unmapped; what `map_buffer` returns.

    A context manager, which unmaps at its end. The buffer must be neither resized nor freed
    meanwhile. One that is dropped instead is unmapped with a `ResourceWarning`.
    """

    # The values for `__del__` if an interrupt ended `__init__`.
    _backend: UserMapper | None = None
    _loan: "Loan | Exported | None" = None
    _process = 0

    _iova: int | None = None

    def __init__(self, backend: UserMapper, loan: "Loan | Exported | None") -> None:
        """Only a backend makes one, and maps it then."""
        self.dma = Builder().finish()
        """Its I/O virtual addresses, byte for byte: one chunk."""
        self._process = os.getpid()
        self._loan = loan
        self._backend = backend

    def set(self, head: int, length: int, iova: int) -> None:
        """Take note of where it will be: `head` bytes from `iova` on are not the buffer's."""
        builder = Builder()
        builder.append(iova + head, length)
        self.dma = builder.finish()
        self._iova = iova

    def __repr__(self) -> str:
        """Say where devices find it."""
        return f"UserMapping({self.dma!r}{'' if self._backend else ', unmapped'})"

    def unmap(self) -> None:
        """Take it from the devices, and let go of the buffer. Again, it does nothing.

        Raises:
            VfioError: The kernel refused, against the rules. The buffer is not let go of then, as
                devices may still reach it.
        """
        backend = self._backend
        if backend is not None:
            if self._iova is not None:
                # It is not there if mapping it failed.
                with suppress(NotMappedError):
                    backend.unmap_user(self._iova)
                self._iova = None
            self._backend = None
            if self._loan is not None:
                self._loan.__exit__()

    def _end(self) -> None:
        self.unmap()

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        """Unmap what nobody did, and say so."""
        try:
            if self._backend is not None and self._process == os.getpid():
                warn(f"never unmapped: {self!r}", ResourceWarning, source=self, stacklevel=2)
        finally:
            self.unmap()
