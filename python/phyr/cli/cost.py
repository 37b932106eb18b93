"""The cost of handing memory to a device, counted from the descriptors and plans themselves."""

from collections import Counter
from collections.abc import Callable, Iterable

from phyr import desc
from phyr._phyr import Phyr, alignment, plan_map
from phyr.cli.report import spell

__all__ = ["DEVICES", "VFIO_LIMIT", "figures", "on_huge_pages", "page_sizes"]

VFIO_LIMIT = 65535
"""Mappings that a VFIO container allows by default: ``dma_entry_limit`` of vfio_iommu_type1."""

_PAGE = 4 << 10
_HUGE = 2 << 20
_TABLE_LG2 = (21, 30, 39)
"""log2 of the bytes under one table of entries for 4 KiB, 2 MiB and 1 GiB."""
_NO_LIMIT = 1 << 40

Figures = dict[str, int]


def on_huge_pages(phyr: Phyr) -> Phyr:
    """Make a list as long as another, on 2 MiB pages of which no two lie side by side.

    Examples:
        >>> len(on_huge_pages(Phyr.from_chunks([(4096, 5 << 20)])).chunks)
        3
    """
    whole, rest = divmod(phyr.length, _HUGE)
    chunks = [(2 * number * _HUGE, _HUGE) for number in range(whole)]
    return Phyr.from_chunks(chunks + ([(2 * whole * _HUGE, rest)] if rest else []))


def _sg(phyr: Phyr, _uaddr: int, _sizes: int) -> Figures:
    table = desc.scatterlist(phyr, vmemmap=0)
    return {"scatterlist entries": table.nents, "bytes": table.nbytes}


def _nvme(phyr: Phyr, _uaddr: int, _sizes: int) -> Figures:
    # Anywhere will do for the lists: only their size counts.
    room = phyr.length // _PAGE // 511 + 2
    _, _, lists = desc.prp(phyr, Phyr.from_chunks([(1 << 50, room * _PAGE)]))
    pages = len(phyr.pages(_PAGE))
    return {
        "PRP entries": pages,
        "list bytes": lists.nbytes,
        "list pages": -(-lists.nbytes // _PAGE),
    }


def _rdma(phyr: Phyr, uaddr: int, sizes: int) -> Figures:
    size = desc.best_pgsize(phyr, sizes, uaddr) or _PAGE
    table = desc.page_list(phyr, size)
    return {f"entries of {spell(size)}": table.nents, "bytes": table.nbytes}


def _vfio(phyr: Phyr, uaddr: int, _sizes: int) -> Figures:
    plan = desc.vfio_maps(phyr, uaddr, max_requests=_NO_LIMIT)
    return {"requests into a window": 1, "requests at physical addresses": plan.nents}


def _iommufd(phyr: Phyr, uaddr: int, _sizes: int) -> Figures:
    plan = desc.ioas_maps(phyr, uaddr, ioas_id=0)
    return {"requests into a window": 1, "requests at physical addresses": plan.nents}


def _iommu(phyr: Phyr, _uaddr: int, sizes: int) -> Figures:
    """Count the entries and the tables of one linear window, where it is best put."""
    _, residue = alignment(phyr, sizes)
    plan = plan_map(phyr, (1 << 39) + residue, sizes)
    found: Counter[str] = Counter({"calls": len(plan)})
    tables: list[set[int]] = [set() for _ in _TABLE_LG2]
    for iova, _, pgsize, pgcount in plan:
        found[f"entries of {spell(pgsize)}"] += pgcount
        last = iova + pgsize * pgcount - 1
        for lg2, used in zip(_TABLE_LG2, tables, strict=True):
            if pgsize < 1 << lg2:
                used.update(range(iova >> lg2, (last >> lg2) + 1))
    # And the root.
    found["table pages"] = sum(map(len, tables)) + 1
    return dict(found)


DEVICES: dict[str, Callable[[Phyr, int, int], Figures]] = {
    "nvme": _nvme,
    "rdma": _rdma,
    "vfio": _vfio,
    "iommufd": _iommufd,
    "sg": _sg,
    "iommu": _iommu,
}


def figures(device: str, lists: Iterable[tuple[int, Phyr]], sizes: int) -> Figures:
    """Add up what lists take, each as one buffer.

    Args:
        device: A key of `DEVICES`.
        lists: User virtual address and list of each, none of them empty.
        sizes: Page sizes of the device as a bitmap, for ``rdma`` and ``iommu``.
    """
    total: Counter[str] = Counter()
    for uaddr, phyr in lists:
        total.update(DEVICES[device](phyr, uaddr, sizes))
    return dict(total)


def page_sizes(texts: Iterable[int | None]) -> int:
    """Make a bitmap of page sizes.

    Raises:
        ValueError: One is no power of two from 4 KiB to 1 GiB.

    Examples:
        >>> hex(page_sizes([4 << 10, 2 << 20]))
        '0x201000'
    """
    bitmap = 0
    for size in texts:
        if size is None or size & (size - 1) or not _PAGE <= size <= 1 << 30:
            raise ValueError("page sizes are powers of two from 4K to 1G, such as 4K,2M,1G")
        bitmap |= size
    return bitmap
