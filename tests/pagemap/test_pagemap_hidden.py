"""Page numbers that the kernel hides are an error, not zero pages."""

import errno
import mmap
import os
from pathlib import Path

import pytest

import phyr
from phyr import pagemap
from phyr.pagemap import zero
from support.live import PAGE, PRESENT, linux, python, shown
from support.pages import HUGE
from support.processes import START, synthetic


@linux
def test_a_hidden_page_number_is_an_error_that_says_what_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synthetic(monkeypatch, [PRESENT])
    with pytest.raises(phyr.HiddenPagesError, match="CAP_SYS_ADMIN") as caught:
        pagemap.read("self", START, PAGE)
    assert isinstance(caught.value, PermissionError)
    assert caught.value.errno == errno.EPERM
    assert caught.value.pid == "self"


@linux
def test_without_the_capability_the_kernel_hides_and_phyr_says_so() -> None:
    code = """
import phyr
from phyr import pagemap
assert pagemap.read("self", 0, 8192) == [(0, 8192, "hole", None)]
try:
    pagemap.of(b"here" * 1000)
except phyr.HiddenPagesError as error:
    print(error.errno, "CAP_SYS_ADMIN" in str(error))
"""
    done = python("-c", code, admin=False)
    assert (done.stdout, done.stderr) == ("1 True\n", "")


@linux
def test_a_process_that_may_not_be_looked_into_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refused(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr(os, "open", refused)
    for question in (pagemap.vmas, pagemap.Pagemap):
        with pytest.raises(phyr.HiddenPagesError, match="CAP_SYS_PTRACE") as caught:
            question(1)
        assert caught.value.errno == errno.EACCES
        assert caught.value.pid == 1


@linux
def test_hidden_numbers_make_no_zero_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero, "_page_number", lambda _file, _page: 0)
    assert zero.probe(PAGE) == ([], [])


@linux
def test_two_pages_that_differ_are_no_zero_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero, "_page_number", lambda _file, page: page)
    assert zero.probe(PAGE) == ([], [])


@linux
def test_no_huge_zero_page_is_looked_for_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zero, "THP", tmp_path)
    assert zero._huge_size() == []  # noqa: SLF001 - the kernel is not changed for a test
    (tmp_path / "use_zero_page").write_text("0\n")
    assert zero._huge_size() == []  # noqa: SLF001
    (tmp_path / "use_zero_page").write_text("1\n")
    (tmp_path / "hpage_pmd_size").write_text("2097152\n")
    assert zero._huge_size() == [HUGE]  # noqa: SLF001


class Unadvised(mmap.mmap):
    """Memory of a kernel without huge pages, which knows no advice on them."""

    def madvise(self, *_arguments: int) -> None:
        """Fail."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@shown
def test_the_zero_page_is_found_by_a_kernel_without_huge_pages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zero, "THP", tmp_path)
    (usual, *_), _ = zero.probe(PAGE)
    monkeypatch.setattr(mmap, "mmap", Unadvised)
    assert zero.probe(PAGE)[0] == [usual]
