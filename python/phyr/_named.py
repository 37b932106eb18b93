"""Named tuples without `typing`, which takes longer to import than many a process to read."""

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
            defaults = [space.pop(field) for field in fields if field in space]
            module = space.pop("__module__")
            made = _namedtuple(name, fields, defaults=defaults, module=module)  # noqa: PYI024
            made.__annotations__ = made.__new__.__annotations__ = fields
            for key, value in space.items():
                setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Made):
        """The base of a named tuple."""


__all__ = ["NamedTuple"]
