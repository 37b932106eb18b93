"""The translator against plain arithmetic, line by line, and against the machine itself."""

from __future__ import annotations

import ctypes
import random
from typing import TYPE_CHECKING

import pytest
import z3

from proof.arithmetic import Value
from proof.build import compiled
from proof.ir import NotTranslated, functions
from proof.translate import Outcome, Translator
from proof.values import Pointer, bits_of, words

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 64
TOP = (1 << WIDTH) - 1

# Return the result of an instruction, or nothing where it is poison or undefined.
Plain = "Callable[[int, int], int | None]"


def signed(number: int, width: int = WIDTH) -> int:
    """Return a number read as a signed one."""
    return number - (1 << width) if number >> (width - 1) else number


def fits(number: int) -> int | None:
    """Return an unsigned number that has to fit."""
    return number if 0 <= number <= TOP else None


def fits_signed(number: int) -> int | None:
    """Return a signed number that has to fit."""
    return number & TOP if -(1 << 63) <= number < 1 << 63 else None


def shifted(a: int, by: int, shift: Callable[[int, int], int]) -> int | None:
    """Return a number shifted by less than its width."""
    return shift(a, by) & TOP if by < WIDTH else None


def exact(a: int, by: int) -> int | None:
    """Return a number shifted down, if no bit is lost."""
    return a >> by if by < WIDTH and a % (1 << by) == 0 else None


def zeros_above(a: int) -> int:
    """Return how many zeros lead."""
    return WIDTH - a.bit_length()


def zeros_below(a: int) -> int:
    """Return how many zeros trail."""
    return (a & -a).bit_length() - 1 if a else WIDTH


# Each instruction, of `%a` and `%b`, and what it yields.
INSTRUCTIONS: dict[str, Callable[[int, int], int | None]] = {
    "add i64 %a, %b": lambda a, b: a + b & TOP,
    "add nuw i64 %a, %b": lambda a, b: fits(a + b),
    "add nsw i64 %a, %b": lambda a, b: fits_signed(signed(a) + signed(b)),
    "sub i64 %a, %b": lambda a, b: a - b & TOP,
    "sub nuw i64 %a, %b": lambda a, b: fits(a - b),
    "sub nsw i64 %a, %b": lambda a, b: fits_signed(signed(a) - signed(b)),
    "mul i64 %a, %b": lambda a, b: a * b & TOP,
    "mul nuw i64 %a, %b": lambda a, b: fits(a * b),
    "mul nsw i64 %a, %b": lambda a, b: fits_signed(signed(a) * signed(b)),
    "udiv i64 %a, %b": lambda a, b: a // b if b else None,
    "urem i64 %a, %b": lambda a, b: a % b if b else None,
    "udiv exact i64 %a, %b": lambda a, b: a // b if b and a % b == 0 else None,
    "shl i64 %a, %b": lambda a, b: shifted(a, b, int.__lshift__) if b < WIDTH else None,
    "shl nuw i64 %a, %b": lambda a, b: fits(a << b) if b < WIDTH else None,
    "shl nsw i64 %a, %b": lambda a, b: fits_signed(signed(a) << b) if b < WIDTH else None,
    "lshr i64 %a, %b": lambda a, b: a >> b if b < WIDTH else None,
    "lshr exact i64 %a, %b": exact,
    "ashr i64 %a, %b": lambda a, b: signed(a) >> b & TOP if b < WIDTH else None,
    "and i64 %a, %b": lambda a, b: a & b,
    "or i64 %a, %b": lambda a, b: a | b,
    "or disjoint i64 %a, %b": lambda a, b: None if a & b else a | b,
    "xor i64 %a, %b": lambda a, b: a ^ b,
    "icmp eq i64 %a, %b": lambda a, b: a == b,
    "icmp ne i64 %a, %b": lambda a, b: a != b,
    "icmp ult i64 %a, %b": lambda a, b: a < b,
    "icmp ule i64 %a, %b": lambda a, b: a <= b,
    "icmp ugt i64 %a, %b": lambda a, b: a > b,
    "icmp uge i64 %a, %b": lambda a, b: a >= b,
    "icmp slt i64 %a, %b": lambda a, b: signed(a) < signed(b),
    "icmp sle i64 %a, %b": lambda a, b: signed(a) <= signed(b),
    "icmp sgt i64 %a, %b": lambda a, b: signed(a) > signed(b),
    "icmp sge i64 %a, %b": lambda a, b: signed(a) >= signed(b),
    "icmp samesign ult i64 %a, %b": lambda a, b: a < b if a >> 63 == b >> 63 else None,
    "trunc i64 %a to i8": lambda a, _: a & 0xFF,
    "trunc nuw i64 %a to i8": lambda a, _: a if a < 256 else None,
    "trunc nsw i64 %a to i8": lambda a, _: a & 0xFF if -128 <= signed(a) < 128 else None,
    "zext i64 %a to i128": lambda a, _: a,
    "zext nneg i64 %a to i128": lambda a, _: None if a >> 63 else a,
    "sext i64 %a to i128": lambda a, _: signed(a) & (1 << 128) - 1,
    "freeze i64 %a": lambda a, _: a,
    "select i1 true, i64 %a, i64 %b": lambda a, _: a,
    "tail call i64 @llvm.ctpop.i64(i64 %a)": lambda a, _: a.bit_count(),
    "tail call i64 @llvm.ctlz.i64(i64 %a, i1 false)": lambda a, _: zeros_above(a),
    "tail call range(i64 0, 65) i64 @llvm.ctlz.i64(i64 %a, i1 true)": lambda a, _: (
        zeros_above(a) if a else None
    ),
    "call i64 @llvm.cttz.i64(i64 %a, i1 false)": lambda a, _: zeros_below(a),
    "call i64 @llvm.cttz.i64(i64 %a, i1 true)": lambda a, _: zeros_below(a) if a else None,
    "call i64 @llvm.bswap.i64(i64 %a)": lambda a, _: int.from_bytes(a.to_bytes(8, "little")),
    "call i64 @llvm.umin.i64(i64 %a, i64 %b)": min,
    "call i64 @llvm.umax.i64(i64 %a, i64 %b)": max,
    "call i64 @llvm.smin.i64(i64 %a, i64 %b)": lambda a, b: min(a, b, key=signed),
    "call i64 @llvm.smax.i64(i64 %a, i64 %b)": lambda a, b: max(a, b, key=signed),
    "call i64 @llvm.uadd.sat.i64(i64 %a, i64 %b)": lambda a, b: min(a + b, TOP),
    "call i64 @llvm.usub.sat.i64(i64 %a, i64 %b)": lambda a, b: max(a - b, 0),
    "call i64 @llvm.fshl.i64(i64 %a, i64 %b, i64 13)": lambda a, b: (a << 13 | b >> 51) & TOP,
    "call i64 @llvm.fshr.i64(i64 %a, i64 %b, i64 13)": lambda a, b: (a << 51 | b >> 13) & TOP,
}

# The same of what takes more than a line: the body of a function, the type that it returns, what it is.
BODIES: dict[str, tuple[str, str, Callable[[int, int], int | None]]] = {
    "a road and a joint": (
        "i64",
        """
start:
  %less = icmp ult i64 %a, %b
  br i1 %less, label %yes, label %no
yes:
  br label %end
no:
  %c = sub i64 %a, %b
  br label %end
end:
  %r = phi i64 [ %b, %yes ], [ %c, %no ]
  ret i64 %r""",
        lambda a, b: b if a < b else a - b,
    ),
    "a switch": (
        "i64",
        """
start:
  switch i64 %a, label %other [
    i64 0, label %none
    i64 -1, label %all
  ]
none:
  ret i64 7
all:
  ret i64 %b
other:
  ret i64 %a""",
        lambda a, b: 7 if a == 0 else b if a == TOP else a,
    ),
    "a place said not to be reached": (
        "i64",
        """
start:
  %zero = icmp eq i64 %a, 0
  br i1 %zero, label %never, label %end
never:
  unreachable
end:
  ret i64 %b""",
        lambda a, b: b if a else None,
    ),
    "an assumption": (
        "i64",
        """
start:
  %c = icmp ne i64 %a, %b
  tail call void @llvm.assume(i1 %c)
  ret i64 %b""",
        lambda a, b: None if a == b else b,
    ),
    "overflow, asked for": (
        "i1",
        """
start:
  %r = tail call { i64, i1 } @llvm.umul.with.overflow.i64(i64 %a, i64 %b)
  %o = extractvalue { i64, i1 } %r, 1
  ret i1 %o""",
        lambda a, b: a * b > TOP,
    ),
    "memory, in another width": (
        "i16",
        """
start:
  %p = alloca [16 x i8], align 8
  %q = getelementptr inbounds nuw i8, ptr %p, i64 8
  store i64 %a, ptr %p, align 8
  store i64 %b, ptr %q, align 8
  %m = getelementptr inbounds nuw i8, ptr %p, i64 7
  %r = load i16, ptr %m, align 1
  ret i16 %r""",
        lambda a, b: a >> 56 | (b & 0xFF) << 8,
    ),
    "memory that nothing was written to": (
        "i64",
        """
start:
  %p = alloca [8 x i8], align 8
  %r = load i64, ptr %p, align 8
  ret i64 %r""",
        lambda _a, _b: None,
    ),
    "memory outside its object": (
        "i64",
        """
start:
  %p = alloca [8 x i8], align 8
  %q = getelementptr i8, ptr %p, i64 1
  store i64 %a, ptr %q, align 8
  ret i64 %b""",
        lambda _a, _b: None,
    ),
    "lanes": (
        "i64",
        """
start:
  %v = insertelement <2 x i64> poison, i64 %a, i64 0
  %w = insertelement <2 x i64> %v, i64 %b, i64 1
  %x = add <2 x i64> %w, <i64 1, i64 2>
  %y = shufflevector <2 x i64> %x, <2 x i64> poison, <2 x i32> <i32 1, i32 0>
  %z = xor <2 x i64> %y, splat (i64 5)
  %r = tail call i64 @llvm.vector.reduce.add.v2i64(<2 x i64> %z)
  ret i64 %r""",
        lambda a, b: ((a + 1 & TOP) ^ 5) + ((b + 2 & TOP) ^ 5) & TOP,
    ),
}

EDGES = [0, 1, 2, 63, 64, 128, 255, 1 << 32, 1 << 63, (1 << 63) - 1, TOP]


def pairs(seed: str) -> list[tuple[int, int]]:
    """Return edges, and numbers of all sizes."""
    source = random.Random(seed)  # noqa: S311 - a test

    def sized() -> int:
        return source.getrandbits(source.randint(1, WIDTH))

    some = [(sized(), sized()) for _ in range(60)]
    return [(a, b) for a in EDGES for b in EDGES] + some


def concrete(outcome: Outcome, a: int, b: int) -> int | None:
    """Return what a call yields for two numbers; nothing where it is poison or undefined."""
    assert isinstance(outcome.value, Value)
    given = [(z3.BitVec(name, 64), z3.BitVecVal(value, 64)) for name, value in (("a", a), ("b", b))]
    bad = z3.simplify(z3.substitute(z3.Or(outcome.undefined, outcome.value.poison), *given))
    if z3.is_true(bad):
        return None
    assert z3.is_false(bad)
    bits = z3.substitute(outcome.value.bits, *outcome.zeros)
    return int(z3.simplify(z3.substitute(bits, *given)).as_long())


def check(text: str, plain: Callable[[int, int], int | None]) -> None:
    """Compare a translated function with what it should be."""
    a, b = (Value(z3.BitVec(name, 64)) for name in "ab")
    outcome = Translator(functions(text), "f").run([a, b], {})
    for x, y in pairs(text):
        assert concrete(outcome, x, y) == plain(x, y), (x, y)


@pytest.mark.parametrize("line", INSTRUCTIONS)
def test_instruction_is_what_the_manual_says(line: str) -> None:
    kind = {"icmp": "i1", "trunc": "i8", "zext": "i128", "sext": "i128"}.get(
        line.split(maxsplit=1)[0], "i64"
    )
    check(
        f"define noundef {kind} @f(i64 noundef %a, i64 noundef %b) {{\nstart:\n  %r = {line}\n"
        f"  ret {kind} %r\n}}\n",
        INSTRUCTIONS[line],
    )


@pytest.mark.parametrize("name", BODIES)
def test_body_is_what_the_manual_says(name: str) -> None:
    kind, body, plain = BODIES[name]
    check(f"define noundef {kind} @f(i64 noundef %a, i64 noundef %b) {{{body}\n}}\n", plain)


@pytest.mark.parametrize(
    "body",
    [
        "start:\n  br label %start",
        "start:\n  %r = fadd double 1.0, 2.0\n  ret i64 0",
        "start:\n  %r = call i64 @llvm.unknown.i64(i64 %a)\n  ret i64 %r",
        "start:\n  %p = alloca [8 x i8]\n  %q = getelementptr i8, ptr %p, i64 %a\n  ret i64 0",
    ],
)
def test_what_is_not_known_is_refused(body: str) -> None:
    module = functions(f"define i64 @f(i64 %a, i64 %b) {{\n{body}\n}}\n")
    a, b = (Value(z3.BitVec(name, 64)) for name in "ab")
    with pytest.raises(NotTranslated):
        Translator(module, "f").run([a, b], {})


def test_a_call_that_does_not_return_is_a_panic() -> None:
    module = functions(
        "define void @f(i64 %a) {\nstart:\n  %z = icmp eq i64 %a, 0\n  br i1 %z, label %bad, label %end\n"
        "bad:\n  tail call void @_panic(i64 %a) #3\n  unreachable\nend:\n  ret void\n}\n"
    )
    a = z3.BitVec("a", 64)
    outcome = Translator(module, "f").run([Value(a)], {})
    assert z3.is_false(z3.simplify(outcome.undefined))
    assert z3.is_true(z3.simplify(outcome.panics == (a == 0)))


def test_the_translation_does_what_the_machine_does() -> None:
    """Each function of the crate that is proved, called as compiled for this machine."""
    module = functions(compiled().read_text())
    library = ctypes.CDLL(str(compiled(emit="link")))
    source = random.Random(7)  # noqa: S311 - a test
    ran = 0
    for name, function in module.items():
        terms: list[Value | Pointer] = []
        memory = {}
        for kind, place in function.arguments:
            if kind == "ptr":
                memory.update(words(place, [z3.BitVec(f"{place}{at}", 64) for at in range(8)]))
                terms.append(Pointer(place))
            else:
                terms.append(Value(z3.BitVec(place, bits_of(kind))))
        outcome = Translator(module, name).run(terms, memory)
        for _ in range(25):
            facts, out = [], (ctypes.c_uint64 * 8)()
            arguments: list[object] = []
            for kind, place in function.arguments:
                if kind == "ptr":
                    given = [source.choice([source.getrandbits(64), 0x800 | at]) for at in range(8)]
                    array = (ctypes.c_uint64 * 8)(*given)
                    out = array if place == "%out" else out
                    arguments.append(array)
                    facts += [(z3.BitVec(f"{place}{at}", 64), n) for at, n in enumerate(given)]
                    continue
                width = bits_of(kind)
                bits = source.getrandbits(source.randint(1, width))
                bits %= 17 if place == "%lg2" else 1 << width
                arguments.append((ctypes.c_uint64 if width == WIDTH else ctypes.c_uint32)(bits))
                facts.append((z3.BitVec(place, width), bits))
            known = z3.Solver()
            known.add(*[variable == value for variable, value in facts], *outcome.facts)
            known.add(z3.Not(outcome.panics), z3.Not(outcome.undefined))
            if known.check() != z3.sat:
                continue
            model, call = known.model(), getattr(library, name)
            call.restype = ctypes.c_uint64 if function.returns == "i64" else ctypes.c_uint32
            returned = call(*arguments)
            if isinstance(outcome.value, Value):
                expected = model.eval(outcome.value.bits, model_completion=True).as_long()
                assert returned & (1 << outcome.value.width) - 1 == expected, name
            if "%out" in dict(function.arguments).values():
                left = [model.eval(outcome.word("%out", at).bits).as_long() for at in range(8)]
                assert list(out) == left, name
            ran += 1
    assert ran > 20 * len(module)
