"""One HTML page that holds a picture and all it needs, to zoom and to point at cells."""

import base64
import html
import json
import zlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from phyr.cli.escape import escaped
from phyr.cli.picture.curve import Frame
from phyr.cli.picture.drawing import (
    OUTSIDE,
    PALEST,
    RAM,
    Drawing,
    Subject,
    cells_of,
    drawn,
    explained,
    owners_of,
)
from phyr.cli.picture.layers import Painter
from phyr.cli.report import Row

__all__ = ["page", "write_page"]

_NONE = 255


def write_page(subject: Subject, painters: Sequence[Painter], frame: Frame, path: Path) -> None:
    """Write the page to a file."""
    path.write_text(page(subject, painters, frame), encoding="utf-8")


def page(subject: Subject, painters: Sequence[Painter], frame: Frame) -> str:
    """Make the page; the first painter's colours show first."""
    drawings = [drawn(subject, painter, frame) for painter in painters]
    owners = owners_of(subject, frame)
    shown = [drawing.tally.shown(drawing.painter.quiet) for drawing in drawings]
    # A cell with a single page shows something.
    share = np.ceil(shown[0][1] * 255)
    columns = [
        np.maximum(owners.vmas(), 0).astype("<u4"),
        owners.orders,
        share.astype(np.uint8),
        *(np.where(layer < 0, _NONE, layer).astype(np.uint8) for layer, _ in shown),
    ]
    cells = zlib.compress(b"".join(column.tobytes() for column in columns), 6)
    # No tag ends inside a string.
    told = json.dumps(_told(subject, drawings, frame)).replace("<", "\\u003c")
    here = files("phyr.cli.picture")
    parts = {
        "@TITLE@": html.escape(subject.title()),
        "@SCRIPT@": (here / "page.js").read_text(encoding="utf-8"),
        "@TOLD@": told,
        "@CELLS@": base64.b64encode(cells).decode(),
    }
    made = (here / "page.html").read_text(encoding="utf-8")
    for mark, text in parts.items():
        made = made.replace(mark, text, 1)
    return made


def _told(subject: Subject, drawings: Sequence[Drawing], frame: Frame) -> dict[str, object]:
    bins = drawings[0].bins()
    return {
        "title": subject.title(),
        "caption": subject.caption(),
        "explained": explained(frame),
        "start": frame.start,
        "cell_lg2": frame.cell_lg2,
        "side": frame.side,
        "layout": frame.layout,
        "nr_cells": frame.nr_cells,
        "palest": PALEST,
        "colours": {"ram": RAM, "outside": OUTSIDE},
        "ram": None if not subject.ram else cells_of(subject.ram, frame),
        "bins": list(bins),
        "vmas": [_name(row) for row in subject.saved.process.rows],
        "paintings": [
            {
                "title": drawing.painter.title,
                "layers": [
                    {**layer._asdict(), "bytes": sum(sizes), "sizes": sizes}
                    for layer, sizes in zip(
                        drawing.painter.layers,
                        drawing.tally.sizes[:, : len(bins)].astype(int).tolist(),
                        strict=True,
                    )
                ],
            }
            for drawing in drawings
        ],
    }


def _name(row: Row) -> str:
    vma = row.vma
    return f"{escaped(vma.name) or 'anonymous'} {vma.start:#x}+{vma.length:#x} {vma.perms}"
