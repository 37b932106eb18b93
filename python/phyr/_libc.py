"""System calls that have no function in Python, called through the C library."""

import ctypes
import os

__all__ = ["call"]

_LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int) -> None:
    """Call a function of the C library that takes machine words and returns 0 or -1.

    The interpreter is released meanwhile.

    Raises:
        OSError: What the call left in ``errno``.

    Examples:
        >>> call("munlock", 0, 0)
    """
    if getattr(_LIBC, name)(*map(ctypes.c_size_t, arguments)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
