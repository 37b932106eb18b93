"""Interrupts between any two steps of phyr's own Python."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import phyr.iommu

OURS = str(Path(phyr.iommu.__file__).parent)


@contextmanager
def interrupted(
    at: int, ours: str = OURS, raised: type[BaseException] = KeyboardInterrupt
) -> Iterator[list[int]]:
    """Interrupt the `at`-th place in phyr's Python where an interrupt can come: [] if it came.

    Python looks for signals where a function of Python's begins and where one in C has returned.
    """
    left = [at]

    def look(frame: FrameType, event: str, _: Any) -> None:  # noqa: ANN401 - of sys.setprofile
        is_ours = frame.f_code.co_filename.startswith(ours)
        if not is_ours or event not in ("call", "c_return") or not left:
            return
        if left[0] == 0:
            left.clear()
            raise raised
        left[0] -= 1

    # A collection would run finalizers of what other tests left, and interrupt those.
    gc.disable()
    sys.setprofile(look)
    try:
        yield left
    finally:
        sys.setprofile(None)
        gc.enable()
