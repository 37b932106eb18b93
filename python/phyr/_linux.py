"""Modules that Windows cannot load import this one first, which says so. Other systems load all."""

import sys

if sys.platform == "win32":  # pragma: no cover - tests/house/test_platforms.py, in another process
    raise ImportError(
        "phyr.pagemap, phyr.pci, phyr.vfio, phyr.iommufd and pins need Linux, and this is Windows"
    )
