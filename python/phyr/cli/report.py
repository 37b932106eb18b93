"""The figures of ``phyr map``: the memory of a process, and the cost of its lists."""

from phyr._named import Iterable, NamedTuple, Sequence
from phyr._phyr import Phyr, bio_vecs, scatterlist
from phyr.pagemap.page_flags import Folios
from phyr.pagemap.proc import Vma
from phyr.pagemap.process import Resident

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from typing import Any, Self

__all__ = [
    "BUCKETS",
    "STATES",
    "Cost",
    "Row",
    "Total",
    "blocks",
    "bucket_bytes",
    "shares",
    "spell",
]

STATES = ("ram", "device", "zero", "swap", "hole")

BUCKETS = (("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("2 MiB", 2 << 20), ("1 GiB", 1 << 30))
"""Classes of aligned blocks, and the smallest size of each in bytes."""


class Cost(NamedTuple):
    """Bytes of one list in three forms."""

    phyr: int
    """The list's storage; for a list without storage, its packed words."""
    bio_vec: int
    """An array of ``struct bio_vec``."""
    scatterlist: int
    """A ``struct sg_table``'s blocks, chained."""

    @classmethod
    def of(cls, phyr: Phyr) -> "Self":
        """Count the bytes of a list of RAM.

        Examples:
            One chunk of 64 GiB is one word, and 17 entries of at most 4 GiB less a page:

            >>> Cost.of(Phyr.from_chunks([(1 << 40, 64 << 30)]))
            Cost(phyr=8, bio_vec=272, scatterlist=544)
        """
        stats = phyr.stats()
        return cls(
            max(stats.storage, 8 * stats.nr_entries),
            # Where the kernel's page structures lie does not matter.
            bio_vecs(phyr, vmemmap=0).nbytes,
            scatterlist(phyr, vmemmap=0).nbytes,
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
    orders: dict[int, int]
    """Aligned blocks by order, as of `Phyr.orders`."""
    buckets: tuple[int, ...]
    """Bytes in aligned blocks of each class of `BUCKETS`."""
    cost: Cost
    folios: Folios | None = None
    """Large and single pages, if they were looked at."""
    nodes: dict[int | None, int] | None = None
    """Bytes by NUMA node, if asked for."""
    stretches: Sequence[tuple[int, Phyr]] = ()
    """Virtual start and list of each stretch of RAM, if asked for."""

    @classmethod
    def of(
        cls,
        vma: Vma,
        resident: Resident,
        folios: Folios | None = None,
        nodes: dict[int | None, int] | None = None,
        stretches: Sequence[tuple[int, Phyr]] = (),
    ) -> "Self":
        """Compute the figures of a VMA."""
        stats = resident.phyr.stats()
        orders = resident.phyr.orders()
        return cls(
            vma,
            resident,
            stats.nr_chunks,
            stats.largest,
            orders,
            _by_class(orders, resident.phyr.granule),
            Cost.of(resident.phyr),
            folios,
            nodes,
            stretches,
        )


class Total(NamedTuple):
    """All VMAs of a process together."""

    size: int
    """Bytes of virtual memory."""
    states: dict[str, int]
    """Bytes in each state."""
    chunks: int
    largest: int
    orders: dict[int, int]
    buckets: tuple[int, ...]
    cost: Cost
    folios: Folios | None
    nodes: dict[int | None, int] | None

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Self":
        """Add up rows. Each VMA keeps its own list."""
        rows = list(rows)
        orders: dict[int, int] = {}
        nodes: dict[int | None, int] = {}
        for row in rows:
            _add(orders, row.orders)
            _add(nodes, row.nodes or {})
        folios = [row.folios for row in rows if row.folios is not None]
        return cls(
            sum(row.vma.length for row in rows),
            dict(zip(STATES, _sums((row.resident[1:] for row in rows), STATES), strict=True)),
            sum(row.chunks for row in rows),
            max((row.largest for row in rows), default=0),
            dict(sorted(orders.items())),
            tuple(_sums((row.buckets for row in rows), BUCKETS)),
            Cost(*_sums((row.cost for row in rows), Cost._fields)),
            Folios.total(folios) if folios else None,
            nodes if any(row.nodes is not None for row in rows) else None,
        )


def _add(total: "dict[Any, int]", more: "dict[Any, int]") -> None:
    """Add counts up by key; `Counter` does it, but takes long to import."""
    for key, count in more.items():
        total[key] = total.get(key, 0) + count


def _sums(rows: Iterable[tuple[int, ...]], columns: Sequence[object]) -> list[int]:
    """Add numbers up by column."""
    return [sum(column) for column in zip([0] * len(columns), *rows, strict=True)]


def bucket_bytes(phyr: Phyr) -> tuple[int, ...]:
    """Count the bytes of a list that lie in aligned blocks of each class."""
    return _by_class(phyr.orders(), phyr.granule)


def _by_class(orders: dict[int, int], granule: int) -> tuple[int, ...]:
    found = [0] * len(BUCKETS)
    for order, blocks in orders.items():
        size = granule << order
        number = len(BUCKETS) - 1
        while number and size < BUCKETS[number][1]:
            number -= 1
        found[number] += blocks * size
    return tuple(found)


def shares(buckets: tuple[int, ...]) -> list[str]:
    """Return the share of each class in percent, as text; ``-`` for nothing at all.

    Examples:
        >>> shares((4096, 0, 2 << 20, 0))
        ['<1%', '-', '>99%', '-']
        >>> shares((0, 0, 2 << 20, 0))
        ['-', '-', '100%', '-']
    """
    whole = sum(buckets)
    return [_share(part, whole) for part in buckets]


def blocks(buckets: tuple[int, ...]) -> list[str]:
    """Return the shares of the classes that hold anything.

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
    """Return a number of bytes as text: exactly if that is short, else with one decimal.

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
