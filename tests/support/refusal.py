"""Errors of a simulated kernel."""

import os


def fail(number: int) -> OSError:
    """Return the error of a call that the kernel refuses with an errno."""
    return OSError(number, os.strerror(number))
