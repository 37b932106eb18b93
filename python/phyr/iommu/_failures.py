"""The policy of phyr.iommu for calls that fail. `src/python/dma/failures.rs` is its twin.

Two promises hold whatever fails. The owner of memory that a device may still reach keeps that
memory in place. The I/O addresses of such memory are not given to another mapping.

| raised by a call | means | while mapping | while unmapping |
| --- | --- | --- | --- |
| an error | the call did nothing | calls before are undone | the other calls are made |
| a panic (an extension in Rust) | anything | as an interrupt | as an error |
| an interrupt, or `MemoryError` | anything | what is found mapped is unmapped | raised at once |

An error is any other `Exception`, including subclasses of `MemoryError`. An interrupt is an
exception that is not an `Exception`, such as `KeyboardInterrupt`. "Found" means that the domain is
asked for each page. After an interrupt or `MemoryError` a mapping calls `unmap` a second time,
which unmaps what is found. The second call may raise `NotMappedError` to say that nothing is
mapped; that is not reported.

The owner is released if `map` raised, unless the exception is marked as `still_mapped`. It is
released if `unmap` returned, or said after an interrupt that nothing is mapped. Otherwise it is
kept for the life of the process. If several calls fail, the first failure is raised, but an
interrupt is raised before any other; the rest become notes on it.
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

# The number of failures that are shown in addition to the first.
_NOTES = 8


def is_panic(failure: BaseException) -> bool:
    """Return true if the exception is a panic of an extension in Rust.

    Each extension has its own class.
    """
    kind = type(failure)
    return (kind.__module__, kind.__name__) == ("pyo3_runtime", "PanicException")


def is_interrupt(failure: BaseException) -> bool:
    """Return true if the exception is not an error but a request to stop. It is always raised."""
    return not isinstance(failure, Exception) and not is_panic(failure)


def is_abrupt(failure: BaseException) -> bool:
    """Return true if the exception can come at any moment, and so does not tell what was done.

    A subclass of `MemoryError` does not count: somebody raised it on purpose, such as a domain
    without room for a table.
    """
    return type(failure) is MemoryError or is_interrupt(failure)


def note(failure: BaseException, sentence: str, other: BaseException | None = None) -> None:
    """Add a note to a failure, with the repr of another.

    If part of that fails, add what is possible.
    """
    if other is not None:
        shown = f"{type(other).__name__}, which cannot be shown"
        with suppress(Exception):
            shown = repr(other)
        sentence = f"{sentence}: {shown}"
    with suppress(Exception):
        failure.add_note(sentence)


@contextmanager
def noting(failure: BaseException, sentence: str) -> Iterator[None]:
    """Add a note to a failure if the cleanup after it fails too."""
    try:
        yield
    except Exception as other:  # noqa: BLE001 - whatever it is, the first one is raised
        note(failure, sentence, other)


def collect(failures: list[BaseException], failure: BaseException) -> None:
    """Keep a failure for the end. Raise an interrupt at once, with earlier failures as notes."""
    if is_interrupt(failure):
        for before in failures[:_NOTES]:
            note(failure, "a failure before it", before)
        raise failure
    failures.append(failure)


def raise_first(failures: list[BaseException]) -> None:
    """Raise the first failure, if there is one, with a few of the others as notes.

    Raises:
        BaseException: The first failure. A NotMappedError would look as if the caller had raised
            it, so it becomes the cause of a PhyrError.
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
    """Make all the calls, even if some fail. An interrupt is raised at once.

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
    """Raise a failed `map`, or an interrupt that came while the map was undone.

    The exception is marked as `still_mapped`: something may be mapped, so the owner of the memory
    must keep it.

    Args:
        failure: The exception of the map.
        sentence: The call that failed.
        undo: The exception of the undoing.
    """
    first, other = (undo, failure) if is_interrupt(undo) else (failure, undo)
    # Mark it first: the mark keeps the memory in place, and adding a note may fail.
    first = _marked(first)
    try:
        note(first, sentence)
        note(first, "undoing the calls before it, of which something may be mapped", other)
    except BaseException as interrupt:  # noqa: BLE001 - raised again, marked
        raise _marked(interrupt) from first
    raise first


def _marked(failure: BaseException) -> BaseException:
    """Return the failure, marked as `still_mapped`."""
    try:
        failure.still_mapped = True  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - of a class that takes no attributes
        text = f"{type(failure).__name__}, after which something may be mapped"
        marked = PhyrError(text, still_mapped=True)
        marked.__cause__ = failure
        return marked
    return failure
