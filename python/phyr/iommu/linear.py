"""One list, linear in a domain: the calls, and what undoes them."""

from phyr._phyr import Phyr, Plan, plan_map
from phyr.iommu.protocols import IommuDomain, Prot

__all__ = ["map_plan", "unmap_plan"]


def map_plan(
    domain: IommuDomain, plan: Plan, prot: Prot, stuck: list[Exception] | None = None
) -> None:
    """Map all of `plan`, or nothing.

    A domain with `map_batch` gets the plan in one call.

    Args:
        domain: Where to map.
        plan: The calls, from `plan_map`.
        prot: What the device may do.
        stuck: Takes what the domain raised while calls were undone, against the rules; something
            may then still be mapped.

    Raises:
        Exception: The domain's own, with a note that names the call; those before it are undone.
    """
    batch = getattr(domain, "map_batch", None)
    if batch is not None:
        try:
            batch(plan, prot)
        except BaseException as failure:
            failure.add_note(f"mapping {plan!r} in one batch")
            raise
        return
    iova = plan.iova
    paddr = pgsize = pgcount = calls = 0
    try:
        for iova, paddr, pgsize, pgcount in plan:
            domain.map_pages(iova, paddr, pgsize, pgcount, prot)
            calls += 1
    except BaseException as failure:
        failure.add_note(f"call {calls}: {pgcount} pages of {pgsize:#x} at {iova:#x} to {paddr:#x}")
        for undo in unmap_plan(domain, _first_calls(plan, iova)):
            failure.add_note(f"undoing the calls before it: {undo!r}")
            if stuck is not None:
                stuck.append(undo)
        raise


def unmap_plan(domain: IommuDomain, plan: Plan) -> list[Exception]:
    """Unmap all of `plan`, whatever fails, and return what did.

    Args:
        domain: Where it is mapped.
        plan: As it was mapped.
    """
    failures: list[Exception] = []
    for iova, pgsize, pgcount in plan.unmaps():
        try:
            domain.unmap_pages(iova, pgsize, pgcount)
        except Exception as failure:  # noqa: BLE001 - what the rules forbid can be anything
            failures.append(failure)
    return failures


def _first_calls(plan: Plan, iova: int) -> Plan:
    """Return the calls before that at `iova`: a plan of the first bytes is the first calls."""
    first: Phyr = plan.phyr[: max(iova - plan.iova, 0)]
    return plan_map(first, plan.iova, plan.pgsize_bitmap)
