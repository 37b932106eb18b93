"""The total below the tables of the command line, and histograms."""

from phyr._named import Iterator, Sequence
from phyr.cli.report import Total, blocks, shares, spell
from phyr.cli.styled import Styled

TYPE_CHECKING = False  # a name that type checkers know, as of `typing`
if TYPE_CHECKING:
    from phyr.pagemap.page_flags import Folio, Folios

__all__ = [
    "GAP",
    "areas",
    "folio_lines",
    "last_none",
    "node_name",
    "order_lines",
    "summary",
    "titled",
]

GAP = "  "
"""Between the columns of a table."""

_BAR = 30


def last_none(node: int | None) -> tuple[bool, int]:
    """Give the key that sorts NUMA nodes, with memory of no node last."""
    return node is None, node or 0


def node_name(node: int | None) -> str:
    """Name a NUMA node."""
    return "no node" if node is None else f"node {node}"


def summary(total: Total, vmas: Sequence[int], width: int) -> Iterator[Styled]:
    """Lay the total out.

    Args:
        total: The figures.
        vmas: Bytes of each VMA.
        width: Columns of the terminal.
    """
    states = [
        f"{spell(total.states[state])} {words}"
        for state, words in (
            ("ram", "resident"),
            ("device", "device memory"),
            ("zero", "zero pages"),
            ("swap", "swapped"),
        )
        if state == "ram" or total.states[state]
    ]
    yield ()
    yield from titled("total", [areas(vmas), *states], width)
    yield from titled("chunks", [f"{total.chunks:,}", f"largest {spell(total.largest)}"], width)
    yield from titled("blocks", [*blocks(total.buckets)], width)
    yield from titled("bytes", total.cost.spelt(total.chunks), width)
    if total.nodes is not None:
        nodes = sorted(total.nodes.items(), key=lambda item: last_none(item[0]))
        spelt = [f"{spell(length)} on {node_name(node)}" for node, length in nodes]
        yield from titled("nodes", spelt or ["none"], width)


def _bar(part: int, whole: int) -> str:
    """Draw a share of the whole.

    Examples:
        >>> _bar(1, 2), len(_bar(1, 1)), _bar(0, 0)
        ('███████████████', 30, '')
    """
    eighths = part * _BAR * 8 // whole if whole else 0
    rest = " ▏▎▍▌▋▊▉"[eighths % 8]
    return f"{'█' * (eighths // 8)}{rest}".rstrip()


def order_lines(orders: dict[int, int], granule: int) -> Iterator[str]:
    """Lay out a histogram: aligned blocks by size, and the memory in them."""
    sizes = {granule << order: count for order, count in orders.items()}
    whole = sum(size * count for size, count in sizes.items())
    yield ""
    yield f"{'block':>8}{GAP}{'blocks':>11}{GAP}{'memory':>10}{GAP}share"
    for size, count in sizes.items():
        (share,) = shares((size * count, whole - size * count))[:1]
        yield (
            f"{spell(size):>8}{GAP}{count:>11,}{GAP}{spell(size * count):>10}{GAP}"
            f"{share:>5}{GAP}{_bar(size * count, whole)}"
        ).rstrip()


_SHAPES = {"aligned": "whole", "unaligned": "whole, not aligned", "part": "part of a larger one"}


def _kind(folio: "Folio") -> str:
    """Name the large pages that a folio stands for."""
    reserve = "hugetlb " if folio.origin == "hugetlb" else ""
    size = f"{spell(folio.size)} " if folio.size else ""
    return f"{reserve}{size}{_SHAPES[folio.shape]}"


def folio_lines(folios: "Folios", pmd_mapped: tuple[int, int]) -> Iterator[str]:
    """Lay out large and single pages: what kind, how much, the share; and blocks asked for."""
    singles = (
        ("anon", folios.anon, "single pages"),
        ("file", folios.file, "single pages"),
        ("anon", folios.ksm, "single pages, merged by KSM"),
        ("-", folios.zero, "zero pages"),
        ("-", folios.device, "device memory"),
    )
    parts = [
        (folio.sort, folio.length, _kind(folio))
        for folio in sorted(folios.large, key=lambda f: (f.sort, f.origin, -f.size, f.shape))
    ] + [single for single in singles if single[1]]
    whole = sum(length for _, length, _ in parts)
    yield ""
    yield f"{'pages':>5}{GAP}{'memory':>10}{GAP}share{GAP}{'':{_BAR}}{GAP}of"
    for sort, length, what in parts:
        (share,) = shares((length, whole - length))[:1]
        bar = _bar(length, whole)
        yield f"{sort:>5}{GAP}{spell(length):>10}{GAP}{share:>5}{GAP}{bar:{_BAR}}{GAP}{what}"
    for sort, length in zip(("anon", "file"), pmd_mapped, strict=True):
        if length:
            yield f"{sort:>5}{GAP}{spell(length):>10}{GAP}of these are mapped as whole huge pages"
    if folios.shared:
        yield f"{'-':>5}{GAP}{spell(folios.shared):>10}{GAP}of these are mapped elsewhere, too"
    for size, anon, file in folios.blocks:
        yield (
            f"blocks of {spell(size)}, aligned, inside one large page: "
            f"anon {spell(anon)}, file {spell(file)}"
        )


def areas(lengths: Sequence[int]) -> str:
    """Return the number of these VMAs, and their bytes, as text."""
    return f"{len(lengths):,} VMA{'' if len(lengths) == 1 else 's'} of {spell(sum(lengths))}"


def titled(title: str, parts: Sequence[str], width: int) -> Iterator[Styled]:
    """Lay out parts beside a title, as many in a line as fit."""
    line = ""
    for part, comma in zip(parts, [*"," * (len(parts) - 1), ""], strict=True):
        if line and len(line) + len(part) + 10 > width:
            yield ((f"{title:8}", "bold"), (line, ""))
            title = line = ""
        line += f"{' ' if line else ''}{part}{comma}"
    yield ((f"{title:8}", "bold"), (line, ""))
