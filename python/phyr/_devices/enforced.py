"""The permissions that an IOMMU is known to enforce."""

import os
import re

from phyr._devices import uapi
from phyr.pci.function import Function

__all__ = ["enforces_write_only"]

# Seen in guests: an Intel IOMMU lets devices read whatever they may write under Linux 6.12, whose
# driver sets the bit for reading in every entry, and no longer under 7.3.
_READS_UP_TO = (6, 12)
_NONE_FROM = (7, 3)


def enforces_write_only(function: Function) -> bool | None:
    """Return true if the function's IOMMU keeps it from reading what it may only write.

    False if it is known not to; None if it is not known of this IOMMU and kernel.

    Source:
        ``__domain_mapping()``, drivers/iommu/intel/iommu.c, Linux 6.12: ``DMA_FL_PTE_PRESENT`` is
        the bit that the other format has for reading.
    """
    name = uapi.linked(function.path / "iommu") or ""
    if name.startswith(("ivhd", "virtio")):
        return True
    numbers = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if not name.startswith("dmar") or numbers is None:
        return None
    kernel = int(numbers[1]), int(numbers[2])
    if kernel <= _READS_UP_TO:
        return False
    return True if kernel >= _NONE_FROM else None
