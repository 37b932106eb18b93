"""Systems without page maps say so; RAM and areas are read from those that have them."""

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import phyr
from phyr import pagemap
from phyr._phyr import Loan
from phyr.pagemap import proc
from support.live import PAGE, linux, python

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_system_without_page_maps_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(proc, "PROC", tmp_path)
    questions: list[Callable[[], object]] = [
        pagemap.vmas,
        pagemap.Pagemap,
        lambda: pagemap.of(b"1"),
        lambda: pagemap.read("self", 0, 1),
    ]
    for question in questions:
        with pytest.raises(phyr.PhyrError, match="Linux"):
            question()


def test_the_module_imports_where_the_system_has_none_of_it() -> None:
    code = """
import sys, os
sys.modules["fcntl"] = None
for name in ("preadv", "pread", "sysconf", "O_DIRECTORY"):
    if hasattr(os, name):
        delattr(os, name)
import phyr.pagemap
"""
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_ram_is_read_from_iomem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proc, "PROC", tmp_path)
    iomem = tmp_path / "iomem"
    assert proc.ram_ranges() is None
    iomem.write_text("00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n")
    assert proc.ram_ranges() is None
    iomem.write_text("00001000-0009ffff : Reserved\n")
    assert proc.ram_ranges() is None
    iomem.write_text(
        "00001000-0009fbff : System RAM\n"
        "000f0000-000fffff : System ROM\n"
        "00100000-bfffffff : System RAM\n"
        "  01000000-02209987 : Kernel code : odd\n"
        "c0000000-cfffffff : System RAM\n"
        "100000000-1ffffffff : Persistent Memory\n"
        "  140000000-17fffffff : dax0.0\n"
        "    140000000-17fffffff : System RAM (kmem)\n"
        "      150000000-15fffffff : System RAM\n"
    )
    assert proc.ram_ranges() == [
        (0x1000, 0x9FBFF),
        (0x10_0000, 0xCFFF_FFFF),
        (0x1_4000_0000, 0x1_7FFF_FFFF),
    ]


@linux
def test_vmas_have_the_names_of_their_files(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/a  b\n\xff "
    with open(path, "w+b") as file:  # noqa: PTH123 - a Path would have to be decoded
        file.truncate(3 * PAGE)
        with mmap.mmap(file.fileno(), PAGE, offset=2 * PAGE) as area, Loan(area) as (uaddr, _):
            (vma,) = [vma for vma in pagemap.vmas() if vma.start <= uaddr < vma.end]
        stat = os.fstat(file.fileno())
    assert vma.name == os.fsdecode(path.replace(b"\n", b"\\012"))
    assert (vma.start, vma.end, vma.length) == (uaddr, uaddr + PAGE, PAGE)
    assert (vma.perms, vma.offset, vma.inode) == ("rw-s", 2 * PAGE, stat.st_ino)
    assert vma.device == f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}"


@linux
def test_anonymous_vmas_have_no_name() -> None:
    names = {vma.name for vma in pagemap.vmas()}
    assert {"", "[stack]"} <= names
    assert pagemap.vmas("self")[0].offset == 0
