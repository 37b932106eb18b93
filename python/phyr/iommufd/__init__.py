"""Devices through iommufd: the kernel's newer interface to its IOMMUs, as a backend.

- `Ioas`: an I/O address space. It does what `phyr.vfio.Type1` does, without containers and groups.
- `PageTable`: a page table of the IOMMU with its mappings, which can keep track of dirty memory.

It needs Linux 6.6 or newer with ``CONFIG_IOMMUFD`` and ``CONFIG_VFIO_DEVICE_CDEV``.

``docs/real-devices.md`` says what to enable, and which dangers there are. Linux only.
"""

from phyr.iommufd.ioas import Ioas
from phyr.iommufd.page_table import PageTable

__all__ = ["Ioas", "PageTable"]
