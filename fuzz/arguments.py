"""Arguments of any type and value for the functions of the extension module, by atheris.

``python fuzz/arguments.py [FOLDER...] [OPTION...]`` takes what libFuzzer takes. The laws:

- A call returns, or raises an error of phyr's or a `TypeError`; the rest is a crash, a panic
  exception included. An error of an argument's own comes through as it is.
- Bytes that were passed are as before.
- Lists made of arguments are what plain Python makes of them.

Without atheris, `python fuzz/arguments.py --seeds FOLDER` tries the files there.
"""

import contextlib
import gc
import inspect
import operator
import resource
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

try:
    import atheris
except ImportError:
    atheris = None

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

if atheris:
    with atheris.instrument_imports(include=["phyr"]):
        import phyr
        from phyr import desc, iommu
else:
    import phyr
    from phyr import desc, iommu

from support.model import Model  # noqa: E402 - found only now

MEMORY: Final = 3 << 30
"""Bytes of address space: what asks for more gets phyr's error, and not all of the machine."""
EDGES: Final = [
    *(0, 1, 2, 3, 7, 12, 511, 512, 2047, 2048, 4095, 4096, 4097, 65536, -1, -4096),
    *(1 << 20, 1 << 21, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 51),
    *(1 << 52, (1 << 52) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1),
    *(1 << 64, (1 << 64) + 1, -(1 << 63), -(1 << 64), 1 << 200, -(1 << 200)),
]
TEXTS: Final = [
    "",
    "ram",
    "mmio",
    "mmio:1",
    "mmio:4294967296",
    "little",
    "big",
    "RAM",
    "\0",
    "é\udc80",
]
LEFT_OUT: Final = {"FrozenPhyr.open": "any text is a file"}


class OwnError(Exception):
    """The error of an argument that is looked at."""


class Source:
    """Numbers of an input's bytes, from the front on; zeros where it has ended."""

    def __init__(self, data: bytes) -> None:
        """Start at the front."""
        self.data = data
        self.at = 0

    def byte(self) -> int:
        """Return the next byte."""
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def below(self, end: int) -> int:
        """Return a number below `end`, at most 256."""
        return self.byte() % end

    def pick(self, items: Any) -> Any:  # noqa: ANN401 - of anything
        """Return one of the items."""
        return items[self.byte() % len(items)]

    def number(self) -> int:
        """Return a number of an edge, or of few bits at some place."""
        how = self.byte()
        if how < 96:
            return EDGES[how % len(EDGES)]
        if how < 192:
            return (how - 96) << 12
        low = self.byte() | self.byte() << 8
        return (low << self.byte() % 72) * (-1 if how > 250 else 1)


class Index:
    """A number by `__index__`, which may raise, or change a list first."""

    def __init__(self, number: int, change: list[object] | None = None) -> None:
        """Keep what it will say."""
        self.number = number
        self.change = change

    def __index__(self) -> int:
        """Return the number."""
        if self.change is not None:
            self.change.clear()
        if self.number == -1:
            raise OwnError
        return self.number


class Sequence:
    """A sequence whose length is no promise."""

    def __init__(self, items: list[object], length: int) -> None:
        """Keep both."""
        self.items = items
        self.length = length

    def __len__(self) -> int:
        """Return any number that a length may be."""
        return self.length

    def __getitem__(self, key: int) -> object:
        """Return an item."""
        return self.items[key]


def strange(source: Source, depth: int) -> object:
    """Return an object of any type."""
    makers: list[Callable[[], object]] = [
        lambda: None,
        lambda: source.byte() > 127,
        lambda: float(source.number() % 1000) / 4,
        lambda: float("nan"),
        lambda: source.pick(TEXTS),
        lambda: bytes(source.byte() for _ in range(source.below(40))),
        lambda: bytearray(source.below(100)),
        lambda: Index(source.number()),
        object,
        lambda: list,
        lambda: slice(some(source, depth + 1), some(source, depth + 1), some(source, depth + 1)),
        lambda: {1: 2},
        lambda: {source.number()},
        lambda: range(source.number() % 100),
        lambda: complex(1, 2),
        lambda: Sequence([source.number()], source.below(4)),
        lambda: phyr.Phyr,
        lambda: Ellipsis,
    ]
    return source.pick(makers)()


def some(source: Source, depth: int = 0) -> object:
    """Return a number, or now and then anything."""
    if source.byte() < 200 or depth > 3:
        return source.number()
    return strange(source, depth)


def changing(source: Source, plain: list[int]) -> list[object]:
    """Return a list that an item of its own empties when it is looked at."""
    items: list[object] = [*plain]
    items.append(Index(source.number(), items))
    return items


def viewed(source: Source, plain: list[int]) -> memoryview:
    """Return a view of bytes as items of some type."""
    data = memoryview(bytes(number % 256 for number in plain) * 8)
    return data.cast(source.pick(["B", "Q", "q", "I", "d", "P", "c", "?"]))


def released(plain: list[int]) -> memoryview:
    """Return a view that was released."""
    view = memoryview(array("Q", plain))
    view.release()
    return view


def numbers(source: Source, depth: int = 0) -> object:
    """Return numbers as a list, a buffer, an iterator."""
    count = source.pick([0, 1, 2, 3, 5, 9, 40])
    plain = [abs(source.number()) % (1 << 64) for _ in range(count)]
    makers: list[Callable[[], object]] = [
        lambda: [some(source, depth + 1) for _ in plain[:9]],
        lambda: plain,
        lambda: tuple(plain),
        lambda: iter(plain),
        lambda: changing(source, plain),
        lambda: memoryview(array("Q", plain))[:: source.pick([1, 2, -1])],
        lambda: array(source.pick("bBhHiIlLqQfd"), [number % 100 for number in plain]),
        lambda: viewed(source, plain),
        lambda: memoryview(bytes(64)).cast("Q", [2, 4]),
        lambda: released(plain),
        lambda: small(source).chunks.paddrs,
        lambda: strange(source, depth + 1),
        lambda: array("Q", plain),
        lambda: array("Q", plain),
    ]
    return source.pick(makers)()


def chunks(source: Source) -> object:
    """Return pairs, as chunks are given."""
    how = source.below(6)
    if how == 0:
        return small(source).chunks
    if how == 1:
        return numbers(source)
    count = source.below(6)
    if how == 2:
        return ((some(source), some(source)) for _ in range(count))
    if how == 3:
        return [tuple(some(source) for _ in range(source.below(4))) for _ in range(count)]
    return [(source.number(), source.number()) for _ in range(count)]


def small(source: Source) -> phyr.Phyr:
    """Return a list of few pages."""
    pages = [source.byte() * (1 + 255 * (source.byte() % 2)) for _ in range(source.below(8))]
    granule = source.pick([4096, 4096, 4096, 512, 65536, 1])
    made = phyr.Phyr.from_pfns(pages, granule=granule, kind=source.pick(["ram", "ram", "mmio"]))
    end = len(made)
    return made[source.byte() % (end + 1) :] if end and source.byte() > 200 else made


def read(source: Source) -> Callable[..., object]:
    """Return what reads a device's memory, well or badly."""
    how, data = source.below(5), bytes(source.byte() for _ in range(32))
    left = 200

    def of(_at: int, count: int) -> object:
        nonlocal left
        left -= 1
        if left < 0 or how == 0:
            raise OwnError
        if how == 1:
            return None
        if how == 2:
            return data[: count % 7]
        return (data * (count // 32 + 1))[:count]

    return of


def limits(source: Source) -> object:
    """Return the limits of a device."""
    if source.byte() < 64:
        return strange(source, 0)
    try:
        return iommu.DeviceLimits(
            max_segment_size=source.number(),
            seg_boundary_mask=source.number(),
            virt_boundary_mask=source.number(),
        )
    except phyr.PhyrError:
        return None


def memory(source: Source) -> object:
    """Return bytes that may be a list, a frozen one, or descriptors."""
    how = source.below(5)
    if how == 0:
        return numbers(source)
    made = small(source)
    data = bytearray(
        made.to_bytes() if how == 1 else made.freeze().to_bytes() if how == 2 else bytes(64)
    )
    for _ in range(source.below(4)):
        if data:
            data[source.byte() % len(data)] ^= 1 << source.byte() % 8
    return data if how == 3 else memoryview(data)


def window(source: Source) -> iommu.IovaMap:
    """Return a map with some lists."""
    made = iommu.IovaMap()
    for number in range(source.below(4)):
        with contextlib.suppress(phyr.PhyrError):
            made.map(number << 16, small(source), number)
    return made


FITTING: Final[dict[str, Callable[[Source], object]]] = {
    **dict.fromkeys(["pfns", "paddrs", "lengths", "positions"], numbers),
    **dict.fromkeys(["chunks", "ranges"], chunks),
    **dict.fromkeys(["phyr", "other", "dma"], lambda s: s.pick([small, frozen])(s)),
    "lists": lambda s: [small(s) for _ in range(s.below(4))] if s.byte() % 2 else small(s),
    "kind": lambda s: s.pick(TEXTS),
    "byteorder": lambda s: s.pick(TEXTS),
    **dict.fromkeys(["granule", "page_size", "folio_size"], lambda s: 1 << s.below(70)),
    **dict.fromkeys(["data", "head", "sgl1", "buffer"], memory),
    "read": read,
    "limits": limits,
    "vmemmap": lambda s: s.pick([0xFFFF_EA00_0000_0000, 1, 64]),
    "out": lambda s: array("Q", bytes(8 * s.below(10))),
    "value": lambda s: s.pick([lambda t: (t.number(), t.number()), some])(s),
    "key": lambda s: s.pick([some, lambda t: slice(some(t), some(t))])(s),
    "rows": lambda s: s.number() % 100 - 1,
}


def frozen(source: Source) -> phyr.FrozenPhyr:
    """Return a frozen list."""
    return small(source).freeze()


def builder(source: Source) -> phyr.Builder:
    """Return a builder with some pages."""
    made = phyr.Builder()
    made.extend_pfns([source.byte() for _ in range(source.below(5))])
    return made


SELVES: Final[dict[type, Callable[[Source], object]]] = {
    phyr.Phyr: small,
    phyr.FrozenPhyr: frozen,
    phyr.Chunks: lambda s: (frozen(s) if s.below(2) else small(s)).chunks,
    phyr.Column: lambda s: small(s).chunks.lengths,
    phyr.Builder: builder,
    phyr.Index: lambda s: phyr.Index([frozen(s)]),
    desc.Descriptors: lambda s: desc.phys_vecs(small(s)),
    iommu.IovaMap: window,
}


def calls() -> Iterator[tuple[str, Callable[..., object], type | None, list[inspect.Parameter]]]:
    """Yield each function with its name, the type of its `self` and its other parameters."""
    for owner in SELVES:
        yield owner.__name__, owner, None, []
        for name, member in vars(owner).items():
            label = f"{owner.__name__}.{name}"
            if not callable(getattr(owner, name)) or label in LEFT_OUT or name == "__new__":
                continue
            bound = isinstance(member, (staticmethod, classmethod))
            method = getattr(owner, name)
            try:
                parameters = list(inspect.signature(method).parameters.values())
            except ValueError:
                continue
            is_static = bound or not parameters or parameters[0].name != "self"
            yield label, method, None if is_static else owner, parameters[not is_static :]
    for module in (desc, iommu):
        for name in module.__all__:
            function = getattr(module, name)
            if inspect.isbuiltin(function):
                yield name, function, None, list(inspect.signature(function).parameters.values())


CALLS: Final = list(calls())
KEYWORD = inspect.Parameter.KEYWORD_ONLY
POSITIONAL = inspect.Parameter.POSITIONAL_ONLY


def argument(source: Source, name: str) -> object:
    """Return an argument that fits the name, or now and then anything."""
    if source.byte() > 220:
        return strange(source, 0)
    return FITTING.get(name, some)(source)


def is_own(label: str, error: Exception) -> bool:
    """Say whether an error is of Python's own, and not of a call that phyr can refuse in time."""
    text = str(error)
    return (
        # A list of Python's or an array of NumPy's says it so.
        (
            isinstance(error, ValueError | LookupError | BufferError)
            and label.partition(".")[0] in {"Chunks", "Column"}
        )
        or text == "slice step cannot be zero"
        # A memoryview that was released, or is asked for an item of two dimensions.
        or "released memoryview" in text
        # The last is of a text that has no UTF-8.
        or isinstance(error, NotImplementedError | UnicodeEncodeError)
    )


def call(source: Source) -> None:
    """Call one function."""
    label, function, owner, parameters = source.pick(CALLS)
    given: list[object] = [SELVES[owner](source)] if owner else []
    named: dict[str, object] = {}
    for parameter in parameters:
        is_needed = parameter.default is inspect.Parameter.empty
        if not is_needed and source.byte() % 2:
            continue
        value = argument(source, parameter.name)
        if parameter.kind == KEYWORD or named or (not is_needed and parameter.kind != POSITIONAL):
            named[parameter.name] = value
        else:
            given.append(value)
    if source.byte() > 250:
        given.append(1)
    before = [bytes(one) for one in given if isinstance(one, bytes | bytearray)]
    try:
        result = function(*given, **named)
    except (phyr.PhyrError, TypeError, OwnError):
        return
    except (AttributeError, BufferError, LookupError, RuntimeError, ValueError) as error:
        if is_own(label, error):
            return
        raise
    if label != "Descriptors.fill":
        after = [bytes(one) for one in given if isinstance(one, bytes | bytearray)]
        assert before == after, label
    if isinstance(result, phyr.Phyr):
        result.validate()
        assert result.length == sum(length for _, length in result.chunks)


def converted(source: Source) -> None:
    """Make a list of numbers in any form, and of the same numbers in plain Python."""
    given = numbers(source)
    granule = source.pick([4096, 512, 65536])
    plain: list[int] | None = None
    # An iterator can be read once, and some change as they are read.
    if isinstance(given, tuple | array) or (
        type(given) is list and all(type(one) is int for one in given)
    ):
        plain = list(given)
    try:
        made = phyr.Phyr.from_pfns(given, granule=granule)
    except (phyr.PhyrError, TypeError, OwnError):
        if plain is None or (isinstance(given, array) and given.typecode in "fd"):
            return
        reach = min((1 << 64) // granule, 1 << 52)
        is_array = isinstance(given, array) and given.itemsize != 8
        assert is_array or not all(0 <= number < reach for number in plain), given
        return
    if plain is not None:
        model = Model.of_pages(map(operator.index, plain), granule)
        assert [tuple(chunk) for chunk in made.chunks] == model.chunks()
        assert made.length == model.length
        where = [source.byte() * 64 % max(made.length, 1) for _ in range(3)]
        if plain:
            assert list(made.translate(where)) == [model.translate(at) for at in where]


def appended(source: Source) -> None:
    """Append numbers of any type to a builder: as `operator.index` takes them."""
    made = phyr.Builder()
    expected: list[tuple[int, int]] = []
    for _ in range(source.below(4)):
        paddr, length = some(source), some(source)
        before = made.length
        try:
            made.append(paddr, length)
        except (phyr.PhyrError, TypeError, OwnError):
            assert made.length == before
        else:
            expected.append((operator.index(paddr), operator.index(length)))
    listed = made.finish()
    model = Model(tuple(expected))
    assert [tuple(chunk) for chunk in listed.chunks] == model.chunks()


def check(data: bytes) -> None:
    """Run the calls that the bytes name."""
    source = Source(data)
    while source.at < min(len(data), 200):
        how = source.byte()
        if how < 200:
            call(source)
        elif how < 230:
            converted(source)
        else:
            appended(source)


def main() -> None:
    """Fuzz, or try seeds."""
    if sys.argv[1:2] == ["--seeds"]:
        files = sorted(Path(sys.argv[2]).iterdir())
        for file in files:
            check(file.read_bytes())
        sys.stdout.write(f"{len(files)} seeds, {len(CALLS)} functions, no law broken\n")
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    gc.freeze()
    # These decide how an argument looks.
    for function in [check, call, converted, appended, argument, numbers, chunks, strange, memory]:
        atheris.instrument_func(function)
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
