"""The operations of LLVM IR on integers, as terms of z3: results, and when they are poison.

A value is its bits together with the condition under which it is *poison*: LLVM's word for the
result of an operation whose promise (`nuw`, `nsw`, `exact`, `nneg`, ...) was broken.

Source: LLVM Language Reference Manual, https://llvm.org/docs/LangRef.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, TypeAlias

import z3

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

FALSE = z3.BoolVal(val=False)


@dataclass(frozen=True)
class Value:
    """Bits, and the condition under which they mean nothing."""

    bits: z3.BitVecRef
    poison: z3.BoolRef = FALSE

    @property
    def width(self) -> int:
        """How many bits there are."""
        return int(self.bits.size())


def any_of(*conditions: z3.BoolRef) -> z3.BoolRef:
    """Return a condition that holds if any of some do."""
    left = [condition for condition in conditions if not z3.is_false(condition)]
    return z3.Or(*left) if len(left) > 1 else (left[0] if left else FALSE)


def all_of(*conditions: z3.BoolRef) -> z3.BoolRef:
    """Return a condition that holds if all of some do."""
    left = [condition for condition in conditions if not z3.is_true(condition)]
    return z3.And(*left) if len(left) > 1 else (left[0] if left else z3.BoolVal(val=True))


def one_bit(condition: z3.BoolRef) -> z3.BitVecRef:
    """Return 1 if a condition holds, else 0."""
    return z3.If(condition, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1))


def leading_zeros(bits: z3.BitVecRef) -> z3.BitVecRef:
    """Return how many bits above the highest that is set there are."""
    width = bits.size()
    if width == 1:
        return ~bits
    half = width // 2
    low, high = z3.Extract(half - 1, 0, bits), z3.Extract(width - 1, half, bits)
    below = z3.ZeroExt(width - half, leading_zeros(low)) + (width - half)
    above = z3.ZeroExt(half, leading_zeros(high))
    return z3.If(high == 0, below, above)


def trailing_zeros(bits: z3.BitVecRef) -> z3.BitVecRef:
    """Return how many bits below the lowest that is set there are."""
    width = bits.size()
    if width == 1:
        return ~bits
    half = width // 2
    low, high = z3.Extract(half - 1, 0, bits), z3.Extract(width - 1, half, bits)
    above = z3.ZeroExt(half, trailing_zeros(high)) + half
    below = z3.ZeroExt(width - half, trailing_zeros(low))
    return z3.If(low == 0, above, below)


def ones(bits: z3.BitVecRef) -> z3.BitVecRef:
    """Return how many bits are set."""
    width = bits.size()
    each = [z3.ZeroExt(width - 1, z3.Extract(at, at, bits)) for at in range(width)]
    return reduce(lambda a, b: a + b, each)


def swapped_bytes(bits: z3.BitVecRef) -> z3.BitVecRef:
    """Return the bytes in the other order."""
    return z3.Concat(*[z3.Extract(at + 7, at, bits) for at in range(0, bits.size(), 8)])


def wider(bits: z3.BitVecRef, *, signed: bool) -> z3.BitVecRef:
    """Return a number in twice as many bits."""
    return z3.SignExt(bits.size(), bits) if signed else z3.ZeroExt(bits.size(), bits)


def passes(
    exact: Callable[[z3.BitVecRef, z3.BitVecRef], z3.BitVecRef],
    a: z3.BitVecRef,
    b: z3.BitVecRef,
    *,
    signed: bool,
) -> z3.BoolRef:
    """Return whether a sum, difference or product does not fit the bits of its parts."""
    result = exact(wider(a, signed=signed), wider(b, signed=signed))
    return result != wider(z3.Extract(a.size() - 1, 0, result), signed=signed)


RESULTS: dict[str, Callable[[z3.BitVecRef, z3.BitVecRef], z3.BitVecRef]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "udiv": z3.UDiv,
    "urem": z3.URem,
    "shl": lambda a, b: a << b,
    "lshr": z3.LShR,
    "ashr": lambda a, b: a >> b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}


Check: TypeAlias = "Callable[[z3.BitVecRef, z3.BitVecRef, z3.BitVecRef], z3.BoolRef]"

# When a promise is broken: by both operands and the result.
BROKEN: dict[tuple[str, str], Check] = {
    ("add", "nuw"): lambda a, _, result: z3.ULT(result, a),
    ("sub", "nuw"): lambda a, b, _: z3.ULT(a, b),
    ("mul", "nuw"): lambda a, b, _: passes(RESULTS["mul"], a, b, signed=False),
    ("add", "nsw"): lambda a, b, _: passes(RESULTS["add"], a, b, signed=True),
    ("sub", "nsw"): lambda a, b, _: passes(RESULTS["sub"], a, b, signed=True),
    ("mul", "nsw"): lambda a, b, _: passes(RESULTS["mul"], a, b, signed=True),
    ("shl", "nuw"): lambda a, b, result: z3.LShR(result, b) != a,
    ("shl", "nsw"): lambda a, b, result: (result >> b) != a,
    ("lshr", "exact"): lambda a, b, result: (result << b) != a,
    ("ashr", "exact"): lambda a, b, result: (result << b) != a,
    ("udiv", "exact"): lambda a, b, result: result * b != a,
    ("or", "disjoint"): lambda a, b, _: a & b != 0,
}


def binary(opcode: str, flags: Collection[str], a: Value, b: Value) -> Value:
    """Return the result of an operation on two numbers; the caller refuses to divide by zero."""
    result = RESULTS[opcode](a.bits, b.bits)
    poison = [a.poison, b.poison]
    if opcode in {"shl", "lshr", "ashr"}:
        poison.append(z3.UGE(b.bits, a.width))
    poison += [BROKEN[opcode, flag](a.bits, b.bits, result) for flag in sorted(flags)]
    return Value(result, any_of(*poison))


COMPARISONS: dict[str, Callable[[z3.BitVecRef, z3.BitVecRef], z3.BoolRef]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "ult": z3.ULT,
    "ule": z3.ULE,
    "ugt": z3.UGT,
    "uge": z3.UGE,
    "slt": lambda a, b: a < b,
    "sle": lambda a, b: a <= b,
    "sgt": lambda a, b: a > b,
    "sge": lambda a, b: a >= b,
}


def sign(bits: z3.BitVecRef) -> z3.BitVecRef:
    """Return the highest bit."""
    return z3.Extract(bits.size() - 1, bits.size() - 1, bits)


def compare(predicate: str, flags: Collection[str], a: Value, b: Value) -> Value:
    """Return the bit that says how two numbers compare."""
    poison = [a.poison, b.poison]
    if "samesign" in flags:
        poison.append(sign(a.bits) != sign(b.bits))
    return Value(one_bit(COMPARISONS[predicate](a.bits, b.bits)), any_of(*poison))


def cast(opcode: str, flags: Collection[str], a: Value, width: int) -> Value:
    """Return a number in more bits, or fewer."""
    if opcode == "trunc":
        result = z3.Extract(width - 1, 0, a.bits)
        poison = [a.poison]
        if "nuw" in flags:
            poison.append(z3.ZeroExt(a.width - width, result) != a.bits)
        if "nsw" in flags:
            poison.append(z3.SignExt(a.width - width, result) != a.bits)
        return Value(result, any_of(*poison))
    if opcode == "sext":
        return Value(z3.SignExt(width - a.width, a.bits), a.poison)
    negative = [sign(a.bits) == 1] if "nneg" in flags else []
    return Value(z3.ZeroExt(width - a.width, a.bits), any_of(a.poison, *negative))


def funnel(left: bool, high: Value, low: Value, by: Value) -> Value:  # noqa: FBT001 - partial
    """Return the upper, or lower, half of two numbers side by side, shifted."""
    width = high.width
    both = z3.Concat(high.bits, low.bits)
    amount = z3.ZeroExt(width, z3.URem(by.bits, z3.BitVecVal(width, width)))
    if left:
        result = z3.Extract(2 * width - 1, width, both << amount)
    else:
        result = z3.Extract(width - 1, 0, z3.LShR(both, amount))
    return Value(result, any_of(high.poison, low.poison, by.poison))


def zeros(count: Callable[[z3.BitVecRef], z3.BitVecRef], a: Value, not_zero: Value) -> Value:
    """Return a count of zeros; of 0 it may be said to be poison."""
    poison = any_of(a.poison, z3.And(not_zero.bits == 1, a.bits == 0))
    return Value(count(a.bits), poison)


def plain(result: Callable[..., z3.BitVecRef]) -> Callable[..., Value]:
    """Return an intrinsic that is poison only where one of its arguments is."""

    def intrinsic(*values: Value) -> Value:
        bits = result(*[value.bits for value in values])
        return Value(bits, any_of(*[value.poison for value in values]))

    return intrinsic


def with_overflow(opcode: str, a: Value, b: Value) -> tuple[Value, Value]:
    """Return a result and the bit that says that it does not fit."""
    poison = any_of(a.poison, b.poison)
    result = RESULTS[opcode](a.bits, b.bits)
    if opcode == "mul":
        overflow = passes(RESULTS[opcode], a.bits, b.bits, signed=False)
    else:
        overflow = z3.ULT(result, a.bits) if opcode == "add" else z3.ULT(a.bits, b.bits)
    return Value(result, poison), Value(one_bit(overflow), poison)


# Each intrinsic that keeps the type of its arguments, by the part of its name before the type.
INTRINSICS: dict[str, Callable[..., Value]] = {
    "llvm.cttz": lambda a, flag: zeros(trailing_zeros, a, flag),
    "llvm.ctlz": lambda a, flag: zeros(leading_zeros, a, flag),
    "llvm.ctpop": plain(ones),
    "llvm.bswap": plain(swapped_bytes),
    "llvm.fshl": lambda high, low, by: funnel(True, high, low, by),  # noqa: FBT003
    "llvm.fshr": lambda high, low, by: funnel(False, high, low, by),  # noqa: FBT003
    "llvm.umin": plain(lambda a, b: z3.If(z3.ULT(a, b), a, b)),
    "llvm.umax": plain(lambda a, b: z3.If(z3.UGT(a, b), a, b)),
    "llvm.smin": plain(lambda a, b: z3.If(a < b, a, b)),
    "llvm.smax": plain(lambda a, b: z3.If(a > b, a, b)),
    "llvm.uadd.sat": plain(lambda a, b: z3.If(z3.ULT(a + b, a), ~z3.BitVecVal(0, a.size()), a + b)),
    "llvm.usub.sat": plain(lambda a, b: z3.If(z3.ULT(a, b), z3.BitVecVal(0, a.size()), a - b)),
}

# Each intrinsic that joins the lanes of a vector.
REDUCTIONS: dict[str, Callable[[z3.BitVecRef, z3.BitVecRef], z3.BitVecRef]] = {
    "llvm.vector.reduce.add": RESULTS["add"],
    "llvm.vector.reduce.or": RESULTS["or"],
    "llvm.vector.reduce.and": RESULTS["and"],
    "llvm.vector.reduce.xor": RESULTS["xor"],
    "llvm.vector.reduce.umin": lambda a, b: z3.If(z3.ULT(a, b), a, b),
    "llvm.vector.reduce.umax": lambda a, b: z3.If(z3.UGT(a, b), a, b),
}
