"""Calls that map lists linearly in a domain, and calls that undo them.

`_failures` states the policy for calls that fail.
"""

from collections.abc import Iterable
from functools import partial

from phyr._phyr import Plan, Unmapping
from phyr.iommu._failures import (
    collect,
    is_abrupt,
    is_panic,
    note,
    raise_first,
    raise_still_mapped,
)
from phyr.iommu.protocols import IommuDomain, Prot

__all__ = ["map_plans", "unmap_walks"]


def map_plans(domain: IommuDomain, plans: list[Plan], walks: list[Unmapping], prot: Prot) -> None:
    """Map all of the plans, or nothing.

    A domain with `map_batch` gets each plan in one call.

    Args:
        domain: The domain to map in.
        plans: The calls, at ascending addresses.
        walks: The walks that unmap each of the plans, made before.
        prot: The accesses that the device may make.

    Raises:
        BaseException: An error of the domain, or an interrupt, with a note that names the call.
            Nothing is mapped then, unless its attribute `still_mapped` is true.
    """
    done = calls = iova = paddr = pgsize = pgcount = 0
    batch = None
    try:
        batch = getattr(domain, "map_batch", None)
        for plan in plans:
            calls, iova = 0, plan.iova
            if batch is not None:
                batch(plan, prot)
            else:
                for iova, paddr, pgsize, pgcount in plan:
                    domain.map_pages(iova, paddr, pgsize, pgcount, prot)
                    calls += 1
            done += 1
    except BaseException as failure:
        if batch is not None:
            what = f"mapping {plans[done : done + 1]} in one batch"
        else:
            what = f"call {calls}: {pgcount} pages of {pgsize:#x} at {iova:#x} to {paddr:#x}"
        try:
            if is_abrupt(failure) or is_panic(failure):
                # It may have come before the call, during the call, or after it.
                unmap_walks(domain, walks[: done + 1], found=True)
            elif batch is not None:
                unmap_walks(domain, walks[:done])
            else:
                unmap_walks(domain, walks[: done + 1], end=iova)
        except BaseException as undo:  # noqa: BLE001 - raised as it should be
            raise_still_mapped(failure, what, undo)
        note(failure, what)
        raise


def unmap_walks(
    domain: IommuDomain,
    walks: Iterable[Unmapping],
    *,
    found: bool = False,
    end: int | None = None,
) -> None:
    """Unmap what plans map, even if some calls fail. An interrupt or `MemoryError` ends it at once.

    Needs memory only for the numbers of one call at a time.

    Args:
        domain: The domain in which they are mapped.
        walks: Walks over the plans.
        found: Start again, and unmap only pages that the domain says are mapped.
        end: Unmap only what the calls before this address mapped. By default, unmap everything.

    Raises:
        BaseException: The first failure, as by `raise_first`. Or an interrupt or `MemoryError`, at
            once, although something may still be mapped.
    """
    failures: list[BaseException] = []
    unmap_pages = partial(_unmap_found, domain) if found else domain.unmap_pages
    for walk in walks:
        anew, left = found, True
        while left:
            try:
                walk.run(unmap_pages, anew=anew, end=end)
                left = False
            except BaseException as failure:
                collect(failures, failure)
                if is_abrupt(failure):
                    raise
                # The walk continues after the call that failed.
                anew = False
    raise_first(failures)


def _unmap_found(domain: IommuDomain, iova: int, pgsize: int, pgcount: int) -> None:
    """Unmap those pages of one call that are mapped."""
    for page in range(iova, iova + pgsize * pgcount, pgsize):
        if domain.iova_to_phys(page) is not None:
            domain.unmap_pages(page, pgsize, 1)
