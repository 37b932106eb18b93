"""Named tuples without `typing`: importing it takes longer than reading most processes."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING or sys.version_info >= (3, 14):  # pragma: no cover - there it is quick
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414 - for type checkers
else:
    from collections import namedtuple as _namedtuple

    class _Made(type):
        """Makes a named tuple of a class of annotated fields, as `typing.NamedTupleMeta` does."""

        def __new__(cls, name: str, bases: tuple[type, ...], space: dict) -> type:  # type: ignore[type-arg]
            if not bases:
                return type.__new__(cls, name, bases, space)
            fields = space.pop("__annotations__")
            last = [field for field in fields if field in space]
            if last != list(fields)[len(fields) - len(last) :]:
                raise TypeError(f"{name}: a field without a default follows one with a default")
            defaults = [space.pop(field) for field in last]
            module = space.pop("__module__")
            made = _namedtuple(name, fields, defaults=defaults, module=module)  # noqa: PYI024
            made.__annotations__ = made.__new__.__annotations__ = fields
            for key, value in space.items():
                setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Made):
        """The base of a named tuple."""


__all__ = ["NamedTuple"]
