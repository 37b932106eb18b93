"""DMA mapping: from a list of physical memory to a list of the bus addresses that a device uses.

`dma_map` maps a list through a backend. The backend knows how one device's bus sees memory:

- `Direct`: physical addresses; the result is the same object.
- `BusOffset`: physical addresses plus a constant; the result is a new list.
- `Paging`: an IOMMU; the result has one entry, however fragmented the memory is. Works on any
  `IommuDomain`.
- `Bounce`: copies of the memory that the device cannot reach.

`IovaMap` holds what is mapped where, for a virtual IOMMU; it is changed part by part.

Domains and backends are ordinary classes: see `DmaBackend` and `IommuDomain`. `phyr.testing` has
checks for your own.
"""

from phyr._phyr import IovaMap, Mapping, Plan, alignment, dma_map, dma_unmap, plan_map
from phyr.iommu.bounce import Bounce, Copy, Staging
from phyr.iommu.bus_offset import BusOffset
from phyr.iommu.identity import Direct
from phyr.iommu.iova import IovaAllocator
from phyr.iommu.limits import DeviceLimits
from phyr.iommu.paging import Otherwise, Paging
from phyr.iommu.protocols import (
    BatchDomain,
    CpuMemory,
    Direction,
    DmaBackend,
    ExposingBackend,
    IommuDomain,
    Owner,
    PagePool,
    Prot,
    SyncBackend,
)

__all__ = [
    "BatchDomain",
    "Bounce",
    "BusOffset",
    "Copy",
    "CpuMemory",
    "DeviceLimits",
    "Direct",
    "Direction",
    "DmaBackend",
    "ExposingBackend",
    "IommuDomain",
    "IovaAllocator",
    "IovaMap",
    "Mapping",
    "Otherwise",
    "Owner",
    "PagePool",
    "Paging",
    "Plan",
    "Prot",
    "Staging",
    "SyncBackend",
    "alignment",
    "dma_map",
    "dma_unmap",
    "plan_map",
]
