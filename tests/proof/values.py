"""The operands of LLVM IR: numbers, places, several of them; and memory, byte by byte."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import z3

from proof.arithmetic import Value, any_of
from proof.ir import NotTranslated, bare, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

TRUE = z3.BoolVal(val=True)


@dataclass(frozen=True)
class Pointer:
    """A place in one of the objects that the function was given, or made."""

    base: str
    offset: int = 0


# A value, a place, or several of them: the lanes of a vector, the fields of a struct.
Operand: TypeAlias = "Value | Pointer | tuple[Operand, ...]"
Memory: TypeAlias = "dict[tuple[str, int], Value]"


def places(offset: int, width: int) -> range:
    """Return the places of the bytes of a number."""
    return range(offset, offset + (width + 7) // 8)


def joined(parts: Iterable[Value]) -> Value:
    """Return the number that some bytes are, the lowest first."""
    taken = list(parts)
    bits = [part.bits for part in reversed(taken)]
    whole = z3.simplify(z3.Concat(*bits)) if len(bits) > 1 else bits[0]
    return Value(whole, any_of(*[part.poison for part in taken]))


def parts(value: Value) -> list[Value]:
    """Return the bytes of a number, the lowest first."""
    bits = z3.ZeroExt(-value.width % 8, value.bits)
    found = [z3.Extract(at + 7, at, bits) for at in range(0, bits.size(), 8)]
    return [Value(z3.simplify(part), value.poison) for part in found]


def poison(kind: str) -> Operand:
    """Return a value of a type that means nothing."""
    if lanes := vector(kind):
        return tuple(poison(lanes[1]) for _ in range(lanes[0]))
    if kind.startswith("{"):
        return tuple(poison(part) for part in split(kind[1:-1]))
    return Value(z3.FreshConst(z3.BitVecSort(bits_of(kind)), "poison"), TRUE)


def bits_of(kind: str) -> int:
    """Return how many bits an integer type has."""
    match = re.fullmatch(r"i(\d+)", kind.strip())
    if match is None:
        raise NotTranslated(f"type {kind}")
    return int(match[1])


def vector(kind: str) -> tuple[int, str] | None:
    """Return how many lanes a vector type has, and their type."""
    match = re.fullmatch(r"<(\d+) x ([^>]+)>", kind.strip())
    return (int(match[1]), match[2]) if match else None


def bytes_of(kind: str) -> int:
    """Return the bytes that a type takes in memory."""
    array = re.fullmatch(r"\[(\d+) x (.+)\]", kind.strip())
    if array:
        return int(array[1]) * bytes_of(array[2])
    if lanes := vector(kind):
        return lanes[0] * bytes_of(lanes[1])
    return (bits_of(kind) + 7) // 8


def type_and_rest(text: str) -> tuple[str, str]:
    """Split what begins with a type."""
    text = bare(text)
    if text[0] in "<{[":
        depth = 0
        for at, character in enumerate(text):
            depth += {"<": 1, "{": 1, "[": 1, ">": -1, "}": -1, "]": -1}.get(character, 0)
            if depth == 0:
                return text[: at + 1], text[at + 1 :].strip()
    kind, _, rest = text.partition(" ")
    return kind, rest.strip()


def constant(kind: str, text: str) -> Operand:
    """Return a value that is written out."""
    if text in {"poison", "undef"}:
        return poison(kind)
    if lanes := vector(kind):
        if text == "zeroinitializer":
            return tuple(constant(lanes[1], "0") for _ in range(lanes[0]))
        if text.startswith("splat"):
            inner = type_and_rest(text.partition("(")[2][:-1])
            return tuple(constant(*inner) for _ in range(lanes[0]))
        return tuple(constant(*type_and_rest(part)) for part in split(text[1:-1]))
    if kind.startswith("{") and text.startswith("{"):
        return tuple(constant(*type_and_rest(part)) for part in split(text[1:-1]))
    words = {"true": 1, "false": 0, "zeroinitializer": 0}
    number = words.get(text)
    if number is None and not re.fullmatch(r"-?\d+", text):
        raise NotTranslated(f"{kind} {text}")
    width = bits_of(kind)
    return Value(z3.BitVecVal(int(text) if number is None else number, width))


def value_of(names: Mapping[str, Operand], kind: str, text: str) -> Operand:
    """Return an operand by its name, or what is written out."""
    return names[text] if text.startswith("%") else constant(kind, text)


def typed(names: Mapping[str, Operand], text: str) -> Operand:
    """Return an operand with its type before it."""
    return value_of(names, *type_and_rest(text))


def moved(place: Operand, by: int) -> Pointer:
    """Return a place some bytes further on."""
    if not isinstance(place, Pointer):
        raise NotTranslated(f"no place: {place}")
    return Pointer(place.base, place.offset + by)


def number(operand: Operand) -> Value:
    """Return an operand that has to be a number."""
    if not isinstance(operand, Value):
        raise NotTranslated(f"no number: {operand}")
    return operand


def each(result: Callable[..., Operand], *operands: Operand) -> Operand:
    """Return a result, lane by lane where the operands are vectors."""
    if not any(isinstance(operand, tuple) for operand in operands):
        return result(*operands)
    size = next(len(operand) for operand in operands if isinstance(operand, tuple))
    lanes = [operand if isinstance(operand, tuple) else (operand,) * size for operand in operands]
    return tuple(each(result, *lane) for lane in zip(*lanes, strict=True))


def choice(condition: z3.BoolRef, yes: Operand, no: Operand) -> Operand:
    """Return one of two operands of one type."""
    if isinstance(yes, Value) and isinstance(no, Value):
        if z3.eq(yes.bits, no.bits) and z3.eq(yes.poison, no.poison):
            return yes
        return Value(z3.If(condition, yes.bits, no.bits), z3.If(condition, yes.poison, no.poison))
    if isinstance(yes, tuple) and isinstance(no, tuple):
        return tuple(choice(condition, a, b) for a, b in zip(yes, no, strict=True))
    if yes == no:
        return yes
    raise NotTranslated(f"a choice of {yes} and {no}")


def merged(roads: Sequence[tuple[z3.BoolRef, Memory]]) -> Memory:
    """Return the memory where several roads meet."""
    memory = dict(roads[-1][1])
    for condition, other in reversed(roads[:-1]):
        for place, value in other.items():
            known = memory.get(place, value)
            memory[place] = number(choice(condition, value, known))
    return memory


def known(operand: Operand) -> int:
    """Return a number that has to be written out."""
    bits = z3.simplify(number(operand).bits)
    if not z3.is_bv_value(bits):
        raise NotTranslated(f"a place that depends on {bits}")
    return int(bits.as_signed_long())


def settled(value: Value) -> Value:
    """Return a value that may be anything where it was poison."""
    if z3.is_false(value.poison):
        return value
    anything = z3.FreshConst(value.bits.sort(), "anything")
    return Value(z3.If(value.poison, anything, value.bits))


def words(base: str, numbers: Sequence[z3.BitVecRef]) -> Memory:
    """Return an object that holds some numbers."""
    taken = [part for bits in numbers for part in parts(Value(bits))]
    return {(base, at): part for at, part in enumerate(taken)}
