"""Pins through a backend where the kernel hides page numbers, as from ordinary users."""

import pytest

import phyr
from phyr.iommu import Direction, Prot, dma_map
from phyr.pinning import pinned as module
from support.live import PAGE, shown
from support.pages import private, where
from support.pins import FakeBackend

pytest_plugins = ["support.pins"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


def hide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the page map look as to a process without capabilities."""

    def hidden(uaddr: int, length: int) -> None:
        raise phyr.HiddenPagesError(f"hidden: {uaddr:#x}+{length:#x}")

    monkeypatch.setattr(module, "own_pages", hidden)


def test_a_pin_through_a_backend_needs_no_page_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch)
    backend, buffer = FakeBackend(), private(3 * PAGE)
    uaddr, _ = where(buffer)
    with phyr.pin((uaddr + 8, 2 * PAGE), backend=backend) as pinned:
        assert list(backend.mapped.values()) == [(uaddr, 3 * PAGE, Prot.READ | Prot.WRITE)]
        (iova,) = backend.mapped
        assert [tuple(chunk) for chunk in pinned.dma.chunks] == [(iova + 8, 2 * PAGE)]
        assert (pinned.uaddr, pinned.length, pinned.method) == (uaddr + 8, 2 * PAGE, "iommufd")
        with pytest.raises(phyr.HiddenPagesError, match=r"hidden: 0x\w+008\+0x2000"):
            pinned.moved()
    assert backend.mapped == {}
    with pytest.raises(phyr.PinError, match="no longer pinned"):
        assert pinned.dma


def test_without_a_backend_hidden_pages_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch)
    with pytest.raises(phyr.HiddenPagesError):
        phyr.pin(private(PAGE))


def test_a_cache_of_pins_needs_page_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch)
    backend, buffer = FakeBackend(), private(PAGE)
    with phyr.PinCache(backend=backend) as cache:
        # The second time as the first.
        for _ in range(2):
            with pytest.raises(phyr.HiddenPagesError, match="by which a PinCache notices freed"):
                cache.pin(buffer)
            assert backend.mapped == {}


@shown
def test_a_pin_through_a_backend_has_both_lists() -> None:
    backend, buffer = FakeBackend(), private(2 * PAGE)
    buffer[:] = b"x" * len(buffer)
    with phyr.pin(buffer, backend=backend) as pinned:
        assert pinned.dma.length == pinned.phyr.length == len(buffer)
        assert pinned.dma[0] in backend.mapped
    with phyr.pin(bytearray(), backend=backend) as pinned:
        assert not pinned.dma
        assert backend.mapped == {}


@shown
def test_a_pin_for_no_device_has_no_addresses_for_one() -> None:
    with (
        phyr.pin(private(PAGE), method="mlock") as pinned,
        pytest.raises(phyr.MismatchError, match="pinned by mlock, for no device") as caught,
    ):
        assert pinned.dma
    assert caught.value.method == "mlock"


# `dma_map` of a buffer.


class ByAddress:
    """A backend that maps buffers, and says which."""

    def map(self, phyr: phyr.Phyr, direction: Direction) -> phyr.Phyr:
        del direction
        return phyr

    def unmap(self, dma: phyr.Phyr, direction: Direction) -> None:
        """Do nothing."""

    def map_buffer(self, buffer: object, direction: Direction) -> tuple[object, Direction]:
        return buffer, direction


def test_a_buffer_is_mapped_by_its_address_where_the_backend_can() -> None:
    backend, buffer = ByAddress(), bytearray(1)
    for each in (buffer, (1 << 20, 7)):
        made = dma_map(each, backend, Direction.TO_DEVICE)
        assert made[0] is each
        assert made[1] is Direction.TO_DEVICE


def test_a_buffer_is_no_list_for_other_backends() -> None:
    for backend, owner in ((phyr.iommu.Direct(), None), (ByAddress(), object())):
        with pytest.raises(TypeError, match="'bytearray'> is not a list of memory"):
            dma_map(bytearray(1), backend, Direction.TO_DEVICE, owner=owner)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="direction is of"):
        dma_map(bytearray(1), ByAddress(), 1)  # type: ignore[call-overload]
