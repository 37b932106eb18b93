"""The map in a terminal: two cells a character, one above the other, as half blocks."""

from collections.abc import Iterator
from itertools import zip_longest

from rich.color import Color
from rich.style import Style
from rich.text import Text

from phyr.cli.picture.curve import Array
from phyr.cli.picture.drawing import Drawing, colours_of, explained
from phyr.cli.report import spell

__all__ = ["half_blocks", "lines", "side_for"]

_BAR = 16  # columns of the longest bar
_BESIDE = 44  # columns of the text beside the map
_WORDS = 5  # lines above and below


def side_for(columns: int, rows: int) -> int:
    """Give the cells along a side, a power of two, that leave room for the text beside the map.

    Examples:
        >>> side_for(80, 24), side_for(200, 70), side_for(5, 5)
        (32, 128, 8)
    """
    side = 8
    while 2 * side + _BESIDE <= columns and side <= rows - _WORDS:
        side *= 2
    return side


def half_blocks(image: Array) -> Iterator[Text]:
    """Draw an image of rows, columns and colours: a line for each pair of rows."""
    height, width, _ = image.shape
    for row in range(0, height, 2):
        line = Text()
        for column in range(width):
            upper = Color.from_rgb(*map(int, image[row, column]))
            if row + 1 < height:
                lower = Color.from_rgb(*map(int, image[row + 1, column]))
                line.append("▀", Style(color=upper, bgcolor=lower))
            else:
                line.append("▀", Style(color=upper))
        yield line


def _beside(drawing: Drawing) -> Iterator[Text]:
    """Give the lines beside the map: the legend, and the sizes of chunks."""
    yield Text(f"by {drawing.painter.title}", "bold")
    for layer, size in drawing.legend():
        ink = Style(color=Color.from_rgb(*colours_of(layer.colour)))
        yield Text.assemble(("██ ", ink), f"{spell(size):>10}  {layer.name}")
    yield Text()
    yield Text("by size of chunk", "bold")
    sums = drawing.tally.sizes.sum(axis=0)
    for place, lg2 in enumerate(drawing.bins()):
        bar = "█" * -int(-_BAR * sums[place] // sums.max())
        yield Text(f"{spell(1 << lg2):>8}  {spell(int(sums[place])):>10}  {bar}".rstrip())


def lines(drawing: Drawing) -> Iterator[Text]:
    """Lay out the title, the map and what is beside it, and how to read it."""
    yield Text(drawing.subject.title(), "bold")
    yield Text(drawing.subject.caption())
    rows = list(half_blocks(drawing.image()))
    blank = Text(" " * len(rows[0]))
    for row, beside in zip_longest(rows, _beside(drawing)):
        yield Text.assemble(row or blank, "  ", beside or "")
    yield Text(explained(drawing.frame))
