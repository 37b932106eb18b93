"""Devices through VFIO, with the kernel's IOMMU as a backend of `phyr.iommu`, or without one.

- `Type1`: the classic interface with containers and groups. A mapping is one I/O virtual address.
- `NoIommu`: no IOMMU between device and memory: a list is its own mapping.

`phyr.iommufd.Ioas` is the newer interface to the same IOMMU. All three open the same
`phyr.pci.Device`, so a driver only changes the backend.

``docs/real-devices.md`` says what to enable, and which dangers there are. Linux only.
"""

from phyr.vfio.noiommu import NoIommu
from phyr.vfio.type1 import Type1

__all__ = ["NoIommu", "Type1"]
