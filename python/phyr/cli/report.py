"""The figures of ``phyr map``: what a process's memory is made of, and what lists of it cost."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple, Self, TypeAlias

from phyr._phyr import Phyr
from phyr.pagemap.proc import Vma
from phyr.pagemap.process import Resident

__all__ = [
    "BUCKETS",
    "STATES",
    "Cost",
    "Row",
    "Total",
    "as_json",
    "blocks",
    "bucket_bytes",
    "shares",
    "spell",
]

STATES = ("ram", "device", "zero", "swap", "hole")

BUCKETS = (("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("2 MiB", 2 << 20), ("1 GiB", 1 << 30))
"""Classes of aligned blocks, and the smallest size of each in bytes."""

_BIO_VEC = 16
_SCATTERLIST = 32
_SG_BLOCK = 128  # entries in a 4 KiB block, the last one the link to the next block

Json: TypeAlias = dict[str, object]


class Cost(NamedTuple):
    """Bytes of one and the same list in three forms."""

    phyr: int
    """Storage as it is, or the packed words where they need none beyond the object."""
    bio_vec: int
    """An array of ``struct bio_vec``."""
    scatterlist: int
    """A ``struct sg_table``'s blocks, chained."""

    @classmethod
    def of(cls, phyr: Phyr) -> Self:
        """Count the bytes of a list.

        Source:
            ``__sg_alloc_table()``, lib/scatterlist.c, Linux: blocks of 128, each but the last one
            giving an entry to the link.
        """
        stats = phyr.stats()
        chunks = stats.nr_chunks
        links = max(0, -(-(chunks - _SG_BLOCK) // (_SG_BLOCK - 1)))
        return cls(
            max(stats.storage, 8 * stats.nr_entries),
            _BIO_VEC * chunks,
            _SCATTERLIST * (chunks + links),
        )

    def spelt(self, chunks: int) -> list[str]:
        """Name the forms with their bytes, and how many times those of phyr they are.

        Examples:
            >>> Cost(800, 1600, 3200).spelt(100)
            ['phyr 800 (8.00 a chunk)', 'bio_vec 1,600 (2.0x)', 'scatterlist 3,200 (4.0x)']
        """
        if not chunks:
            return ["phyr 0", "bio_vec 0", "scatterlist 0"]
        others = (("bio_vec", self.bio_vec), ("scatterlist", self.scatterlist))
        return [
            f"phyr {self.phyr:,} ({self.phyr / chunks:.2f} a chunk)",
            *(f"{name} {size:,} ({size / self.phyr:.1f}x)" for name, size in others),
        ]


class Row(NamedTuple):
    """One VMA: its line of the table."""

    vma: Vma
    resident: Resident
    chunks: int
    largest: int
    """Bytes of the largest chunk."""
    buckets: tuple[int, ...]
    """Bytes in aligned blocks of each class of `BUCKETS`."""
    cost: Cost

    @classmethod
    def of(cls, vma: Vma, resident: Resident) -> Self:
        """Take the figures of a VMA."""
        stats = resident.phyr.stats()
        return cls(
            vma,
            resident,
            stats.nr_chunks,
            stats.largest,
            bucket_bytes(resident.phyr),
            Cost.of(resident.phyr),
        )


class Total(NamedTuple):
    """All VMAs of a process together."""

    size: int
    """Bytes of virtual memory."""
    states: dict[str, int]
    """Bytes in each state."""
    chunks: int
    largest: int
    buckets: tuple[int, ...]
    cost: Cost

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Self:
        """Add rows up; each VMA keeps its own list."""
        rows = list(rows)
        return cls(
            sum(row.vma.length for row in rows),
            {state: sum(getattr(row.resident, state) for row in rows) for state in STATES},
            sum(row.chunks for row in rows),
            max((row.largest for row in rows), default=0),
            tuple(sum(row.buckets[number] for row in rows) for number in range(len(BUCKETS))),
            Cost(*(sum(row.cost[number] for row in rows) for number in range(len(Cost._fields)))),
        )


def bucket_bytes(phyr: Phyr) -> tuple[int, ...]:
    """Count the bytes of a list that lie in aligned blocks of each class."""
    sizes = [smallest for _, smallest in BUCKETS]
    found = [0] * len(sizes)
    for order, blocks in phyr.orders().items():
        size = phyr.granule << order
        found[bisect_right(sizes, size) - 1] += blocks * size
    return tuple(found)


def shares(buckets: tuple[int, ...]) -> list[str]:
    """Spell how much of the memory each class holds, in percent; ``-`` for nothing at all.

    Examples:
        >>> shares((4096, 0, 2 << 20, 0))
        ['<1%', '-', '>99%', '-']
        >>> shares((0, 0, 2 << 20, 0))
        ['-', '-', '100%', '-']
    """
    whole = sum(buckets)
    return [_share(part, whole) for part in buckets]


def blocks(buckets: tuple[int, ...]) -> list[str]:
    """Spell the shares of the classes that hold anything.

    Examples:
        >>> blocks((4096, 0, 4096, 0))
        ['50% in 4 KiB', '50% in 2 MiB']
    """
    named = zip(shares(buckets), BUCKETS, strict=True)
    return [f"{share} in {name}" for share, (name, _) in named if share != "-"] or ["none"]


def _share(part: int, whole: int) -> str:
    if not part:
        return "-"
    percent = 100 * part / whole
    if percent < 1:
        return "<1%"
    return ">99%" if percent > 99 and part < whole else f"{percent:.0f}%"  # noqa: PLR2004 - percent


def spell(length: int) -> str:
    """Spell a number of bytes: exactly where that is short, else with one decimal.

    Examples:
        >>> [spell(length) for length in (0, 512, 8192, 1 << 20, 1_300_000, (1 << 30) - 1, 5 << 40)]
        ['0', '512 B', '8 KiB', '1 MiB', '1.2 MiB', '1.0 GiB', '5 TiB']
    """
    if not length:
        return "0"
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    number = min((length.bit_length() - 1) // 10, len(units) - 1)
    if length % (1 << 10 * number) and length / (1 << 10 * number) >= 1023.95:  # noqa: PLR2004
        number += 1  # or it would read 1024.0 of the smaller unit
    unit = 1 << 10 * number
    amount = f"{length // unit}" if length % unit == 0 else f"{length / unit:.1f}"
    return f"{amount} {units[number]}"


def as_json(pid: int | str, granule: int, rows: Iterable[Row], *, device_known: bool) -> Json:
    """Make the object that ``phyr map --json`` prints; all figures in bytes unless named otherwise.

    Addresses are plain numbers: page aligned, they survive readers that keep 53 bits.
    """
    rows = list(rows)
    total = Total.of(rows)
    return {
        "pid": pid,
        "granule": granule,
        "device_known": device_known,
        "vmas": [
            {
                **row.vma._asdict(),
                "size": row.vma.length,
                "states": {state: getattr(row.resident, state) for state in STATES},
                **_figures(row),
                "orders": {
                    str(order): count for order, count in row.resident.phyr.orders().items()
                },
            }
            for row in rows
        ],
        "total": {
            "size": total.size,
            "states": total.states,
            **_figures(total),
            "bio_vec_bytes": total.cost.bio_vec,
            "scatterlist_bytes": total.cost.scatterlist,
        },
    }


def _figures(row: Row | Total) -> Json:
    return {
        "chunks": row.chunks,
        "list_bytes": row.cost.phyr,
        "largest_chunk": row.largest,
        "buckets": {name: part for (name, _), part in zip(BUCKETS, row.buckets, strict=True)},
    }
