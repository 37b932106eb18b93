"""Pinning memory: the kernel keeps the pages present and does not move them.

`methods` pins, by slots of shared `rings`; `hold` owns what is pinned, `reasons` says why the
kernel refused. `cache` keeps pins for buffers that come again, `pool` hands out mapped memory.
"""

from phyr.pinning.pinned import Pinned, pin

__all__ = ["Pinned", "pin"]
