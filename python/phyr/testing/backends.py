"""The rules of backends, each as a check."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TypeVar

from phyr._phyr import Phyr
from phyr.errors import IovaSpaceError, NotMappedError
from phyr.iommu import Direction, DmaBackend, Mapping, dma_map
from phyr.testing.conformance import ConformanceError, check_maker, expect, positions_of

_B = TypeVar("_B", bound=DmaBackend)


def _samples(kind: str = "ram") -> list[Phyr]:
    """Return lists of many shapes below 8 MiB, among them an empty one and one of one byte."""
    pages = [0x9000, 0xA000, 0x3000, 0x20_0000, 0x40_0000, 0x6000]
    scattered = Phyr.from_pages(pages, kind=kind)
    return [
        Phyr.from_pages([], kind=kind),
        Phyr.from_chunks([(0x7123, 1)], kind=kind),
        scattered,
        scattered[0x10:0x4321],
        Phyr.from_chunks([(0x5000, 0x1000), (0x20_0000, 0x21_0000)], kind=kind),
        Phyr.from_chunks([(0x7E00, 0x200), (0xB000, 0x400)], granule=512, kind=kind),
    ]


_Translate = Callable[[_B, int], int | None]


def _mapped(
    phyr: Phyr, backend: _B, direction: Direction = Direction.BIDIRECTIONAL
) -> Mapping | None:
    """Return a mapping; None if the backend has no addresses left, because it may have few."""
    try:
        return dma_map(phyr, backend, direction)
    except IovaSpaceError:
        expect(len(phyr) > 1, f"there is no room for {phyr!r}")
        return None


def _reaches(backend: _B, reach: _Translate[_B], mapping: Mapping, when: str) -> None:
    """Check the bytes that the device sees through a mapping."""
    phyr = mapping.phyr
    for position in positions_of(phyr):
        found = reach(backend, mapping.dma[position])
        expect(found == phyr[position], f"byte {position:#x} of {phyr!r} is at {found}, {when}")


def shapes_agree(make: Callable[[], _B], _reach: _Translate[_B]) -> None:
    """A mapping has the length, the granule and the kind of its list."""
    for phyr in _samples():
        mapping = _mapped(phyr, make(), Direction.TO_DEVICE)
        if mapping:
            with mapping:
                _has_shape(mapping)


def _has_shape(mapping: Mapping) -> None:
    phyr, dma = mapping.phyr, mapping.dma
    for name in ("length", "granule", "kind"):
        here, there = getattr(phyr, name), getattr(dma, name)
        expect(here == there, f"{phyr!r} became {dma!r}, of another {name}")
    dma.validate()


def the_device_reaches_every_byte(make: Callable[[], _B], reach: _Translate[_B]) -> None:
    """At each bus address the device sees the byte of the list, in every direction."""
    for phyr in _samples():
        for direction in Direction:
            backend = make()
            mapping = _mapped(phyr, backend, direction)
            if mapping:
                with mapping:
                    _reaches(backend, reach, mapping, f"mapped {direction.name}")


def syncing_changes_no_address(make: Callable[[], _B], reach: _Translate[_B]) -> None:
    """Between map and unmap, copies can be updated any number of times."""
    for phyr in _samples():
        for direction in Direction:
            backend = make()
            mapping = _mapped(phyr, backend, direction)
            if mapping:
                with mapping:
                    before = mapping.dma
                    for sync in 2 * (mapping.sync_for_device, mapping.sync_for_cpu):
                        sync()
                    expect(mapping.dma == before, f"{before!r} became {mapping.dma!r}")
                    _reaches(backend, reach, mapping, "synced")


def mappings_do_not_disturb_each_other(make: Callable[[], _B], reach: _Translate[_B]) -> None:
    """Many lists can be mapped at the same time, also one list twice."""
    backend = make()
    with ExitStack() as stack:
        mappings = []
        for phyr in 2 * _samples():
            # As many as there are addresses for.
            with suppress(IovaSpaceError):
                mapping = dma_map(phyr, backend, Direction.BIDIRECTIONAL)
                mappings.append(stack.enter_context(mapping))
        # Every second one is unmapped first.
        for mapping in mappings[1::2] + mappings[::2]:
            for other in mappings:
                if not other.unmapped:
                    _reaches(backend, reach, other, "beside others")
            mapping.unmap()


def what_is_unmapped_is_gone(make: Callable[[], _B], reach: _Translate[_B]) -> None:
    """After a list is unmapped, it cannot be reached any better than through a new backend."""
    for phyr in _samples():
        backend, new = make(), make()
        mapping = _mapped(phyr, backend)
        if mapping:
            with mapping:
                dma_addrs = [mapping.dma[position] for position in positions_of(phyr)]
            for dma_addr in dma_addrs:
                found, wanted = reach(backend, dma_addr), reach(new, dma_addr)
                expect(
                    found == wanted,
                    f"{dma_addr:#x}, unmapped from {phyr!r}, still leads to {found}",
                )


def what_is_unmapped_is_given_back(make: Callable[[], _B], _reach: _Translate[_B]) -> None:
    """A list can be mapped any number of times, one after the other."""
    backend = make()
    for turn in range(1000):
        try:
            dma_map(_samples()[1], backend, Direction.FROM_DEVICE).unmap()
        except Exception as failure:
            sentence = f"one byte can be mapped {turn} times, not once more"
            raise ConformanceError(sentence) from failure


def unmapping_again_is_not_mapped(make: Callable[[], _B], _reach: _Translate[_B]) -> None:
    """The second of two calls that unmap a list returns, or raises `NotMappedError`."""
    for phyr in _samples():
        backend = make()
        try:
            dma = backend.map(phyr, Direction.FROM_DEVICE)
        except IovaSpaceError:
            continue
        backend.unmap(dma, Direction.FROM_DEVICE)
        try:
            with suppress(NotMappedError):
                backend.unmap(dma, Direction.FROM_DEVICE)
        except Exception as failure:
            raise ConformanceError(f"unmapping {phyr!r} again says: {failure!r}") from failure


def lists_of_mmio_are_mapped_or_refused(make: Callable[[], _B], reach: _Translate[_B]) -> None:
    """A device's own memory is reached directly or not at all, and never through a copy."""
    for phyr in _samples("mmio:5"):
        backend = make()
        try:
            mapping = dma_map(phyr, backend, Direction.BIDIRECTIONAL)
        except Exception:  # noqa: BLE001, S112 - a refusal is an answer, whatever it is
            continue
        with mapping:
            _has_shape(mapping)
            _reaches(backend, reach, mapping, "a device's own")


BACKEND_CHECKS = (
    shapes_agree,
    the_device_reaches_every_byte,
    syncing_changes_no_address,
    mappings_do_not_disturb_each_other,
    what_is_unmapped_is_gone,
    what_is_unmapped_is_given_back,
    unmapping_again_is_not_mapped,
    lists_of_mmio_are_mapped_or_refused,
)


def check_backend(make: Callable[[], _B], reach: Callable[[_B, int], int | None]) -> None:
    """Run all checks of a backend.

    Args:
        make: Returns a new backend, with nothing mapped. With a small aperture the checks find
            quickly whether addresses are not freed.
        reach: A function of that backend and a bus address. It returns the physical address whose
            byte the device sees there; for a byte of a copy, that of the original.

    Raises:
        ConformanceError: The backend breaks a rule.
        TypeError: `make` is no function, such as a backend.

    Examples:
        >>> from phyr.iommu import BusOffset
        >>> check_backend(lambda: BusOffset(1 << 32), lambda _, dma_addr: dma_addr - (1 << 32))
    """
    check_maker(make, "a backend")
    for check in BACKEND_CHECKS:
        check(make, reach)
