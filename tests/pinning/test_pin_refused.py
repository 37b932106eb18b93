"""Buffers and addresses that cannot be pinned are named, and nothing stays behind."""

import errno
import mmap
import subprocess
from pathlib import Path

import numpy as np
import pytest

import phyr
from phyr import PinError, pagemap
from phyr.pinning import reasons
from support.live import PAGE, shown, uring
from support.pages import private, where

pytest_plugins = ["support.pins"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


@pytest.mark.parametrize(
    "given_",
    [b"constant", memoryview(b"constant"), np.broadcast_to(np.zeros(1), 1)],
)
def test_a_read_only_buffer_is_refused(given_: object) -> None:
    with pytest.raises(phyr.ArrayError, match="is read-only"):
        phyr.pin(given_)


def test_what_is_no_memory_is_refused() -> None:
    with pytest.raises(phyr.ArrayTypeError, match="has no buffer"):
        phyr.pin(7)
    with pytest.raises(phyr.ArrayTypeError, match="a tuple of 3"):
        phyr.pin((1, 2, 3))
    with pytest.raises(TypeError):
        phyr.pin((1, "2"))
    with pytest.raises(phyr.ArrayError, match="not contiguous"):
        phyr.pin(np.zeros(9)[::2])
    for uaddr, length in ((-1, 5), (5, -1), (1 << 64, 1), ((1 << 64) - 5, 6)):
        with pytest.raises(phyr.RangeError, match="is outside 64 bits") as caught:
            phyr.pin((uaddr, length))
        assert (caught.value.uaddr, caught.value.length) == (uaddr, length)


def test_a_buffer_that_lends_nothing_any_more_says_why() -> None:
    area, view = mmap.mmap(-1, PAGE), memoryview(bytearray(PAGE))
    area.close()
    view.release()
    with pytest.raises(ValueError, match="mmap closed"):
        phyr.pin(area)
    with pytest.raises(ValueError, match="released memoryview"):
        phyr.pin(view)


def test_why_a_buffer_is_not_lent_is_told() -> None:
    lender = pytest.importorskip("_testbuffer")
    whole = lender.ndarray([0] * 8, shape=[8], format="B", flags=lender.ND_WRITABLE)
    bare = lender.ndarray(whole, getbuf=lender.PyBUF_SIMPLE)
    with pytest.raises(phyr.ArrayError, match="does not lend its memory: BufferError: re-exporter"):
        phyr.pin(bare)


@uring
@pytest.mark.parametrize("method", ["io_uring", "mlock"])
@pytest.mark.parametrize("top", [1 << 48, 1 << 64])
def test_an_address_that_is_not_mapped_is_named(method: str, top: int) -> None:
    area = private(4 * PAGE)
    uaddr, _ = where(area)
    area.close()
    for start in (uaddr, top - PAGE):
        with pytest.raises(PinError, match=f"{start:#x} is not mapped") as caught:
            phyr.pin((start, PAGE), method=method)
        assert caught.value.uaddr == start
        assert caught.value.errno in {errno.EFAULT, errno.ENOMEM, errno.EOVERFLOW, errno.EINVAL}


@shown
@uring
def test_read_only_memory_is_named_and_mlock_takes_it() -> None:
    area = mmap.mmap(-1, PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
    uaddr, length = where(area)
    with pytest.raises(PinError, match=f"{uaddr:#x} is read-only memory \\(r--p ") as caught:
        phyr.pin((uaddr, length))
    assert caught.value.errno == errno.EFAULT


@uring
def test_memory_of_a_file_on_a_disk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(2 * PAGE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as area:
        mounted = subprocess.run(  # noqa: S603 - a tool of the system
            ["/usr/bin/stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True
        )
        if mounted.stdout.strip() == "tmpfs":
            pytest.skip("temporary files are in memory here")
        with pytest.raises(PinError, match=f"is memory of the file {path}") as caught:
            phyr.pin(area)
    assert caught.value.errno in {errno.EFAULT, errno.EOPNOTSUPP}


def test_files_that_only_lie_in_memory_are_told_from_those_on_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(
        "22 1 254:1 / / rw - ext4 /dev/vda rw\n23 22 0:21 / /run rw shared:5 - tmpfs tmpfs rw\n"
    )
    monkeypatch.setattr(reasons, "PROC", tmp_path)

    def on_disk(perms: str, device: str, inode: int) -> bool:
        vma = pagemap.Vma(0, PAGE, perms, 0, device, inode, "/x")
        return reasons._is_on_disk(vma)  # noqa: SLF001

    assert on_disk("rw-s", "fe:01", 9)
    assert not on_disk("rw-p", "fe:01", 9)
    assert not on_disk("rw-s", "fe:01", 0)
    assert not on_disk("rw-s", "00:15", 9)
    assert not on_disk("rw-s", "00:01", 9)
