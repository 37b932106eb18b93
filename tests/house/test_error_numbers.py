"""Exceptions of phyr have the numbers of their messages as attributes, wherever they are raised."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import phyr
from phyr import Chunks, FrozenPhyr, Index, Phyr, PhyrError, PositionError
from phyr.iommu import BusOffset, DeviceLimits, Direction, IovaAllocator
from phyr.sim import Memory

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {name for name in dir(phyr) if name.endswith("Error")}


def message_of(call: ast.Call, function: ast.AST) -> ast.expr | None:
    """Return the message of an exception: the text itself, or what its variable was set to."""
    for argument in call.args:
        if isinstance(argument, ast.JoinedStr):
            return argument
        if isinstance(argument, ast.Name):
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and node.lineno < call.lineno:
                    names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                    if argument.id in names and isinstance(node.value, ast.JoinedStr):
                        found: ast.expr = node.value
                        break
            else:
                continue
            return found
    return None


def has_numbers(message: ast.expr) -> bool:
    """Return true if a text shows what is surely a number: hexadecimal, or a length."""
    return any(
        isinstance(node, ast.FormattedValue)
        and (
            (node.format_spec is not None and "x'" in ast.dump(node.format_spec))
            or ast.unparse(node.value).startswith("len(")
        )
        for node in ast.walk(message)
    )


def without_numbers(tree: ast.AST) -> Iterator[str]:
    """Yield each exception whose message shows numbers that are no attributes."""
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in CLASSES
                and not node.keywords
            ):
                message = message_of(node, function)
                if message is not None and has_numbers(message):
                    yield ast.unparse(node)


def test_a_message_with_a_number_that_is_no_attribute_is_found() -> None:
    code = """
def f(paddr, data):
    text = f"{paddr:#x} is wrong"
    if paddr:
        raise RangeError(text)
    if data:
        raise FormatError(f"{len(data)} bytes")
    raise RangeError(f"{paddr!r} is none")
    raise RangeError(text, paddr=paddr)
"""
    assert list(without_numbers(ast.parse(code))) == [
        "RangeError(text)",
        "FormatError(f'{len(data)} bytes')",
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "python" / "phyr").rglob("*.py")), ids=str)
def test_the_numbers_of_a_message_are_attributes(path: Path) -> None:
    assert list(without_numbers(ast.parse(path.read_text()))) == []


CALLS: list[tuple[Callable[[], object], dict[str, object]]] = [
    (lambda: Phyr.from_pfns([1])[::2], {"step": 2}),
    (lambda: Phyr.from_chunks([(0, 4096), 5]), {"index": 1}),  # type: ignore[list-item]
    (lambda: Phyr.from_pfns([1, -2]), {"index": 1, "value": -2}),
    (lambda: Phyr.join([Phyr.from_pfns([1]), 5]), {"index": 1}),  # type: ignore[list-item]
    (
        lambda: BusOffset(1 << 200).map(Phyr.from_pfns([1]), Direction.TO_DEVICE),
        {"offset": 1 << 200},
    ),
    (lambda: IovaAllocator((5, 3)), {"first": 5, "last": 3}),
    (lambda: IovaAllocator().alloc(0), {"length": 0, "residue": 0, "align": 1}),
    (lambda: DeviceLimits(dma_mask=-1), {"dma_mask": -1}),
    (lambda: Index([]).find(0, 0), {"length": 0}),
]


PHYR = Phyr.from_pfns([1, 5])
CHUNKS: list[Chunks] = [PHYR.chunks, PHYR.freeze().chunks]
MEMORY = Memory(1 << 20)

# Every way to ask for a place, by the names of its numbers: the place, and how many there are.
PLACES: dict[tuple[str, str], list[Callable[[int], object]]] = {
    ("position", "length"): [
        PHYR.__getitem__,
        PHYR.freeze().__getitem__,
        *(chunks.find for chunks in CHUNKS),
        MEMORY.__getitem__,
        lambda place: MEMORY.__setitem__(place, 0),
    ],
    ("number", "nr_chunks"): [
        *(chunks.__getitem__ for chunks in CHUNKS),
        *(chunks.position for chunks in CHUNKS),
    ],
    ("number", "nr_items"): [PHYR.chunks.paddrs.__getitem__, PHYR.pages(4096).__getitem__],
}


@pytest.mark.parametrize("place", [1 << 30, -(1 << 40), 1 << 64, -(1 << 90)])
@pytest.mark.parametrize("names", PLACES)
def test_a_place_outside_has_one_name_wherever_it_is_asked_for(
    names: tuple[str, str], place: int
) -> None:
    for act in PLACES[names]:
        with pytest.raises(PositionError) as caught:
            act(place)
        numbers = vars(caught.value)
        assert tuple(numbers) == names
        assert numbers[names[0]] == place
    assert all(f"`{name}`" in (PositionError.__doc__ or "") for name in names)


@pytest.mark.parametrize("place", [0x2000, (1 << 64) - 1])
@pytest.mark.parametrize("phyr", [PHYR, PHYR.freeze()], ids=["phyr", "frozen"])
def test_the_first_of_many_positions_outside_has_that_name_too(
    phyr: Phyr | FrozenPhyr, place: int
) -> None:
    with pytest.raises(PositionError) as caught:
        phyr.translate([0, place])
    assert vars(caught.value) == {"position": place, "length": 0x2000}


@pytest.mark.parametrize(("act", "numbers"), CALLS)
def test_an_error_has_its_numbers(act: Callable[[], object], numbers: dict[str, object]) -> None:
    with pytest.raises(PhyrError) as caught:
        act()
    assert vars(caught.value).items() >= numbers.items()
