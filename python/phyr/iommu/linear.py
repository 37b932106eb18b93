"""One list, linear in a domain: the calls, and what undoes them.

An interrupt (an exception that is no `Exception`, such as `KeyboardInterrupt`) may come between a
call to the domain and what would remember it, and so may `MemoryError`. Then the domain is asked
what is mapped.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from phyr._phyr import Phyr, Plan, Unmapping, plan_map
from phyr.errors import PhyrError
from phyr.iommu.protocols import IommuDomain, Prot

__all__ = ["map_plan", "unmap_plan"]

# How often the pages of one call are unmapped anew, if interrupts keep coming.
_TRIES = 3

# How many failures are shown beside the first.
_NOTES = 8


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
        walk = Unmapping(plan)
        try:
            batch(plan, prot)
        except BaseException as failure:
            note(failure, f"mapping {plan!r} in one batch")
            undone: list[BaseException] = []
            if is_abrupt(failure):
                undone = unmap_walk(domain, walk, found=True)
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
        if is_abrupt(failure):
            # It may have come before the call, in the midst of it, or after.
            undone += _unmap_found_pages(domain, iova, pgsize, pgcount)
        report(failure, undone, stuck)
        raise


def unmap_plan(domain: IommuDomain, plan: Plan) -> list[BaseException]:
    """Unmap all of `plan`, whatever fails, and return what did.

    Where all that is returned is interrupts or `MemoryError`, everything is unmapped nevertheless.

    Args:
        domain: Where it is mapped.
        plan: As it was mapped.
    """
    return unmap_walk(domain, Unmapping(plan))


def unmap_walk(domain: IommuDomain, walk: Unmapping, *, found: bool = False) -> list[BaseException]:
    """Unmap what a walk still has to; otherwise as `unmap_plan`.

    Whoever made the walk when it mapped needs no memory now but for the numbers of a call.

    Args:
        domain: Where it is mapped.
        walk: Over the plan.
        found: Whether to begin anew, and to ask for each page whether it is mapped.
    """
    failures: list[BaseException] = []

    def look(iova: int, pgsize: int, pgcount: int) -> None:
        failures.extend(_unmap_found_pages(domain, iova, pgsize, pgcount))

    anew, tries = found, 0
    while tries < _TRIES:
        try:
            walk.run(look if found else domain.unmap_pages, anew=anew)
        except BaseException as failure:  # noqa: BLE001 - returned, to be raised at the end
            failures.append(failure)
            if is_abrupt(failure):
                failures += _unmap_found_pages(domain, *walk.last)
            if walk.moved():
                anew, tries = False, 0
            else:
                tries += 1
        else:
            return failures
    return [*failures, PhyrError(f"no call to {domain!r} could be made {_TRIES} times")]


def is_abrupt(failure: BaseException) -> bool:
    """Return whether it may come at any moment, and so says nothing about what was done.

    A subclass of `MemoryError` is somebody's choice, such as a domain's without room for a table.
    """
    return type(failure) is MemoryError or is_interrupt(failure)


def errors(failures: list[BaseException]) -> list[Exception]:
    """Return those after which something may still be mapped: what is abrupt was looked into."""
    return [
        failure for failure in failures if isinstance(failure, Exception) and not is_abrupt(failure)
    ]


def is_interrupt(failure: BaseException) -> bool:
    """Return whether it is no error, but asks to stop, and so is raised whatever else failed."""
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
        stuck += errors(undone)
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


@contextmanager
def noting(failure: BaseException, sentence: str) -> Iterator[None]:
    """Note on a failure what fails while it is cleaned up after."""
    try:
        yield
    except Exception as other:  # noqa: BLE001 - whatever it is, the first one is raised
        note(failure, sentence, other)


def raise_first(failures: list[Exception]) -> None:
    """Raise the first of these, if there are any, with a few of the others as notes.

    Raises:
        Exception: That one.
    """
    if not failures:
        return
    first, *others = failures
    for other in others[:_NOTES]:
        note(first, "another failure", other)
    if others[_NOTES:]:
        note(first, f"and {len(others) - _NOTES} more")
    raise first


def attempt(acts: Iterable[Callable[[], None]]) -> None:
    """Do all of this, whatever fails, but for an interrupt, which is raised at once.

    Raises:
        Exception: The first failure, as by `raise_first`.
    """
    failures: list[Exception] = []
    for act in acts:
        try:
            act()
        except Exception as failure:  # noqa: BLE001 - raised below
            failures.append(failure)
        except BaseException as interrupt:
            for before in failures[:_NOTES]:
                note(interrupt, "a failure before it", before)
            raise
    raise_first(failures)


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
        except BaseException as failure:  # noqa: BLE001 - as above
            failures.append(failure)
            if not is_abrupt(failure):
                return failures
        else:
            return failures
    again = f"interrupted {_TRIES} times: {pgcount} pages of {pgsize:#x} at {iova:#x} may be mapped"
    return [*failures, PhyrError(again)]


def _first_calls(plan: Plan, iova: int) -> Plan:
    """Return the calls before that at `iova`: a plan of the first bytes is the first calls."""
    first: Phyr = plan.phyr[: max(iova - plan.iova, 0)]
    return plan_map(first, plan.iova, plan.pgsize_bitmap)
