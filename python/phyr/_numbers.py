"""Whole numbers that are given as arguments."""

from operator import index

__all__ = ["whole"]


def whole(name: str, value: object) -> int:
    """Return an argument as an int.

    Raises:
        TypeError: It is no whole number; the message has its name and value.
    """
    if not hasattr(type(value), "__index__"):
        msg = f"{name} is {value!r}, not an int"
        raise TypeError(msg)
    return index(value)  # type: ignore[arg-type]
