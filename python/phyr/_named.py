"""Named tuples without `typing`, and names of `collections.abc` without `collections`.

Importing those takes longer than reading most processes.
"""

import sys
from _collections_abc import Callable, Iterable, Iterator, Sequence  # what `collections.abc` shows

TYPE_CHECKING = False
if TYPE_CHECKING or sys.version_info >= (3, 14):  # pragma: no cover - there it is quick
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414 - for type checkers
else:
    from _collections import _tuplegetter  # the C half of `collections.namedtuple`

    class _Tuple(tuple):
        """The methods that `collections.namedtuple` writes into each class."""

        __slots__ = ()

        @classmethod
        def _make(cls, iterable: Iterable[object]) -> "_Tuple":
            """Make one of the items of an iterable."""
            made = tuple.__new__(cls, iterable)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **values: object) -> "_Tuple":
            """Return one with other values in some fields."""
            made = self._make(map(values.pop, self._fields, self))
            if values:
                wrong = TypeError if sys.version_info >= (3, 13) else ValueError  # as Python's own
                raise wrong(f"Got unexpected field names: {list(values)!r}")
            return made

        __replace__ = _replace

        def _asdict(self) -> dict[str, object]:
            """Return the values by name."""
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            """Show the values with their names."""
            shown = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({', '.join(shown)})"

        def __getnewargs__(self) -> tuple[object, ...]:
            """Return the values, for `copy` and `pickle`."""
            return tuple(self)

    class _Made(type):
        """Makes a named tuple of a class of annotated fields, as `typing.NamedTupleMeta` does."""

        def __new__(cls, name: str, bases: tuple[type, ...], space: dict[str, object]) -> type:
            if not bases:
                return type.__new__(cls, name, bases, space)
            hints = space["__annotations__"]
            fields = tuple(hints)
            defaults = {field: space[field] for field in fields if field in space}
            if tuple(defaults) != fields[len(fields) - len(defaults) :]:
                raise TypeError(f"{name}: a field without a default follows one with a default")
            names = ", ".join(fields)
            # So that Python itself takes the arguments, by name too, and says what is wrong.
            source = f"lambda _cls, {names}: _new(_cls, ({names},))"
            new = eval(source, {"_new": tuple.__new__, "__builtins__": {}})  # noqa: S307 - ours
            new.__name__ = "__new__"
            new.__qualname__ = f"{name}.__new__"
            new.__module__ = f"namedtuple_{name}"
            new.__defaults__ = tuple(defaults.values())
            new.__annotations__ = hints
            getters = {field: _tuplegetter(at, None) for at, field in enumerate(fields)}
            more = {
                "__new__": new,
                "__slots__": (),
                "__match_args__": fields,
                "_fields": fields,
                "_field_defaults": defaults,
            }
            return type(name, (_Tuple,), {**space, **getters, **more})

    class NamedTuple(metaclass=_Made):
        """The base of a named tuple."""


__all__ = ["Callable", "Iterable", "Iterator", "NamedTuple", "Sequence"]
