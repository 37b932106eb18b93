"""Backends that fail: nothing stays mapped, and the first failure is told."""

import gc
import weakref

import pytest

from phyr import MismatchError, Phyr
from phyr.iommu import BusOffset, Direct, Direction, DmaBackend, Paging, Prot, SyncBackend, dma_map
from support.agree import names
from support.machine import NoTablePageError, PageTable
from support.mappings import BOTH, Pin, scattered


def test_a_backend_that_returns_another_length_is_caught_and_unmapped() -> None:
    class Short:
        unmapped = 0

        def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
            return phyr[1:]

        def unmap(self, _dma: Phyr, _direction: Direction) -> None:
            self.unmapped += 1

    backend = Short()
    with pytest.raises(MismatchError) as caught:
        dma_map(scattered(), backend, BOTH)
    names(caught.value, scattered().length, scattered().length - 1)
    assert backend.unmapped == 1


def test_a_backend_that_fails_to_unmap_is_reported_and_the_owner_kept() -> None:
    class Stuck(Direct):
        def unmap(self, _dma: Phyr, _direction: Direction) -> None:
            raise OSError("stuck")

    pin = Pin()
    mapping = dma_map(scattered(), Stuck(), BOTH, owner=pin)
    with pytest.raises(OSError, match="stuck"):
        mapping.unmap()
    assert mapping.unmapped
    # A device may still reach the memory, so it stays where it is, whoever forgets about it.
    assert pin.mappings == 1
    kept = weakref.ref(pin)
    del mapping, pin
    gc.collect()
    assert kept() is not None


@pytest.mark.parametrize("shown", [ValueError, KeyboardInterrupt])
def test_a_failure_that_cannot_be_shown_hides_no_other(shown: type[BaseException]) -> None:
    class Odd(Exception):  # noqa: N818
        def __repr__(self) -> str:
            raise shown

    class Owner(Pin):
        def release(self) -> None:
            raise Odd

    with pytest.raises(NoTablePageError if shown is ValueError else KeyboardInterrupt):
        dma_map(scattered(), Paging(PageTable(fail_at=0)), BOTH, owner=Owner())


class Rude(Exception):  # noqa: N818 - what a backend may raise
    pass


class Failing:
    """A backend and an owner that fail wherever they are told to."""

    def __init__(self, *failing: str, made: object = None) -> None:
        self.failing = failing
        self.made = made
        self.calls: list[str] = []
        self.unmaps: list[object] = []

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if what in self.failing:
            raise Rude(what)

    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        self._do("map")
        return phyr if self.made is None else self.made  # type: ignore[return-value]

    def unmap(self, dma: Phyr, _direction: Direction) -> None:
        self.unmaps.append(dma)
        self._do("unmap")

    def hold(self) -> None:
        self._do("hold")

    def release(self) -> None:
        self._do("release")


def test_the_first_failure_is_raised_and_those_after_it_are_notes() -> None:
    failing = Failing("map", "release")
    with pytest.raises(Rude, match="map") as caught:
        dma_map(scattered(), failing, BOTH, owner=failing)
    assert caught.value.__notes__ == ["letting the owner go: Rude('release')"]
    assert failing.calls == ["hold", "map", "release"]

    failing = Failing("unmap", "release")
    mapping = dma_map(scattered(), failing, BOTH, owner=failing)
    with pytest.raises(Rude, match="unmap"):
        mapping.unmap()
    assert failing.calls == ["hold", "map", "unmap"]
    mapping.unmap()

    failing = Failing("release")
    mapping = dma_map(scattered(), Direct(), BOTH, owner=failing)
    with pytest.raises(Rude, match="release"):
        mapping.unmap()


@pytest.mark.parametrize("made", [[1], "no list", scattered()[1:]])
def test_whatever_a_backend_returns_that_is_no_mapping_is_unmapped(made: object) -> None:
    failing = Failing(made=made)
    with pytest.raises((TypeError, MismatchError)):
        dma_map(scattered(), failing, BOTH, owner=failing)
    assert failing.unmaps == [made]
    assert failing.unmaps[0] is made
    assert failing.calls == ["hold", "map", "unmap", "release"]

    failing = Failing("unmap", "release", made=made)
    with pytest.raises((TypeError, MismatchError)) as caught:
        dma_map(scattered(), failing, BOTH, owner=failing)
    assert caught.value.__notes__ == ["unmapping it again: Rude('unmap')"]
    # It may be mapped all the same.
    assert failing.calls == ["hold", "map", "unmap"]


def test_an_interrupt_while_cleaning_up_comes_before_the_failure() -> None:
    class Interrupted(Failing):
        def release(self) -> None:
            raise KeyboardInterrupt

    failing = Interrupted("map")
    with pytest.raises(KeyboardInterrupt) as caught:
        dma_map(scattered(), failing, BOTH, owner=failing)
    assert caught.value.__notes__ == ["letting the owner go: Rude('map')"]


def test_a_backend_that_is_interrupted_is_asked_once_more() -> None:
    class Interrupted(Failing):
        def unmap(self, dma: Phyr, direction: Direction) -> None:
            if not self.unmaps:
                self.unmaps.append(dma)
                raise KeyboardInterrupt
            super().unmap(dma, direction)

    failing = Interrupted("unmap")
    mapping = dma_map(scattered(), failing, BOTH, owner=failing)
    with pytest.raises(KeyboardInterrupt) as caught:
        mapping.unmap()
    assert caught.value.__notes__ == ["unmapping once more after the interrupt: Rude('unmap')"]
    assert len(failing.unmaps) == 2
    assert failing.calls == ["hold", "map", "unmap"]
    assert mapping.unmapped


@pytest.mark.parametrize("direction", ["to_device", 1, None])
def test_a_direction_is_one_of_three(direction: object) -> None:
    with pytest.raises(TypeError, match="Direction"):
        dma_map(scattered(), Direct(), direction)  # type: ignore[call-overload]


def test_a_backend_must_return_a_list() -> None:
    class Odd(Direct):
        def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
            return [phyr]  # type: ignore[return-value]

    with pytest.raises(TypeError):
        dma_map(scattered(), Odd(), BOTH)


def test_backends_without_a_copy_have_nothing_to_sync() -> None:
    with dma_map(scattered(), Direct(), BOTH) as mapping:
        mapping.sync_for_cpu()
        mapping.sync_for_device()


def test_protocols_know_their_backends() -> None:
    paging = Paging(PageTable())
    for backend in (Direct(), BusOffset(5), paging):
        assert isinstance(backend, DmaBackend)
    assert isinstance(paging, SyncBackend)
    assert not isinstance(Direct(), SyncBackend)
    assert not isinstance(PageTable(), DmaBackend)


@pytest.mark.parametrize("kind", ["ram", "mmio:3"])
@pytest.mark.parametrize("direction", list(Direction))
def test_protection_follows_direction_and_kind(direction: Direction, kind: str) -> None:
    table = PageTable()
    with dma_map(Phyr.from_pfns([1], kind=kind), Paging(table), direction):
        prot = table.calls[0][4]
    assert (Prot.READ in prot) == (direction is not Direction.FROM_DEVICE)
    assert (Prot.WRITE in prot) == (direction is not Direction.TO_DEVICE)
    assert (Prot.MMIO in prot) == (kind != "ram")


def test_a_mapping_dropped_by_an_error_does_not_hide_it() -> None:
    def never(*_: object) -> None:
        raise AssertionError

    for backend in (Direct(), BusOffset(1 << 40)):
        with (
            pytest.warns(ResourceWarning, match="never unmapped"),
            pytest.raises(ZeroDivisionError),
        ):
            never(dma_map(scattered(), backend, BOTH), 1 // 0)
