"""Arguments that are checked before they are used."""

from operator import index

__all__ = ["having", "whole"]


def whole(name: str, value: object) -> int:
    """Return an argument as an int.

    Raises:
        TypeError: It is no whole number; the message has its name and value.
    """
    if not hasattr(type(value), "__index__"):
        msg = f"{name} is {value!r}, not an int"
        raise TypeError(msg)
    return index(value)  # type: ignore[arg-type]


def having(name: str, value: object, parts: tuple[str, ...], wanted: str) -> None:
    """Refuse an argument that lacks an attribute.

    Raises:
        TypeError: It does; the message has the argument's name, its type, and `wanted`.
    """
    for part in parts:
        if not hasattr(value, part):
            msg = f"{name} is of {type(value)}, which has no {part}: pass {wanted}"
            raise TypeError(msg)
