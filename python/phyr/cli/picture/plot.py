"""PNG and SVG: the map, with addresses, a legend, and the sizes of chunks beside it."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from phyr.cli.picture.drawing import OUTSIDE, RAM, Drawing, explained
from phyr.cli.report import spell

__all__ = ["figure", "write"]

_DPI = 100
_MAP = 1024  # pixels of the longer side of the map, at least
_LEFT, _RIGHT, _TOP, _BOTTOM = 96, 620, 110, 76
_INK, _FAINT = "#222222", "#6A6A6A"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 13,
    "svg.fonttype": "none",
    # A name may have dollar signs.
    "text.parse_math": False,
    "svg.hashsalt": "phyr",
    "text.color": _INK,
    "axes.edgecolor": "#BBBBBB",
    "axes.labelcolor": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
}


def write(drawing: Drawing, path: Path) -> None:
    """Write a PNG or an SVG, by the end of the file's name."""
    with rc_context(_STYLE):
        made = figure(drawing)
        if path.suffix == ".svg":
            FigureCanvasSVG(made)
            about = {"Date": None, "Title": drawing.subject.title()}
            made.savefig(path, format="svg", metadata=about)
        else:
            FigureCanvasAgg(made)
            made.savefig(path, format="png", dpi=_DPI)


def figure(drawing: Drawing) -> Figure:
    """Lay it out; each cell takes the same whole number of pixels."""
    image = drawing.image()
    height, width, _ = image.shape
    scale = max(1, _MAP // max(height, width))
    wide, tall = width * scale, max(height * scale, 640)
    total = (_LEFT + wide + _RIGHT, _TOP + tall + _BOTTOM)
    made = Figure(figsize=(total[0] / _DPI, total[1] / _DPI), dpi=_DPI, facecolor="white")

    def axes(left: float, top: float, wide: float, tall: float) -> Any:  # noqa: ANN401 - as matplotlib has it
        return made.add_axes(
            (left / total[0], 1 - (top + tall) / total[1], wide / total[0], tall / total[1])
        )

    _map(axes(_LEFT, _TOP, wide, height * scale), drawing, image)
    legend = len(drawing.legend()) + 1 + bool(drawing.subject.ram)
    below = _TOP + 30 + 30 * legend + 70
    _legend(axes(_LEFT + wide + 40, _TOP, _RIGHT - 70, 30 + 30 * legend), drawing)
    _sizes(axes(_LEFT + wide + 150, below, _RIGHT - 270, _TOP + tall - below), drawing)
    made.text(
        _LEFT / total[0], 1 - 46 / total[1], drawing.subject.title(), fontsize=22, weight="bold"
    )
    made.text(_LEFT / total[0], 1 - 80 / total[1], drawing.subject.caption(), color=_FAINT)
    made.text(_LEFT / total[0], 26 / total[1], explained(drawing.frame), color=_FAINT, fontsize=12)
    return made


def _map(axes: Any, drawing: Drawing, image: Any) -> None:  # noqa: ANN401
    height, width, _ = image.shape
    axes.set_gid("map")
    axes.imshow(
        image, interpolation="nearest", aspect="auto", extent=(0, width, height, 0), gid="cells"
    )
    frame = drawing.frame
    if frame.layout == "rows":
        row, step = frame.side << frame.cell_lg2, 1 << frame.cell_lg2
        while step * 10 < frame.end - frame.start:
            step *= 2
        marks = range(-(-frame.start // step) * step, frame.end, step)
        axes.set_yticks([(mark - frame.start) / row for mark in marks], map(spell, marks))
        axes.set_xticks([])
        return
    axes.set_xticks([])
    axes.set_yticks([])
    # Where each sixteenth of the curve starts.
    x, y = frame.places()
    part = max(frame.side // 4, 1)
    for number in range(0, frame.nr_cells, part * part):
        left, top = int(x[number]) // part * part, int(y[number]) // part * part
        edges = Rectangle((left, top), part, part, fill=False, edgecolor="#8C8C8C", linewidth=0.8)
        axes.add_patch(edges)
        axes.text(
            left + part * 0.03,
            top + part * 0.03,
            spell(frame.start + (number << frame.cell_lg2)),
            va="top",
            fontsize=11,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5},
        )
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _legend(axes: Any, drawing: Drawing) -> None:  # noqa: ANN401
    axes.set_gid("legend")
    axes.axis("off")
    patches = [
        Patch(color=layer.colour, label=f"{layer.name}  {spell(size)}")
        for layer, size in drawing.legend()
    ]
    patches.append(Patch(facecolor=RAM, edgecolor="#BBBBBB", label="memory of others, or free"))
    if drawing.subject.ram:
        patches.append(
            Patch(facecolor=OUTSIDE, edgecolor="#BBBBBB", label="no memory at these addresses")
        )
    axes.legend(
        handles=patches,
        loc="upper left",
        frameon=False,
        title=f"by {drawing.painter.title}",
        alignment="left",
        title_fontproperties={"weight": "bold", "size": 14},
        borderaxespad=0,
        borderpad=0,
        handlelength=1.2,
        handleheight=1.2,
    )


def _sizes(axes: Any, drawing: Drawing) -> None:  # noqa: ANN401
    axes.set_gid("sizes")
    bins = drawing.bins()
    places = range(len(bins))
    left = np.zeros(len(bins))
    for layer, row in zip(drawing.painter.layers, drawing.tally.sizes, strict=True):
        sizes = row[: len(bins)]
        if sizes.any():
            axes.barh(places, sizes, left=left, color=layer.colour, height=0.8)
            left += sizes
    for place, size in zip(places, left, strict=True):
        if size:
            axes.text(
                size + left.max() * 0.02,
                place,
                spell(int(size)),
                va="center",
                fontsize=11,
                color=_FAINT,
            )
    axes.set_yticks(places, [spell(1 << lg2) for lg2 in bins])
    axes.set_ylim(-0.6, len(bins) - 0.4)
    axes.set_xlim(0, left.max() * 1.2)
    axes.set_xticks([])
    title = "by size of chunk"
    axes.set_title(title, fontsize=14, weight="bold", loc="left", x=-0.317, pad=12)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
