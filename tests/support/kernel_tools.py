"""Programs of the kernel's tools/mm, where they can be had: thpmaps, and page-types, which is C.

They are GPL and no part of phyr. They are taken from the files that PHYR_THPMAPS and
PHYR_PAGE_TYPES name, or, with PHYR_FETCH=1 on Debian, from the package of the kernel's source (some
150 MB, kept in the cache).
"""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

_PACKAGE = "linux-source-6.12"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "phyr-tests"
_FILES = {
    "tools/mm/thpmaps",
    "tools/mm/page-types.c",
    "include/uapi/linux/magic.h",
    "include/uapi/linux/kernel-page-flags.h",
}
# All that page-types takes of the kernel's own library, and only to mark pages as broken.
_LIBRARY = "static inline const char *debugfs__mount(void) { return 0; }\n"


def find(name: str) -> Path | None:
    """Find a program, ``thpmaps`` or ``page-types``, or get it if that is asked for."""
    named = os.environ.get(_variable(name), "/nonexistent")
    for path in (Path(named), _CACHE / name):
        if path.is_file():
            return path
    if os.environ.get("PHYR_FETCH") != "1":
        return None
    _fetch()
    return _CACHE / name


def missing(name: str) -> str:
    """Say how to get a program."""
    return f"no {name}: set {_variable(name)} to the file, or PHYR_FETCH=1 on Debian"


def _variable(name: str) -> str:
    """Return the variable that may name the file of a program."""
    return f"PHYR_{name.upper().replace('-', '_')}"


def _fetch() -> None:
    """Take both out of Debian's package of the kernel's source; compile what is C."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=_CACHE) as work:
        subprocess.run(["apt-get", "download", "-qq", _PACKAGE], cwd=work, check=True)  # noqa: S603, S607
        (package,) = Path(work).glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", package, work], check=True)  # noqa: S603, S607
        left = {f"{_PACKAGE}/{file}" for file in _FILES}
        with tarfile.open(Path(work, "usr/src", f"{_PACKAGE}.tar.xz"), "r|xz") as source:
            for member in source:
                if member.name in left:
                    text = source.extractfile(member)
                    assert text is not None
                    path = Path(work, member.name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(text.read())
                    left.remove(member.name)
                    if not left:
                        break
        tools = Path(work, _PACKAGE, "tools")
        header = tools / "lib/api/fs/fs.h"
        header.parent.mkdir(parents=True)
        header.write_text(_LIBRARY)
        made = tools / "page-types"
        program = str(tools / "mm/page-types.c")
        compiler = ["cc", "-O2", "-I", str(tools / "lib"), program, "-o", str(made)]
        subprocess.run(compiler, check=True)  # noqa: S603
        for path in (tools / "mm/thpmaps", made):
            shutil.copy(path, _CACHE)
