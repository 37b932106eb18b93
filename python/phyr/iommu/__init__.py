"""DMA mapping: a list of physical memory in, the same structure of bus addresses out."""

from phyr._phyr import Plan, plan_map
from phyr.iommu.protocols import (
    BatchDomain,
    Direction,
    DmaBackend,
    IommuDomain,
    Memory,
    PagePool,
    Prot,
    SyncBackend,
)

__all__ = [
    "BatchDomain",
    "Direction",
    "DmaBackend",
    "IommuDomain",
    "Memory",
    "PagePool",
    "Plan",
    "Prot",
    "SyncBackend",
    "plan_map",
]
