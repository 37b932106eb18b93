"""The kernel's tools/mm/thpmaps, where it can be had: its figures are to be phyr's."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from phyr.pagemap import Folios
from support import kernel_tools

MISSING = kernel_tools.missing("thpmaps")


@cache
def find() -> Path | None:
    """Find the program, or get it if that is asked for."""
    return kernel_tools.find("thpmaps")


def run(*arguments: str) -> str:
    """Run it, and give what it prints."""
    program = find()
    assert program is not None
    return subprocess.run(  # noqa: S603 - asked for
        [sys.executable, program, *arguments], capture_output=True, text=True, check=True
    ).stdout


def named(found: Folios, pmd: dict[int, tuple[int, int]]) -> dict[str, int]:
    """Give phyr's figures by the names of thpmaps, those above 0."""
    figures: dict[str, int] = {}
    mapped = {"anon": 0, "file": 0}
    for anon, file in pmd.values():
        mapped["anon"] += anon
        mapped["file"] += file
    for folio in found.large:
        # It names none of 8 KiB.
        if folio.origin == "thp" and folio.size != 8 << 10:
            name = f"{folio.sort}-thp-pte-partial"
            if folio.shape != "part":
                name = f"{folio.sort}-thp-pte-{folio.shape}-{folio.size >> 10}kB"
            figures[name] = figures.get(name, 0) + folio.length
    for sort, length in mapped.items():
        figures[f"{sort}-thp-pmd-aligned-2048kB"] = length
        figures[f"{sort}-thp-pte-aligned-2048kB"] = (
            figures.get(f"{sort}-thp-pte-aligned-2048kB", 0) - length
        )
    for size, *both in found.blocks:
        for sort, length in zip(mapped, both, strict=True):
            figures[f"{sort}-cont-pmd-aligned-{size >> 10}kB"] = mapped[sort]
            figures[f"{sort}-cont-pte-aligned-{size >> 10}kB"] = length - mapped[sort]
    return {name: length for name, length in figures.items() if length}
