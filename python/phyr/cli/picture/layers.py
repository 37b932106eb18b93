"""The colours of a picture: by VMA, by size of block, by NUMA node, or by what changed.

Qualitative colours are those of Okabe and Ito, sizes those of viridis: both can be told apart by
colour-blind people, and the second in grey print, too.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from phyr.cli.escape import escaped
from phyr.cli.nodes import Nodes
from phyr.cli.picture.curve import Array
from phyr.cli.picture.pieces import FATES, Pieces
from phyr.cli.report import Row

__all__ = ["OTHERS", "Layer", "Painter", "by_change", "by_node", "by_order", "by_vma"]

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
OTHERS = "#4A4A4A"
_VIRIDIS = ("#440154", "#3B528B", "#21918C", "#5EC962", "#DDE318")
_SIZES = ("4 KiB", "8 to 32 KiB", "64 KiB to 1 MiB", "2 to 512 MiB", "1 GiB and more")
_ORDERS = (0, 1, 4, 9, 18)
_FATE_COLOURS = ("#B8B8B8", "#0072B2", "#56B4E9", "#E69F00", "#D55E00")


class Layer(NamedTuple):
    """Memory of one colour."""

    name: str
    colour: str
    """``#RRGGBB``."""


class Painter(NamedTuple):
    """A way to colour."""

    title: str
    layers: Sequence[Layer]
    paint: Callable[[Pieces], Iterator[Pieces]]
    """Gives pieces their layers, and cuts them where these differ."""
    quiet: int | None = None
    """A layer that shows only where there is no other."""


def _mapped(layers: Array) -> Callable[[Pieces], Iterator[Pieces]]:
    def paint(pieces: Pieces) -> Iterator[Pieces]:
        yield pieces._replace(layer=layers[pieces.vma])

    return paint


def _title(row: Row) -> str:
    name = row.vma.name
    if name and not name.startswith("["):
        return escaped(name.rpartition("/")[2] or name)
    return f"{escaped(name) or 'anonymous'} at {row.vma.start:#x}"


def by_vma(rows: Sequence[Row]) -> Painter:
    """Colour the largest VMAs; those of one file, side by side or not, count as one."""
    keys = [row.vma.name if row.vma.inode else str(row.vma.start) for row in rows]
    sizes: dict[str, int] = {}
    for key, row in zip(keys, rows, strict=True):
        sizes[key] = sizes.get(key, 0) + row.resident.ram
    ranked = [key for key in sorted(sizes, key=lambda key: -sizes[key]) if sizes[key]]
    top = {key: number for number, key in enumerate(ranked[: len(OKABE_ITO)])}
    titles = {key: _title(row) for key, row in zip(reversed(keys), reversed(rows), strict=True)}
    layers = [Layer(titles[key], OKABE_ITO[number]) for key, number in top.items()]
    rest = len(ranked) - len(top)
    layers.append(Layer(f"{rest} smaller ones" if rest else "no other", OTHERS))
    numbers = np.array([top.get(key, len(top)) for key in keys] or [0], dtype=np.int32)
    return Painter("VMA", layers, _mapped(numbers))


def _inner(pieces: Pieces, order: int) -> tuple[Array, Array]:
    """Give the first byte, and the last one, of the aligned blocks of an order in each piece.

    If a piece has none, both are its last byte.
    """
    mask = np.uint64((4096 << order) - 1)
    last = pieces.paddr + (pieces.length - np.uint64(1))
    low = (pieces.paddr + mask) & ~mask
    # Not `(last + 1) & ~mask`: an end may be 2^64.
    high = np.where(last & mask == mask, last, (last & ~mask) - np.uint64(1))
    none = (low > last) | (low < pieces.paddr) | (high > last) | (high < low)
    return np.where(none, last, low), np.where(none, last, high)


def _between(pieces: Pieces, layer: int, low: Array, high: Array, keep: Array) -> Pieces:
    """Make pieces of both ends, inclusive."""
    made = pieces._replace(
        paddr=low, length=high - low + np.uint64(1), layer=np.full(len(low), layer, np.int32)
    )
    return made.pick(keep)


def _split_by_order(pieces: Pieces) -> Iterator[Pieces]:
    """Cut chunks into the parts whose largest aligned blocks are of each class, from inside out."""
    single = pieces.length <= 4096  # noqa: PLR2004 - a page
    yield pieces._replace(layer=np.zeros_like(pieces.vma)).pick(single)
    pieces = pieces.pick(~single)
    last = pieces.paddr + (pieces.length - np.uint64(1))
    before: tuple[Array, Array] | None = None
    for layer in range(len(_ORDERS) - 1, 0, -1):
        low, high = _inner(pieces, _ORDERS[layer])
        some = low < high
        if before is None:
            yield _between(pieces, layer, low, high, some)
            before = low, high
            continue
        had = before[0] < before[1]
        yield _between(pieces, layer, low, high, some & ~had)
        yield _between(pieces, layer, low, before[0] - np.uint64(1), some & had & (low < before[0]))
        yield _between(
            pieces, layer, before[1] + np.uint64(1), high, some & had & (high > before[1])
        )
        before = np.where(some, low, before[0]), np.where(some, high, before[1])
    assert before is not None  # noqa: S101 - there are several classes
    low, high = before
    had = low < high
    yield _between(pieces, 0, pieces.paddr, last, ~had)
    yield _between(pieces, 0, pieces.paddr, low - np.uint64(1), had & (pieces.paddr < low))
    yield _between(pieces, 0, high + np.uint64(1), last, had & (high < last))


def by_order() -> Painter:
    """Colour by the size of the aligned block that memory lies in."""
    layers = [Layer(name, colour) for name, colour in zip(_SIZES, _VIRIDIS, strict=True)]
    return Painter("size of aligned block", layers, _split_by_order)


def by_node(nodes: Nodes) -> Painter:
    """Colour by NUMA node."""
    ranges = nodes.joined()
    known = sorted({node for _, _, node in ranges})
    colours = [OKABE_ITO[number % len(OKABE_ITO)] for number in range(len(known))]
    layers = [Layer(f"node {node}", colour) for node, colour in zip(known, colours, strict=True)]
    layers.append(Layer("no node", OTHERS))
    spans = [(start, end, known.index(node)) for start, end, node in ranges]
    starts = [0, *(end for _, end, _ in ranges)]
    ends = [*(start for start, _, _ in ranges), 1 << 64]
    gaps = [(*span, len(known)) for span in zip(starts, ends, strict=True) if span[0] < span[1]]

    def paint(pieces: Pieces) -> Iterator[Pieces]:
        last = pieces.paddr + (pieces.length - np.uint64(1))
        for start, end, layer in (*spans, *gaps):
            low = np.maximum(pieces.paddr, np.uint64(start))
            high = np.minimum(last, np.uint64(end - 1))
            yield _between(pieces, layer, low, high, low <= high)

    return Painter("NUMA node", layers, paint)


def by_change() -> Painter:
    """Colour by what changed between two looks: pieces have their layer."""
    layers = [Layer(name, colour) for name, colour in zip(FATES, _FATE_COLOURS, strict=True)]

    def paint(pieces: Pieces) -> Iterator[Pieces]:
        yield pieces

    return Painter("what changed", layers, paint, 0)
