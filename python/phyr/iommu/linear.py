"""One list, linear in a domain: the calls, and what undoes them.

An interrupt (an exception that is no `Exception`, such as `KeyboardInterrupt`) may come between a
call to the domain and what would remember it. Then the domain is asked what is mapped.
"""

from contextlib import suppress
from functools import partial
from itertools import dropwhile

from phyr._phyr import Phyr, Plan, plan_map
from phyr.errors import PhyrError
from phyr.iommu.protocols import IommuDomain, Prot

__all__ = ["map_plan", "unmap_plan"]

# How often the pages of one call are unmapped anew, if interrupts keep coming, and a walk is begun
# anew, if it fails itself.
_TRIES = 3


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
        BaseException: An interrupt; all that the domain mapped is undone.
    """
    batch = getattr(domain, "map_batch", None)
    if batch is not None:
        try:
            batch(plan, prot)
        except BaseException as failure:
            note(failure, f"mapping {plan!r} in one batch")
            undone: list[BaseException] = []
            if is_interrupt(failure):
                undone = unmap_found(domain, plan)
            report(failure, undone, stuck)
            raise
        return
    iova = plan.iova
    paddr = pgsize = pgcount = calls = 0
    try:
        for iova, paddr, pgsize, pgcount in plan:
            domain.map_pages(iova, paddr, pgsize, pgcount, prot)
            calls += 1
    except BaseException as failure:
        note(failure, f"call {calls}: {pgcount} pages of {pgsize:#x} at {iova:#x} to {paddr:#x}")
        undone = unmap_plan(domain, _first_calls(plan, iova))
        if is_interrupt(failure):
            # It may have come before the call, in the midst of it, or after.
            undone += _unmap_found_pages(domain, iova, pgsize, pgcount)
        report(failure, undone, stuck)
        raise


def unmap_plan(domain: IommuDomain, plan: Plan) -> list[BaseException]:
    """Unmap all of `plan`, whatever fails, and return what did.

    Where all that is returned is interrupts, everything is unmapped nevertheless.

    Args:
        domain: Where it is mapped.
        plan: As it was mapped.
    """
    failures: list[BaseException] = []
    iova, pgsize, pgcount = plan.iova, 0, 0
    calls = plan.unmaps()
    walks = 1
    while True:
        try:
            for iova, pgsize, pgcount in calls:
                domain.unmap_pages(iova, pgsize, pgcount)
        except Exception as failure:  # noqa: BLE001 - what the rules forbid can be anything
            failures.append(failure)
        except BaseException as interrupt:  # noqa: BLE001 - returned, to be raised at the end
            failures += [interrupt, *_unmap_found_pages(domain, iova, pgsize, pgcount)]
        else:
            end = iova + pgsize * pgcount
            if end >= plan.iova + plan.phyr.length or walks == _TRIES:
                return failures
            # The walk itself failed, for want of memory: a new one goes on behind the last call.
            walks += 1
            calls = dropwhile(partial(_is_before, end), plan.unmaps())


def unmap_found(domain: IommuDomain, plan: Plan) -> list[BaseException]:
    """Unmap what is mapped of `plan`, asking the domain page by page; otherwise as `unmap_plan`."""
    return [failure for call in plan.unmaps() for failure in _unmap_found_pages(domain, *call)]


def is_interrupt(failure: BaseException) -> bool:
    """Return whether it may come at any moment, and so says nothing about what was done."""
    return not isinstance(failure, Exception)


def report(
    failure: BaseException, undone: list[BaseException], stuck: list[Exception] | None
) -> None:
    """Note on a failure what failed when calls were undone, to be raised after it.

    Raises:
        BaseException: An interrupt among that, unless the failure is one.
    """
    if stuck is not None:
        # First of all, since what is mapped hangs on it, and a note may fail.
        stuck += [undo for undo in undone if isinstance(undo, Exception)]
    for undo in undone:
        note(failure, "undoing the calls before it", undo)
    if not is_interrupt(failure):
        raise_interrupt(undone)


def note(failure: BaseException, sentence: str, other: BaseException | None = None) -> None:
    """Add a note to a failure, and how another looks; if that fails, as far as it goes."""
    if other is not None:
        shown = f"{type(other).__name__}, which cannot be shown"
        with suppress(Exception):
            shown = repr(other)
        sentence = f"{sentence}: {shown}"
    with suppress(Exception):
        failure.add_note(sentence)


def raise_interrupt(failures: list[BaseException]) -> None:
    """Raise the first interrupt of `failures`, if there is one."""
    for failure in failures:
        if is_interrupt(failure):
            raise failure


def _unmap_found_pages(
    domain: IommuDomain, iova: int, pgsize: int, pgcount: int
) -> list[BaseException]:
    """Unmap what is mapped of the pages of one call, whatever fails, and return what did."""
    failures: list[BaseException] = []
    for _ in range(_TRIES):
        try:
            for page in range(iova, iova + pgsize * pgcount, pgsize or 1):
                if domain.iova_to_phys(page) is not None:
                    domain.unmap_pages(page, pgsize, 1)
        except Exception as failure:  # noqa: BLE001 - as above
            return [*failures, failure]
        except BaseException as interrupt:  # noqa: BLE001 - as above
            failures.append(interrupt)
        else:
            return failures
    again = f"interrupted {_TRIES} times: {pgcount} pages of {pgsize:#x} at {iova:#x} may be mapped"
    return [*failures, PhyrError(again)]


def _is_before(end: int, call: tuple[int, int, int]) -> bool:
    iova, pgsize, pgcount = call
    return iova + pgsize * pgcount <= end


def _first_calls(plan: Plan, iova: int) -> Plan:
    """Return the calls before that at `iova`: a plan of the first bytes is the first calls."""
    first: Phyr = plan.phyr[: max(iova - plan.iova, 0)]
    return plan_map(first, plan.iova, plan.pgsize_bitmap)
