"""The kernel's tools/mm/thpmaps, where it can be had: its figures are to be phyr's.

It is GPL and no part of phyr. It is taken from the file that PHYR_THPMAPS names, or, with
PHYR_FETCH=1 on Debian, from the package of the kernel's source (some 150 MB, kept in the cache).
"""

import os
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from phyr.pagemap import Folios

MISSING = "no thpmaps: set PHYR_THPMAPS to the file, or PHYR_FETCH=1 on Debian"

_PACKAGE = "linux-source-6.12"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "phyr-tests"


@cache
def find() -> Path | None:
    """Find the program, or get it if that is asked for."""
    for path in (Path(os.environ.get("PHYR_THPMAPS", "/nonexistent")), _CACHE / "thpmaps"):
        if path.is_file():
            return path
    return _fetch() if os.environ.get("PHYR_FETCH") == "1" else None


def _fetch() -> Path:
    """Take it out of Debian's package of the kernel's source."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=_CACHE) as work:
        subprocess.run(["apt-get", "download", "-qq", _PACKAGE], cwd=work, check=True)  # noqa: S603, S607
        (package,) = Path(work).glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", package, work], check=True)  # noqa: S603, S607
        with tarfile.open(Path(work, "usr/src", f"{_PACKAGE}.tar.xz"), "r|xz") as source:
            for member in source:
                if member.name.endswith("tools/mm/thpmaps"):
                    text = source.extractfile(member)
                    assert text is not None
                    (_CACHE / "thpmaps").write_bytes(text.read())
                    break
    return _CACHE / "thpmaps"


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
