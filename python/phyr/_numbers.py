"""Arguments that are checked before they are used."""

from _operator import index  # what `operator` shows; importing that takes longer

from phyr._named import Iterable

__all__ = ["having", "items", "pair", "whole"]


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
        TypeError: It cannot; the message has the argument's name, its type, and `of`.
    """
    if not is_iterable(value):
        msg = f"{name} is of {type(value)}, not an iterable of {of}"
        raise TypeError(msg)
    return value


def having(name: str, value: object, parts: tuple[str, ...], wanted: str) -> None:
    """Refuse an argument that lacks an attribute.

    Raises:
        TypeError: It does; the message has the argument's name, its type, and `wanted`.
    """
    for part in parts:
        if not hasattr(value, part):
            msg = f"{name} is of {type(value)}, which has no {part}: pass {wanted}"
            raise TypeError(msg)
