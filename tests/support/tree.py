"""The files of this project, without those that programs made."""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Folders of built things. Another program may write there, or unmount, while a test looks on.
MADE = {"target", "dist", "__pycache__"}


def files(top: Path = ROOT, suffix: str | None = None) -> Iterator[Path]:
    """Yield the files below `top`, or those with a suffix; without built and hidden folders."""
    for folder, below, names in os.walk(top):
        below[:] = sorted(name for name in below if name not in MADE and name[0] != ".")
        for name in sorted(names):
            if suffix is None or Path(name).suffix == suffix:
                yield Path(folder, name)
