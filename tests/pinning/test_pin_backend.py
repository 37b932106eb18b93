"""Pinning with a backend that maps."""

import pytest

import phyr
from phyr.iommu import Prot
from support.live import PAGE, shown
from support.pages import frames, private, where
from support.pins import FakeBackend, check

pytest_plugins = ["support.pins"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


@shown
@pytest.mark.parametrize(
    ("own", "asked", "method"),
    [
        ("vfio", None, "vfio"),
        ("iommufd", None, "iommufd"),
        ("iommufd", "iommufd", "iommufd"),
        (None, "iommufd", "iommufd"),
        (None, None, "vfio"),
    ],
)
def test_a_backend_pins_by_mapping_whole_pages_once(
    own: str | None, asked: str | None, method: str
) -> None:
    backend = FakeBackend()
    backend.method = own  # type: ignore[assignment]
    buffer = bytearray(3 * PAGE)
    buffer[:] = b"x" * len(buffer)
    uaddr, length = where(buffer)
    with phyr.pin(buffer, backend=backend, method=asked) as pinned:
        check(pinned, buffer)
        assert pinned.method == method
        start = uaddr - uaddr % PAGE
        pages = len(frames(uaddr, length)) * PAGE
        assert list(backend.mapped.values()) == [(start, pages, Prot.READ | Prot.WRITE)]
    assert backend.mapped == {}
    pinned.unpin()


@shown
def test_a_backend_is_undone_where_page_numbers_cannot_be_read() -> None:
    backend = FakeBackend()
    with pytest.raises(phyr.RangeError, match="not there"):
        phyr.pin(private(PAGE), backend=backend)  # which it does not make present
    assert backend.mapped == {}

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt(done, total)

    with pytest.raises(KeyboardInterrupt, match=f"{PAGE}, {PAGE}"):
        phyr.pin(private(PAGE), backend=backend, progress=stop)
    assert backend.mapped == {}


@pytest.mark.parametrize(("own", "method"), [("vfio", "iommufd"), ("vfio", "mlock"), (7, None)])
def test_method_and_backend_must_go_together(own: str, method: str | None) -> None:
    backend = FakeBackend()
    backend.method = own
    with pytest.raises(phyr.MismatchError, match="does not go with a backend"):
        phyr.pin(bytearray(1), method=method, backend=backend)
    with pytest.raises(phyr.MismatchError, match="needs a backend"):
        phyr.pin(bytearray(1), method="vfio")
    with pytest.raises(phyr.RangeError, match="'hope' is none of io_uring") as caught:
        phyr.pin(bytearray(1), method="hope")
    assert caught.value.method == "hope"
