"""One allocator of I/O virtual addresses for each domain, even if several `Paging` share it.

A domain need not be hashable, so entries are keyed by `id(domain)`. Each entry refers to its
domain, so that no other object can reuse the id unnoticed:

- weakly, if the class allows that: the entry is removed with the domain;
- strongly, otherwise: the entry is removed when another `Paging` is made and this entry has no user
  and no window in use. A domain whose windows are never freed stays in memory.
"""

import weakref
from collections.abc import Callable, Iterable
from functools import partial
from threading import RLock

from phyr.errors import MismatchError
from phyr.iommu.iova import IovaAllocator
from phyr.iommu.protocols import IommuDomain

__all__ = ["allocator_of"]

_LOCK = RLock()
# By id: entries that are removed with their domains, and entries that are searched for idle ones.
# No Python code runs when a domain is removed, because an interrupt would be lost in that code.
_WEAK: "dict[int, _Entry]" = {}
_STRONG: "dict[int, _Entry]" = {}


class _Entry:
    """A domain, its allocator, and the users of the two."""

    def __init__(self, domain: IommuDomain, iovas: IovaAllocator) -> None:
        self.iovas = iovas
        self.users: list[weakref.ref[object]] = []
        self.domain: Callable[[], IommuDomain | None]
        try:
            self.domain = weakref.ref(domain, partial(_WEAK.pop, id(domain)))
        except TypeError:
            self.domain = lambda: domain

    def is_idle(self) -> bool:
        """Return true if the entry can be removed without loss."""
        self.users = [user for user in self.users if user() is not None]
        return not self.users and not len(self.iovas)


def allocator_of(domain: IommuDomain, iovas: IovaAllocator | None, user: object) -> IovaAllocator:
    """Return the allocator of a domain's addresses, the same for all its users.

    Args:
        domain: The I/O address space: any object.
        iovas: The allocator to use; by default that of the domain, or else a new one.
        user: The object that uses the allocator. The entry is kept while it lives.

    Raises:
        MismatchError: Another allocator already manages the domain's addresses. Or, without
            `iovas`, that allocator was made for another aperture or other reserved ranges than the
            domain has now.
    """
    made = IovaAllocator(domain.aperture, domain.reserved) if iovas is None else iovas
    with _LOCK:
        for number in [number for number, entry in _STRONG.items() if entry.is_idle()]:
            del _STRONG[number]
        entry = _WEAK.get(id(domain)) or _STRONG.get(id(domain))
        if entry is None or entry.is_idle():
            entry = _Entry(domain, made)
            entries = _WEAK if isinstance(entry.domain, weakref.ref) else _STRONG
            entries[id(domain)] = entry
        elif iovas is None and _ranges(entry.iovas) != _ranges(made):
            raise MismatchError(
                f"{domain!r} has {_shown(made)}, but its addresses are handed out already, of "
                f"{_shown(entry.iovas)}: share that allocator by `iovas=`"
            )
        elif iovas is not None and iovas is not entry.iovas:
            raise MismatchError(
                f"the addresses of {domain!r} are handed out already, by another allocator of "
                f"{_shown(entry.iovas)}, not by the given one of {_shown(made)}: share that"
            )
        entry.users.append(weakref.ref(user))
        return entry.iovas


def _ranges(iovas: IovaAllocator) -> tuple[tuple[int, int], Iterable[tuple[int, int]]]:
    return iovas.aperture, iovas.reserved


def _shown(iovas: IovaAllocator) -> str:
    ranges = ", ".join(f"{first:#x} to {last:#x}" for first, last in iovas.reserved)
    first, last = iovas.aperture
    return f"aperture {first:#x} to {last:#x}, reserved {ranges or 'nothing'}"
