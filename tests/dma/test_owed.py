"""The owner of a mapping after interrupts, panics, and a map that could not be undone."""

import gc
import sys
import weakref

import pytest

from phyr import (
    MappedError,
    NotMappedError,
    Phyr,
    PhyrError,
    RangeError,
    UnmappedError,
)
from phyr.iommu import Direct, Direction, Paging, dma_map
from support.machine import NoTablePageError, PageTable

BOTH = Direction.BIDIRECTIONAL


def scattered() -> Phyr:
    return Phyr.from_pages([0x9000, 0x3000, 0x5000])[0x123:]


class Pin:
    """An owner that counts the mappings it is held by."""

    mappings = 0

    def hold(self) -> None:
        self.mappings += 1

    def release(self) -> None:
        self.mappings -= 1


class Interrupted(Direct):
    """A backend whose `unmap` fails in one way the first time, in another from then on."""

    def __init__(self, first: BaseException, then: BaseException) -> None:
        self.failures = [first, then]

    def unmap(self, _dma: Phyr, _direction: Direction) -> None:
        raise self.failures.pop(0)


@pytest.mark.parametrize("first", [KeyboardInterrupt(), MemoryError()])
def test_only_not_mapped_says_that_an_interrupted_unmap_was_done(first: BaseException) -> None:
    pin = Pin()
    backend = Interrupted(first, NotMappedError("nothing is mapped here"))
    mapping = dma_map(scattered(), backend, BOTH, owner=pin)
    with pytest.raises(type(first)) as caught:
        mapping.unmap()
    assert pin.mappings == 0
    assert not hasattr(caught.value, "__notes__")

    for then in (
        RangeError("ring index 77"),
        MappedError("iova 0x1000 is mapped"),
        UnmappedError("closed"),
        ValueError("no"),
        KeyboardInterrupt(),
        MemoryError(),
        panic("poisoned"),
    ):
        pin = Pin()
        mapping = dma_map(scattered(), Interrupted(type(first)(), then), BOTH, owner=pin)
        with pytest.raises(BaseException, match=r".*") as caught:
            mapping.unmap()
        # The memory may still be reached, and both failures are told.
        assert pin.mappings == 1
        [note] = caught.value.__notes__
        assert note.startswith("unmapping once more after the interrupt: ")
        shown = {repr(caught.value), note.partition(": ")[2]}
        assert shown == {repr(type(first)()), repr(then)}


def test_a_domain_that_finds_nothing_mapped_does_not_speak_for_the_backend() -> None:
    class Forgetful(PageTable):
        """Interrupted once; then it says of one call that nothing is mapped, and unmaps nothing."""

        raises: tuple[BaseException, ...] = ()

        def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
            if self.raises:
                failure, *rest = self.raises
                self.raises = tuple(rest)
                raise failure
            super().unmap_pages(iova, pgsize, pgcount)

    table, pin = Forgetful(), Pin()
    paging = Paging(table)
    mapping = dma_map(scattered(), paging, BOTH, owner=pin)
    table.raises = (KeyboardInterrupt(), NotMappedError("iova 0x1000 is not mapped", iova=0x1000))
    with pytest.raises(KeyboardInterrupt) as caught:
        mapping.unmap()
    assert table.pages
    assert (pin.mappings, len(paging.iovas)) == (1, 1)
    assert any("found nothing mapped" in note for note in caught.value.__notes__)


# Panics


def panic(text: str, *, own: bool = False) -> BaseException:
    """Return a panic of some extension in Rust, or of phyr's own."""
    if not own:
        namespace = {"__module__": "pyo3_runtime"}
        foreign: type[BaseException] = type("PanicException", (BaseException,), namespace)
        return foreign(text)
    with pytest.raises(PhyrError):
        # So that the class is there.
        Phyr.from_chunks([(0, 0)])
    found = [kind for kind in BaseException.__subclasses__() if kind.__name__ == "PanicException"]
    return next(kind for kind in found if kind.__flags__ & 1 << 9)(text)


class Panicking(Direct):
    """A backend that panics where it is told to."""

    def __init__(self, where: str, *, own: bool) -> None:
        self.where, self.own, self.calls = where, own, 0

    def map(self, phyr: Phyr, _direction: Direction) -> Phyr:
        self.meet("map")
        return phyr[1:] if self.where == "unmap it again" else phyr

    def unmap(self, _dma: Phyr, _direction: Direction) -> None:
        self.calls += 1
        self.meet("unmap")
        self.meet("unmap it again")

    def meet(self, where: str) -> None:
        if where == self.where:
            raise panic(where, own=self.own)


@pytest.mark.parametrize("own", [False, True])
def test_a_panic_in_map_lets_the_owner_go_and_one_in_unmap_keeps_it(*, own: bool) -> None:
    pin = Pin()
    with pytest.raises(BaseException, match="map") as caught:
        dma_map(scattered(), Panicking("map", own=own), BOTH, owner=pin)
    assert type(caught.value).__name__ == "PanicException"
    assert pin.mappings == 0

    for where in ("unmap", "unmap it again"):
        pin, backend = Pin(), Panicking(where, own=own)
        with pytest.raises(BaseException, match=r".*") as caught:
            dma_map(scattered(), backend, BOTH, owner=pin).unmap()
        told = repr(caught.value) + repr(getattr(caught.value, "__notes__", []))
        assert f"PanicException('{where}')" in told
        # Nobody looked into it, nor asks again.
        assert (pin.mappings, backend.calls) == (1, 1)
        kept = weakref.ref(pin)
        del pin, caught, backend
        gc.collect()
        assert kept() is not None


@pytest.mark.parametrize("own", [False, True])
def test_a_panic_of_the_owner_hides_nothing(*, own: bool) -> None:
    class Owner(Pin):
        def release(self) -> None:
            super().release()
            raise panic("release", own=own)

    pin = Owner()
    with pytest.raises(NoTablePageError) as caught:
        dma_map(scattered(), Paging(PageTable(fail_at=0)), BOTH, owner=pin)
    assert "letting the owner go: PanicException('release')" in caught.value.__notes__
    assert pin.mappings == 0


@pytest.mark.parametrize("own", [False, True])
def test_a_mapping_that_is_dropped_keeps_the_owner_if_its_backend_panics(
    monkeypatch: pytest.MonkeyPatch, *, own: bool
) -> None:
    pin = Pin()
    mapping = dma_map(scattered(), Panicking("unmap", own=own), BOTH, owner=pin)
    seen: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(repr(args.exc_value)))
    with pytest.warns(ResourceWarning):
        del mapping
    assert (pin.mappings, seen) == (1, ["PanicException('unmap')"])


def test_a_backend_may_say_that_it_could_not_undo() -> None:
    class Says(Direct):
        def map(self, _phyr: Phyr, _direction: Direction) -> Phyr:
            raise PhyrError("half of it", still_mapped=said)

    class BadError(Exception):
        @property
        def still_mapped(self) -> bool:
            raise panic("no answer", own=True)

    class Bad(Direct):
        def map(self, _phyr: Phyr, _direction: Direction) -> Phyr:
            raise BadError

    for said in (True, False):
        pin = Pin()
        with pytest.raises(PhyrError, match="half"):
            dma_map(scattered(), Says(), BOTH, owner=pin)
        assert pin.mappings == said
    pin = Pin()
    with pytest.raises(BadError):
        dma_map(scattered(), Bad(), BOTH, owner=pin)
    assert pin.mappings == 1
