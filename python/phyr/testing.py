"""Checks for backends and domains of your own, with or without a test framework.

Each check is a function that raises `ConformanceError`, an `AssertionError`, with a sentence about
what is wrong. `check_domain` and `check_backend` run all of them.

Examples:
    >>> check_domain(TableDomain)
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from random import Random
from typing import TypeVar

from phyr._phyr import Phyr, plan_map
from phyr.errors import IovaSpaceError, MappedError, NotMappedError, PhyrError
from phyr.iommu import Direction, DmaBackend, IommuDomain, Mapping, Paging, Prot, dma_map

__all__ = [
    "BACKEND_CHECKS",
    "DOMAIN_CHECKS",
    "ConformanceError",
    "TableDomain",
    "check_backend",
    "check_domain",
]

_B = TypeVar("_B", bound=DmaBackend)


class ConformanceError(PhyrError, AssertionError):
    """A backend or a domain breaks a rule."""


class TableDomain:
    """A domain made of a dict of smallest pages: slow, simple, and right.

    Args:
        pgsize_bitmap: Supported page sizes.
        aperture: First and last address.
        reserved: Ranges that must not be used.
    """

    def __init__(
        self,
        pgsize_bitmap: int = 1 << 12 | 1 << 21 | 1 << 30,
        aperture: tuple[int, int] = (0, 2**48 - 1),
        reserved: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """Begin with nothing mapped."""
        self.pgsize_bitmap = pgsize_bitmap
        self.aperture = aperture
        self.reserved = reserved
        # Address of each page to (address it maps to, size, protection).
        self.table: dict[int, tuple[int, int, Prot]] = {}

    def map_pages(self, iova: int, paddr: int, pgsize: int, pgcount: int, prot: Prot) -> None:
        """Map pages that are all inside the aperture and not mapped yet."""
        last = iova + pgsize * pgcount - 1
        if iova < self.aperture[0] or last > self.aperture[1]:
            raise ValueError(f"{iova:#x} to {last:#x} is outside the aperture")
        if self.iova_to_phys(iova) is not None or any(
            iova <= page <= last for page in list(self.table)
        ):
            raise MappedError(f"something in {iova:#x} to {last:#x} is mapped already", iova=iova)
        for at in range(0, pgsize * pgcount, pgsize):
            self.table[iova + at] = (paddr + at, pgsize, prot)

    def unmap_pages(self, iova: int, pgsize: int, pgcount: int) -> None:
        """Unmap pages of exactly this size."""
        pages = range(iova, iova + pgsize * pgcount, pgsize)
        for page in pages:
            if self.table.get(page, (0, 0, 0))[1] != pgsize:
                if self.iova_to_phys(page) is not None:
                    raise MappedError(f"a page at {page:#x} is not of {pgsize:#x} bytes", iova=page)
                raise NotMappedError(f"nothing is mapped at {page:#x}", iova=page)
        for page in pages:
            del self.table[page]

    def iova_to_phys(self, iova: int) -> int | None:
        """Look up each page size."""
        for lg2 in range(self.pgsize_bitmap.bit_length()):
            page = iova >> lg2 << lg2
            paddr, pgsize, _ = self.table.get(page, (0, 0, 0))
            if pgsize == 1 << lg2:
                return paddr + iova - page
        return None


def _expect(right: bool, sentence: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not right:
        raise ConformanceError(sentence)


def _raises(act: Callable[[], object]) -> bool:
    """Return true if `act` raises. A domain may raise any exception."""
    try:
        act()
    except Exception:  # noqa: BLE001
        return True
    return False


def _sizes(domain: IommuDomain) -> list[int]:
    return [1 << lg2 for lg2 in range(64) if domain.pgsize_bitmap >> lg2 & 1]


def _room(domain: IommuDomain, pgsize: int, pages: int) -> int | None:
    """Return the first address with room for pages of a size, outside the reserved ranges."""
    iova = max(domain.aperture[0], 1) + pgsize - 1 & -pgsize
    for first, last in sorted(domain.reserved):
        if iova + pgsize * pages > first and iova <= last:
            iova = last + pgsize & -pgsize
    return iova if iova + pgsize * pages - 1 <= domain.aperture[1] else None


def _usable(domain: IommuDomain, pages: int) -> Iterator[tuple[int, int]]:
    """Yield (pgsize, iova) for each page size that the aperture has room for."""
    for pgsize in _sizes(domain):
        iova = _room(domain, pgsize, pages)
        if iova is not None:
            yield pgsize, iova


def attributes_make_sense(make: Callable[[], IommuDomain]) -> None:
    """There is a page size, aperture and reserved ranges are ranges, and leave room for a page."""
    domain = make()
    _expect(0 < domain.pgsize_bitmap < 2**64, f"pgsize_bitmap is {domain.pgsize_bitmap:#x}")
    for first, last in (domain.aperture, *domain.reserved):
        _expect(0 <= first <= last < 2**64, f"{first:#x} to {last:#x} is no range")
    _expect(any(_usable(domain, 1)), f"aperture {domain.aperture} has no room for a page")


def nothing_is_mapped_at_first(make: Callable[[], IommuDomain]) -> None:
    """A new domain translates nothing."""
    domain = make()
    for _, iova in _usable(domain, 1):
        _expect(domain.iova_to_phys(iova) is None, f"{iova:#x} is mapped in a new domain")


def every_byte_translates(make: Callable[[], IommuDomain]) -> None:
    """Pages of each size translate from their first byte to their last, and nothing else does."""
    for pgsize, iova in _usable(make(), 4):
        domain = make()
        paddr = 7 * pgsize
        domain.map_pages(iova + pgsize, paddr, pgsize, 2, Prot.READ)
        for at in (0, 1, pgsize // 2, pgsize - 1, pgsize, 2 * pgsize - 1):
            found = domain.iova_to_phys(iova + pgsize + at)
            _expect(found == paddr + at, f"byte {at:#x} of {pgsize:#x} pages: {found}")
        for beside in (iova + pgsize - 1, iova + 3 * pgsize):
            _expect(domain.iova_to_phys(beside) is None, f"{beside:#x}, beside pages, is mapped")


def unmapping_removes_just_what_it_names(make: Callable[[], IommuDomain]) -> None:
    """After two calls that map, one call unmaps the middle pages. The others stay."""
    for pgsize, iova in _usable(make(), 4):
        domain = make()
        domain.map_pages(iova, 0, pgsize, 2, Prot.READ)
        domain.map_pages(iova + 2 * pgsize, 8 * pgsize, pgsize, 2, Prot.READ)
        domain.unmap_pages(iova + pgsize, pgsize, 2)
        found = [domain.iova_to_phys(iova + page * pgsize) for page in range(4)]
        wanted = [0, None, None, 9 * pgsize]
        _expect(found == wanted, f"unmapping 2 of 4 pages of {pgsize:#x}: {found}, not {wanted}")
        domain.map_pages(iova + pgsize, 3 * pgsize, pgsize, 1, Prot.READ)
        found = [domain.iova_to_phys(iova + pgsize)]
        _expect(found == [3 * pgsize], "an unmapped page cannot be mapped again")


def nothing_mapped_is_not_said_to_be_mapped(make: Callable[[], IommuDomain]) -> None:
    """Unmapping pages that are not mapped does not raise `MappedError`."""
    for pgsize, iova in _usable(make(), 3):
        domain = make()
        domain.map_pages(iova, 0, pgsize, 1, Prot.READ)
        try:
            domain.unmap_pages(iova + pgsize, pgsize, 1)
        except MappedError as failure:
            raise ConformanceError(f"unmapping what is not mapped says: {failure}") from failure
        except Exception:  # noqa: BLE001, S112 - a domain may raise what else it likes
            continue


def part_of_a_larger_page_goes_alone_or_not_at_all(make: Callable[[], IommuDomain]) -> None:
    """For a part of a larger page, a domain raises and keeps the page, or unmaps that part."""
    for larger, iova in _usable(make(), 1):
        for pgsize in (size for size in _sizes(make()) if size < larger):
            for part in (0, larger - pgsize):
                domain = make()
                domain.map_pages(iova, larger, larger, 1, Prot.READ)
                # Bound now, because the loop continues.
                unmap = partial(domain.unmap_pages, iova + part, pgsize, 1)
                gone = None if _raises(unmap) else part
                for at in (0, pgsize, larger - 2 * pgsize, larger - pgsize):
                    found = domain.iova_to_phys(iova + at)
                    _expect(
                        found == (None if at == gone else larger + at),
                        f"unmapping {pgsize:#x} bytes at {part:#x} of a page of {larger:#x} "
                        f"{'passed' if gone == part else 'raised'}, and left {found} at {at:#x}",
                    )


def a_refused_call_maps_nothing(make: Callable[[], IommuDomain]) -> None:
    """Mapping over a mapped page raises, and changes nothing."""
    for pgsize, iova in _usable(make(), 3):
        domain = make()
        domain.map_pages(iova + 2 * pgsize, 0, pgsize, 1, Prot.READ)
        over = partial(domain.map_pages, iova, 4 * pgsize, pgsize, 3, Prot.READ)
        _expect(_raises(over), "a page can be mapped over another without an error")
        found = [domain.iova_to_phys(iova + page * pgsize) for page in range(3)]
        _expect(found == [None, None, 0], f"a call that raised left {found}")


def plans_translate(make: Callable[[], IommuDomain]) -> None:
    """Lists of many shapes, mapped by `Paging`, translate byte for byte, and leave nothing mapped.

    Lists for which the aperture has no room are left out.
    """
    random = Random(3)  # noqa: S311 - shapes, not secrets
    for _ in range(20):
        domain = make()
        sizes = _sizes(domain)
        granule = max(4096, sizes[0])
        if granule > 1 << 16:
            return
        chunks = []
        for _ in range(random.randint(1, 6)):
            unit = random.choice(
                [size for size in sizes if granule <= size <= 1 << 21] or [granule]
            )
            chunks.append((random.randrange(64) * unit, random.randint(1, 3) * unit))
        whole = Phyr.from_chunks(chunks, granule=granule)
        start = random.randrange(whole.length)
        phyr = whole[start : random.randint(start, whole.length)]
        try:
            mapping = dma_map(phyr, Paging(domain), Direction.BIDIRECTIONAL)
        except IovaSpaceError:
            continue
        with mapping:
            dma = mapping.dma
            _expect(len(dma.chunks) == bool(phyr), f"{len(dma.chunks)} entries")
            positions = _positions(phyr)
            for position in positions:
                found = domain.iova_to_phys(dma[position])
                _expect(found == phyr[position], f"byte {position:#x} of {phyr!r} is at {found}")
        for position in positions:
            found = domain.iova_to_phys(dma[position])
            _expect(found is None, f"byte {position:#x} of {phyr!r} is still at {found}")


def batches_do_what_calls_do(make: Callable[[], IommuDomain]) -> None:
    """`map_batch`, if there is one, maps the same as single calls, and nothing if it raises."""
    domain, other = make(), make()
    batch = getattr(domain, "map_batch", None)
    if batch is None:
        return
    granule = max(4096, _sizes(domain)[0])
    iova = _room(domain, granule, 5)
    if granule > 1 << 16 or iova is None:
        return
    phyr = Phyr.from_chunks([(9 * granule, 4 * granule), (granule, granule)], granule=granule)
    plan = plan_map(phyr, iova, domain.pgsize_bitmap)
    batch(plan, Prot.READ)
    for call in plan:
        other.map_pages(*call, Prot.READ)
    for at in range(0, 5 * granule, granule // 2):
        found, wanted = domain.iova_to_phys(iova + at), other.iova_to_phys(iova + at)
        _expect(found == wanted, f"a batch maps {iova + at:#x} to {found}, calls to {wanted}")
    failing = make()
    failing.map_pages(iova + 4 * granule, 0, _sizes(domain)[0], 1, Prot.READ)
    refuses = getattr(failing, "map_batch")  # noqa: B009 - not in every domain
    _expect(
        _raises(lambda: refuses(plan, Prot.READ)),
        "a batch maps a page over another without an error",
    )
    for page in range(iova, iova + 4 * granule, _sizes(domain)[0]):
        found = failing.iova_to_phys(page)
        _expect(found is None, f"a batch that raised left {page:#x} mapped to {found}")
    found = failing.iova_to_phys(iova + 4 * granule)
    _expect(found == 0, f"a batch that raised left the page it met mapped to {found}")


DOMAIN_CHECKS: tuple[Callable[[Callable[[], IommuDomain]], None], ...] = (
    attributes_make_sense,
    nothing_is_mapped_at_first,
    every_byte_translates,
    unmapping_removes_just_what_it_names,
    nothing_mapped_is_not_said_to_be_mapped,
    part_of_a_larger_page_goes_alone_or_not_at_all,
    a_refused_call_maps_nothing,
    plans_translate,
    batches_do_what_calls_do,
)


def check_domain(make: Callable[[], IommuDomain]) -> None:
    """Run all checks of a domain.

    Args:
        make: Returns a new domain, with nothing mapped.

    Raises:
        ConformanceError: The domain breaks a rule.
    """
    for check in DOMAIN_CHECKS:
        check(make)


def _positions(phyr: Phyr) -> list[int]:
    """Return the first and last byte of each chunk, and one in between."""
    positions: set[int] = set()
    position = 0
    for _, length in phyr.chunks:
        positions |= {position, position + length // 2, position + length - 1}
        position += length
    return sorted(positions)


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
        _expect(len(phyr) > 1, f"there is no room for {phyr!r}")
        return None


def _reaches(backend: _B, reach: _Translate[_B], mapping: Mapping, when: str) -> None:
    """Check the bytes that the device sees through a mapping."""
    phyr = mapping.phyr
    for position in _positions(phyr):
        found = reach(backend, mapping.dma[position])
        _expect(found == phyr[position], f"byte {position:#x} of {phyr!r} is at {found}, {when}")


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
        _expect(here == there, f"{phyr!r} became {dma!r}, of another {name}")
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
                    _expect(mapping.dma == before, f"{before!r} became {mapping.dma!r}")
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
                dma_addrs = [mapping.dma[position] for position in _positions(phyr)]
            for dma_addr in dma_addrs:
                found, wanted = reach(backend, dma_addr), reach(new, dma_addr)
                _expect(
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

    Examples:
        >>> from phyr.iommu import BusOffset
        >>> check_backend(lambda: BusOffset(1 << 32), lambda _, dma_addr: dma_addr - (1 << 32))
    """
    for check in BACKEND_CHECKS:
        check(make, reach)
