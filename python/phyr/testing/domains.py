"""The rules of domains, each as a check."""

from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from phyr._phyr import Phyr, plan_map
from phyr.errors import IovaSpaceError, MappedError
from phyr.iommu import Direction, IommuDomain, Paging, Prot, dma_map
from phyr.testing.conformance import ConformanceError, check_maker, expect, positions_of


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
    expect(0 < domain.pgsize_bitmap < 2**64, f"pgsize_bitmap is {domain.pgsize_bitmap:#x}")
    for first, last in (domain.aperture, *domain.reserved):
        expect(0 <= first <= last < 2**64, f"{first:#x} to {last:#x} is no range")
    expect(any(_usable(domain, 1)), f"aperture {domain.aperture} has no room for a page")


def nothing_is_mapped_at_first(make: Callable[[], IommuDomain]) -> None:
    """A new domain translates nothing."""
    domain = make()
    for _, iova in _usable(domain, 1):
        expect(domain.iova_to_phys(iova) is None, f"{iova:#x} is mapped in a new domain")


def every_byte_translates(make: Callable[[], IommuDomain]) -> None:
    """Pages of each size translate from their first byte to their last, and nothing else does."""
    for pgsize, iova in _usable(make(), 4):
        domain = make()
        paddr = 7 * pgsize
        domain.map_pages(iova + pgsize, paddr, pgsize, 2, Prot.READ)
        for at in (0, 1, pgsize // 2, pgsize - 1, pgsize, 2 * pgsize - 1):
            found = domain.iova_to_phys(iova + pgsize + at)
            expect(found == paddr + at, f"byte {at:#x} of {pgsize:#x} pages: {found}")
        for beside in (iova + pgsize - 1, iova + 3 * pgsize):
            expect(domain.iova_to_phys(beside) is None, f"{beside:#x}, beside pages, is mapped")


def unmapping_removes_just_what_it_names(make: Callable[[], IommuDomain]) -> None:
    """After two calls that map, one call unmaps the middle pages. The others stay."""
    for pgsize, iova in _usable(make(), 4):
        domain = make()
        domain.map_pages(iova, 0, pgsize, 2, Prot.READ)
        domain.map_pages(iova + 2 * pgsize, 8 * pgsize, pgsize, 2, Prot.READ)
        domain.unmap_pages(iova + pgsize, pgsize, 2)
        found = [domain.iova_to_phys(iova + page * pgsize) for page in range(4)]
        wanted = [0, None, None, 9 * pgsize]
        expect(found == wanted, f"unmapping 2 of 4 pages of {pgsize:#x}: {found}, not {wanted}")
        domain.map_pages(iova + pgsize, 3 * pgsize, pgsize, 1, Prot.READ)
        found = [domain.iova_to_phys(iova + pgsize)]
        expect(found == [3 * pgsize], "an unmapped page cannot be mapped again")


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
                    expect(
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
        expect(_raises(over), "a page can be mapped over another without an error")
        found = [domain.iova_to_phys(iova + page * pgsize) for page in range(3)]
        expect(found == [None, None, 0], f"a call that raised left {found}")


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
            expect(len(dma.chunks) == bool(phyr), f"{len(dma.chunks)} entries")
            positions = positions_of(phyr)
            for position in positions:
                found = domain.iova_to_phys(dma[position])
                expect(found == phyr[position], f"byte {position:#x} of {phyr!r} is at {found}")
        for position in positions:
            found = domain.iova_to_phys(dma[position])
            expect(found is None, f"byte {position:#x} of {phyr!r} is still at {found}")


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
        expect(found == wanted, f"a batch maps {iova + at:#x} to {found}, calls to {wanted}")
    failing = make()
    failing.map_pages(iova + 4 * granule, 0, _sizes(domain)[0], 1, Prot.READ)
    refuses = getattr(failing, "map_batch")  # noqa: B009 - not in every domain
    expect(
        _raises(lambda: refuses(plan, Prot.READ)),
        "a batch maps a page over another without an error",
    )
    for page in range(iova, iova + 4 * granule, _sizes(domain)[0]):
        found = failing.iova_to_phys(page)
        expect(found is None, f"a batch that raised left {page:#x} mapped to {found}")
    found = failing.iova_to_phys(iova + 4 * granule)
    expect(found == 0, f"a batch that raised left the page it met mapped to {found}")


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
        TypeError: `make` is no function, such as a domain.
    """
    check_maker(make, "a domain")
    for check in DOMAIN_CHECKS:
        check(make)
