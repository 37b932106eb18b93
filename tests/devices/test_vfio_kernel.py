"""The kernel says its limits and why it refuses, and errors name both."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from termios import FIONREAD

import pytest

from phyr import LimitError, VfioError, pci
from phyr._devices.uapi import Request, ioctl, refused, tell, write_file
from phyr.iommu import Prot
from phyr.iommufd import Ioas
from phyr.vfio import Type1
from support.fake_vfio import FakeKernel
from support.vfio import BOTH, MAPPERS, ONE, PAGE, TWO, UADDR, Mapper, buffer_of, mapped

pytest_plugins = ["support.vfio"]


def test_type1_knows_ranges_page_sizes_and_the_limit(kernel: FakeKernel) -> None:
    kernel.limit = 3
    with Type1() as backend:
        assert (backend.pgsize_bitmap, backend.entry_limit) == (0, None)
        with backend.open(TWO):
            assert backend.ranges == kernel.ranges
            assert backend.pgsize_bitmap == 0x4020_1000
            backend.map(buffer_of(7), BOTH)
            kernel.add("0000:00:06.0", 6, "vfio-pci")
            backend.open("0000:00:06.0")
            assert backend.entry_limit == 3


def test_type1_without_capabilities_may_use_all(kernel: FakeKernel) -> None:
    kernel.caps = False
    with Type1() as backend, backend.open(TWO):
        assert backend.ranges == [(0, 2**64 - 1)]
        assert backend.entry_limit is None


def test_the_entry_limit_is_named(kernel: FakeKernel) -> None:
    kernel.limit = 2
    with Type1() as backend, backend.open(TWO):
        first, _ = [backend.map(buffer_of(pfn), BOTH) for pfn in (7, 9)]
        with pytest.raises(LimitError, match="no more than its 2 mappings") as caught:
            backend.map(buffer_of(11), BOTH)
        assert (caught.value.limit, caught.value.mapped) == (2, 2)
        backend.unmap(first, BOTH)
        assert backend.map(buffer_of(11), BOTH)[0] == first[0]


def test_ioas_asks_again_for_many_ranges(kernel: FakeKernel) -> None:
    kernel.ranges = [(at << 20, (at << 20) + 0xFFFF) for at in range(1, 40)]
    with Ioas() as backend, backend.open(TWO):
        assert backend.ranges == kernel.ranges


def test_ioas_maps_before_any_device(kernel: FakeKernel) -> None:
    with Ioas() as backend:
        dma = backend.map(buffer_of(7), BOTH)
        with backend.open(TWO):
            assert mapped(kernel) == [(dma[0], UADDR, PAGE, 3)]


def test_type1_maps_nothing_before_the_first_device(kernel: FakeKernel) -> None:
    with Type1() as backend, pytest.raises(VfioError, match="open a device first"):
        backend.map(buffer_of(7), BOTH)
    assert kernel.maps == {}


@MAPPERS
@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOMEM, "RLIMIT_MEMLOCK"), (errno.EFAULT, "can be pinned"), (errno.EEXIST, "exists")],
)
def test_a_refused_map_says_why_and_leaves_nothing(
    kernel: FakeKernel, make: Callable[[], Mapper], number: int, words: str
) -> None:
    with make() as backend, backend.open(TWO):
        kernel.fail_at, kernel.errno = kernel.calls + 1, number
        with pytest.raises(VfioError, match=words) as caught:
            backend.map(buffer_of(7), BOTH)
        assert (caught.value.errno, caught.value.uaddr) == (number, UADDR)
        assert caught.value.length == PAGE
        # Nor is the address lost.
        assert backend.map(buffer_of(7), BOTH)[0] == caught.value.iova


@MAPPERS
def test_an_address_that_cannot_be_unmapped_is_not_used_again(
    kernel: FakeKernel, make: Callable[[], Mapper]
) -> None:
    with make() as backend, backend.open(TWO):
        dma = backend.map(buffer_of(7), BOTH)
        kernel.fail_at = kernel.calls + 1
        with pytest.raises(VfioError, match="unmap: Input/output error"):
            backend.unmap(dma, BOTH)
        second = backend.map(buffer_of(7), BOTH)
        assert second[0] != dma[0]
        # Nor once the kernel was asked anew which addresses there are.
        backend.unmap(second, BOTH)
        kernel.add("0000:00:06.0", 6, "vfio-pci")
        with backend.open("0000:00:06.0"):
            assert backend.map(buffer_of(7), BOTH)[0] == second[0]


@MAPPERS
def test_a_mapping_of_others_is_left_as_it_is(
    kernel: FakeKernel, make: Callable[[], Mapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    with make() as backend, backend.open(TWO):
        iova = backend.map_user(UADDR, PAGE, Prot.READ)
        others = dict(kernel.maps)
        # As if a request by `backend.fd` had mapped it.
        with monkeypatch.context() as patch:
            patch.setattr(backend, "_undo", lambda _: None)
            backend.unmap_user(iova)
        for _ in range(2):
            with pytest.raises(VfioError, match="File exists"):
                backend.map_user(UADDR + PAGE, PAGE, Prot.READ)
        assert kernel.maps == others != {}


@MAPPERS
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT])
def test_what_an_interrupt_left_mapped_is_not_used_again(
    kernel: FakeKernel, make: Callable[[], Mapper], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with make() as backend, backend.open(TWO):
        iova = backend.map_user(UADDR, PAGE, Prot.READ)
        backend.unmap_user(iova)

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(backend, "_ask", interrupted)
            kernel.fail_at, kernel.errno = kernel.calls + 1, number
            with pytest.raises(KeyboardInterrupt):
                backend.map_user(UADDR, PAGE, Prot.READ)
        # Where the kernel says that nothing is mapped there, it is.
        assert (backend.map_user(UADDR, PAGE, Prot.READ) == iova) == (number == errno.ENOENT)


def test_an_error_without_a_number_is_still_one() -> None:
    error = refused(OSError("?"), "ask", lengths=(1, 2))
    assert str(error) == "[Errno 5] ask: Input/output error, lengths (1, 2)"
    assert error.errno == errno.EIO
    assert isinstance(error, OSError)
    assert os.strerror(error.errno) in str(error)


def test_a_request_reaches_the_kernel_and_its_reply_comes_back() -> None:
    read, write = os.pipe()
    try:
        os.write(write, b"mail")
        waiting = bytearray(4)
        assert ioctl(read, FIONREAD, waiting) == 0
        assert int.from_bytes(waiting, sys.byteorder) == 4
        with pytest.raises(VfioError, match="VFIO_DEVICE_RESET: Inappropriate ioctl"):
            tell(read, Request("VFIO_DEVICE_RESET", 0x3B6F))
    finally:
        os.close(read)
        os.close(write)


def test_a_file_of_sysfs_is_written(tmp_path: Path) -> None:
    write_file(tmp_path / "enable", "1")
    assert (tmp_path / "enable").read_text() == "1"


@pytest.mark.parametrize(
    ("iommu", "release", "is_enforced"),
    [
        ("dmar0", "5.10.0-8-amd64", False),
        ("dmar1", "6.12.43", False),
        ("dmar0", "6.13", None),
        ("dmar0", "7.2.9", None),
        ("dmar0", "7.3.4", True),
        ("dmar0", "8.0-rc1", True),
        ("dmar0", "unheard-of", None),
        ("ivhd0", "6.12.43", True),
        ("virtio1", "6.12.43", True),
        ("smmu3.0x09050000", "7.3.4", None),
        (None, "7.3.4", None),
    ],
)
def test_a_backend_says_if_devices_read_what_they_may_only_write(
    kernel: FakeKernel,
    monkeypatch: pytest.MonkeyPatch,
    iommu: str | None,
    release: str,
    is_enforced: bool | None,  # noqa: FBT001 - a case
) -> None:
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*real[:2], release, *real[3:])))
    for address, name in ((TWO, iommu), (ONE, "ivhd7")):
        if name:
            (kernel.sys / "devices" / address / "iommu").symlink_to(kernel.sys / name)
    with Ioas() as backend, pci.bound(ONE, "vfio-pci") as other:
        assert backend.enforces_write_only is None
        with backend.open(TWO):
            assert backend.enforces_write_only is is_enforced
        with backend.open(other):
            assert backend.enforces_write_only is is_enforced
