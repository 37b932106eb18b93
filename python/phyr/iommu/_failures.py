"""How phyr.iommu meets calls that fail: the one policy; `src/python/dma/failures.rs` is its twin.

Two promises hold whatever fails: memory that a device may still reach stays held by its owner, and
its I/O addresses are not handed out again.

| raised by a call | means | while mapping | while unmapping |
| --- | --- | --- | --- |
| an error | the call did nothing | calls before are undone | the other calls are made |
| a panic (an extension in Rust) | anything | as an interrupt | as an error |
| an interrupt, or `MemoryError` | anything | what is found mapped is unmapped | raised at once |

An error is any other `Exception`, a subclass of `MemoryError` too. An interrupt is no `Exception`:
`KeyboardInterrupt`, say. "Found" means that the domain is asked for each page. A second call of
`unmap` unmaps what is found; a mapping makes one after an interrupt or `MemoryError`. That call may
raise `NotMappedError`, to say that nothing is mapped, which is not reported.

The owner is let go where `map` raised, unless the exception is marked as `still_mapped`; and where
`unmap` returned, or said after an interrupt that nothing is mapped. Otherwise it is kept while the
process lives. Of several failures the first is raised, an interrupt before all others; the
rest are notes on it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from phyr.errors import NotMappedError, PhyrError

__all__ = [
    "attempt",
    "collect",
    "is_abrupt",
    "is_interrupt",
    "is_panic",
    "note",
    "noting",
    "raise_first",
    "raise_still_mapped",
]

# How many failures are shown beside the first.
_NOTES = 8


def is_panic(failure: BaseException) -> bool:
    """Return true if it is a panic of an extension in Rust; each has a class of its own."""
    kind = type(failure)
    return (kind.__module__, kind.__name__) == ("pyo3_runtime", "PanicException")


def is_interrupt(failure: BaseException) -> bool:
    """Return true if it is no error, but asks to stop, and so is raised whatever else failed."""
    return not isinstance(failure, Exception) and not is_panic(failure)


def is_abrupt(failure: BaseException) -> bool:
    """Return true if it may come at any moment, and so says nothing about what was done.

    A subclass of `MemoryError` is somebody's choice, such as a domain's without room for a table.
    """
    return type(failure) is MemoryError or is_interrupt(failure)


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


def collect(failures: list[BaseException], failure: BaseException) -> None:
    """Keep a failure for the end, or raise an interrupt at once, with those before as notes."""
    if is_interrupt(failure):
        for before in failures[:_NOTES]:
            note(failure, "a failure before it", before)
        raise failure
    failures.append(failure)


def raise_first(failures: list[BaseException]) -> None:
    """Raise the first of these, if there are any, with a few of the others as notes.

    Raises:
        BaseException: That one. If it is NotMappedError, whoever unmaps would be taken to say so
            itself: then a PhyrError, whose cause it is.
    """
    if not failures:
        return
    first, *others = failures
    if isinstance(first, NotMappedError):
        text = f"a call that unmaps found nothing mapped: {first}"
        first = PhyrError(text, **vars(first)).with_traceback(first.__traceback__)
        first.__cause__ = failures[0]
    for other in others[:_NOTES]:
        note(first, "another failure", other)
    if others[_NOTES:]:
        note(first, f"and {len(others) - _NOTES} more")
    raise first


def attempt(acts: Iterable[Callable[[], None]]) -> None:
    """Do all of this, whatever fails, but for an interrupt, which is raised at once.

    Raises:
        BaseException: The first failure, as by `raise_first`.
    """
    failures: list[BaseException] = []
    for act in acts:
        try:
            act()
        except BaseException as failure:  # noqa: BLE001 - raised, here or below
            collect(failures, failure)
    raise_first(failures)


def raise_still_mapped(failure: BaseException, sentence: str, undo: BaseException) -> None:
    """Raise a failure to map, or the interrupt that came while it was undone.

    It is marked: something may be mapped all the same, and whoever holds the memory must keep it.

    Args:
        failure: Why the map failed.
        sentence: The call that failed.
        undo: Why undoing failed.
    """
    first, other = (undo, failure) if is_interrupt(undo) else (failure, undo)
    # First of all, since memory hangs on it, and a note may fail.
    first = _marked(first)
    try:
        note(first, sentence)
        note(first, "undoing the calls before it, of which something may be mapped", other)
    except BaseException as interrupt:  # noqa: BLE001 - raised again, marked
        raise _marked(interrupt) from first
    raise first


def _marked(failure: BaseException) -> BaseException:
    """Return a failure that is marked as `still_mapped`."""
    try:
        failure.still_mapped = True  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - of a class that takes no attributes
        text = f"{type(failure).__name__}, after which something may be mapped"
        marked = PhyrError(text, still_mapped=True)
        marked.__cause__ = failure
        return marked
    return failure
