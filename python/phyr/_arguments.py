"""Arguments that are checked before they are used."""

from _operator import index  # what `operator` shows; importing that takes longer

from phyr._named import Iterable

__all__ = ["having", "items", "listing", "pair", "whole", "wrong"]


def wrong(name: str, value: object, wanted: str) -> TypeError:
    """Return the error for an argument of a wrong type, or for an item of one."""
    return TypeError(f"{name} is of {type(value)}, not {wanted}")


def whole(name: str, value: object) -> int:
    """Return an argument as an int.

    Raises:
        TypeError: It is no whole number; the message has its name and value.
    """
    if not hasattr(type(value), "__index__"):
        msg = f"{name} is {value!r}, not an int"
        raise TypeError(msg)
    return index(value)  # type: ignore[arg-type]


def pair(name: str, value: object) -> tuple[int, int]:
    """Return an argument, or an item of one, as two ints.

    Raises:
        TypeError: It is no pair, or not of whole numbers.
    """
    two: list[object] = []
    if is_iterable(value) and not isinstance(value, (str, bytes, dict, set, frozenset)):
        # No more than tells that they are too many.
        two = [part for _, part in zip(range(3), value, strict=False)]  # type: ignore[call-overload]
    if len(two) != 2:  # noqa: PLR2004 - a pair
        msg = f"{name} is {value!r}, not a pair of ints"
        raise TypeError(msg)
    first, second = two
    return whole(name, first), whole(name, second)


def is_iterable(value: object) -> bool:
    """Return True if a loop can go over it."""
    return hasattr(type(value), "__iter__") or hasattr(type(value), "__getitem__")


def items(name: str, value: Iterable[object], of: str) -> Iterable[object]:
    """Return an argument if a loop can go over it.

    Raises:
        TypeError: It cannot.
    """
    if not is_iterable(value):
        raise wrong(name, value, f"an iterable of {of}")
    return value


def having(
    name: str,
    value: object,
    methods: tuple[str, ...],
    wanted: str,
    attributes: tuple[str, ...] = (),
) -> None:
    """Refuse an argument that lacks an attribute or a method.

    Raises:
        TypeError: It does, or one of the methods cannot be called.
    """
    for part in (*attributes, *methods):
        if not hasattr(value, part):
            raise wrong(name, value, f"{wanted}: it has no {part}")
    for method in methods:
        if not callable(getattr(value, method)):
            raise wrong(name, value, f"{wanted}: its {method} cannot be called")


def listing(name: str, value: object) -> None:
    """Refuse an argument that is no list of memory.

    Raises:
        TypeError: It is none.
    """
    if not hasattr(value, "kind"):
        raise wrong(name, value, "a list of memory")
