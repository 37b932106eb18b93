"""Descriptors and tables for devices and kernels, made from lists; and lists made from those.

Each function returns `Descriptors`, a bytes-like object in a format that ``numpy.asarray`` reads
field by field. All bytes are made at once, or ``fill`` writes them piece by piece to the caller's
memory. The argument is a list of physical memory, or the DMA list of a mapping.

``docs/descriptors.md`` says what each format can and cannot hold.

Examples:
    >>> from phyr import Phyr, desc
    >>> phyr = Phyr.from_pfns([512, 513, 7])
    >>> prp1, prp2, lists = desc.prp(phyr, Phyr.from_pfns([100]))
    >>> hex(prp1), hex(prp2), [hex(entry) for entry in memoryview(lists)]
    ('0x200000', '0x64000', ['0x201000', '0x7000'])
"""

import re
from collections.abc import Iterable

from phyr._arguments import items, pair, wrong
from phyr._phyr import (
    Builder,
    Descriptors,
    Phyr,
    best_pgsize,
    bio_vecs,
    dma_buf_vecs,
    from_bio_vecs,
    from_dma_buf_vecs,
    from_iovecs,
    from_kho_radix,
    from_kho_vmalloc,
    from_memfd_folios,
    from_phys_vecs,
    from_prp,
    from_scatterlist,
    from_sgl,
    ioas_maps,
    iovecs,
    kho_radix,
    kho_vmalloc,
    map_requests,
    memfd_folios,
    page_list,
    phys_vecs,
    prp,
    scatterlist,
    sgl,
    split,
    vfio_maps,
)
from phyr._records import KhoRadix, KhoVmalloc, Prp, Sgl
from phyr.errors import FormatError, HiddenPagesError, RangeError

__all__ = [
    "Descriptors",
    "KhoRadix",
    "KhoVmalloc",
    "Prp",
    "Sgl",
    "best_pgsize",
    "bio_vecs",
    "dma_buf_vecs",
    "from_bio_vecs",
    "from_dma_buf_vecs",
    "from_iomem",
    "from_iovecs",
    "from_kho_radix",
    "from_kho_vmalloc",
    "from_memfd_folios",
    "from_phys_vecs",
    "from_prp",
    "from_ranges",
    "from_scatterlist",
    "from_sgl",
    "ioas_maps",
    "iovecs",
    "kho_radix",
    "kho_vmalloc",
    "map_requests",
    "memfd_folios",
    "page_list",
    "phys_vecs",
    "prp",
    "scatterlist",
    "sgl",
    "split",
    "vfio_maps",
]

_SPACE = 2**64
_IOMEM_LINE = re.compile(r"\s*([0-9a-f]+)-([0-9a-f]+) : (.*)")


def from_ranges(
    ranges: Iterable[tuple[int, int]],
    *,
    inclusive: bool = True,
    granule: int = 4096,
    kind: str = "ram",
) -> Phyr:
    """Return the list of ranges given by their two ends, as debuggers and resource trees show them.

    Args:
        ranges: (start, last) in bytes; or (start, end), `end` excluded.
        inclusive: Whether the second number is the last byte, or one past it.
        granule: Unit of the list's inner boundaries in bytes.
        kind: ``"ram"``, ``"mmio"``, or ``"mmio:N"`` with the number of the provider.

    Raises:
        RangeError: A range ends before it starts, leaves the 64-bit space, or is all of it, which
            has one byte more than a list can hold.
        AlignmentError: A boundary inside the list is not a multiple of the granule.
        TypeError: `ranges` is no iterable, or an item of it is not a pair of ints.

    Examples:
        >>> from_ranges([(0x1000, 0x9_ffff), (0x10_0000, 0x1f_ffff)])
        Phyr(0x19f000 bytes, granule 4096, 2 chunks: 0x1000+0x9f000 0x100000+0x100000)
        >>> from_ranges([(0x1000, 0x3000)], inclusive=False).length
        8192
    """

    def chunk(start: int, last: int) -> tuple[int, int]:
        length = last - start + inclusive
        if length <= 0:
            why = "has no bytes"
        elif start < 0 or start + length > _SPACE:
            why = "leaves the 64-bit space"
        elif length == _SPACE:
            why = f"has {length:#x} bytes, one more than a list can hold"
        else:
            return start, length
        word = "last" if inclusive else "end"
        raise RangeError(f"range from {start:#x} to {word} {last:#x} {why}", start=start, last=last)

    pairs = (pair("a range", ends) for ends in items("ranges", ranges, "pairs of ints"))
    return Phyr.from_chunks((chunk(*ends) for ends in pairs), granule=granule, kind=kind)


def from_iomem(text: str, name: str = "System RAM", *, granule: int = 4096) -> Phyr:
    """Return the list of the ranges of one name in the text of ``/proc/iomem``.

    Nested ranges count like others: no name is both in a range and inside that range. Ends that lie
    inside a granule are moved inwards, since firmware draws such borders and no page can be used
    there; ranges without a whole granule are left out.

    Args:
        text: The file's text.
        name: The name that ends a line, or its start up to a space.
        granule: Page size in bytes.

    Raises:
        HiddenPagesError: All addresses read 0: the kernel hides them from this process.
        FormatError: A line is not of the file's form.
        TypeError: `text` or `name` is no text.

    Examples:
        >>> text = '''
        ... 00001000-0009fbff : System RAM
        ... 000a0000-000bffff : PCI Bus 0000:00
        ... 00100000-bfffffff : System RAM
        ...   01000000-01ffffff : Kernel code
        ... '''
        >>> from_iomem(text)
        Phyr(0xbff9e000 bytes, granule 4096, 2 chunks: 0x1000+0x9e000 0x100000+0xbff00000)

    Source:
        ``r_show()``, ``kernel/resource.c``, Linux.
    """
    for argument, value in (("text", text), ("name", name)):
        if not isinstance(value, str):
            raise wrong(argument, value, "a str")
    granule = Builder(granule).granule
    chunks = []
    hidden = False
    for line in filter(str.strip, text.splitlines()):
        match = _IOMEM_LINE.fullmatch(line.rstrip())
        if match is None:
            raise FormatError(f"{line!r} is not a line of /proc/iomem")
        if match[3] != name and not match[3].startswith(f"{name} "):
            continue
        start, last = int(match[1], 16), int(match[2], 16)
        hidden |= last == 0
        start = -(-start // granule) * granule
        length = (last + 1) // granule * granule - start
        if length > 0:
            chunks.append((start, length))
    if hidden and not chunks:
        raise HiddenPagesError(
            f"all {name} ranges read 0: the kernel shows them to CAP_SYS_ADMIN only"
        )
    return Phyr.from_chunks(chunks, granule=granule)
