"""Pinning memory: have the kernel keep pages present and where they are.

`methods` pins, `hold` owns what is pinned, `reasons` says why the kernel refused.
"""

from phyr.pinning.pinned import Pinned, pin

__all__ = ["Pinned", "pin"]
