"""Devices through VFIO: the kernel's IOMMU as a backend of `phyr.iommu`, and none at all.

- `Type1`: the classic interface, containers and groups. A mapping is one I/O virtual address.
- `NoIommu`: no IOMMU in between: a list is its own mapping.

`phyr.iommufd.Ioas` is the newer interface to the same. All three open the same `phyr.pci.Device`,
so that a driver changes the backend only.

``docs/real-devices.md`` says what to enable and what to fear. Linux only.
"""

from phyr.vfio.noiommu import NoIommu
from phyr.vfio.type1 import Type1

__all__ = ["NoIommu", "Type1"]
