"""A process whose files the kernel refuses: it has no memory, or may not be looked into."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import phyr
from phyr.pagemap import proc
from phyr.pagemap.proc import Stat, process_errors, read_stat

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture
def zombie() -> Iterator[int]:
    with subprocess.Popen(["/bin/true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process.pid


def refuse(pid: int) -> None:
    """Be refused, as one who is not root is."""
    with process_errors(pid):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_zombie_has_none_whoever_asks(zombie: int) -> None:
    with pytest.raises(phyr.ProcessGoneError, match="has ended"):
        refuse(zombie)
    assert read_stat(zombie) == Stat("true", is_zombie=True, is_kernel_thread=False)


def test_a_kernel_thread_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "PROC", tmp_path)
    (tmp_path / "2").mkdir()
    (tmp_path / "2/stat").write_text("2 (a) (b) S 0 0 0 0 -1 2129984 0 0 0 0\n")
    assert read_stat(2) == Stat("a) (b", is_zombie=False, is_kernel_thread=True)
    with pytest.raises(phyr.ProcessGoneError, match="is a kernel thread"):
        refuse(2)


@pytest.mark.parametrize("pid", [os.getpid(), 1 << 30])
def test_others_may_not_be_looked_into(pid: int) -> None:
    with pytest.raises(phyr.HiddenPagesError, match="the right to trace it"):
        refuse(pid)
