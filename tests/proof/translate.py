"""Translates a function of LLVM IR to bit vectors of z3: what it returns, writes, must not meet.

Poison may move about; to decide by it, or to return it where that is ruled out, is undefined, as is
a division by zero, a place said not to be reached, or an access outside an object. All conditions
of that kind end up in `Outcome.undefined`, and those of a panic in `Outcome.panics`, so that a law
can say that neither ever holds.

Blocks are translated in order, each under the condition that leads to it, so a loop is refused, as
is everything else that is not known.

Source: LLVM Language Reference Manual, https://llvm.org/docs/LangRef.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

import z3

from proof import arithmetic
from proof.arithmetic import Value, all_of, any_of
from proof.ir import Function, Instruction, NotTranslated, bracketed, split
from proof.values import (
    TRUE,
    Memory,
    Operand,
    Pointer,
    bits_of,
    bytes_of,
    choice,
    each,
    joined,
    known,
    merged,
    moved,
    number,
    parts,
    places,
    poison,
    settled,
    type_and_rest,
    typed,
    value_of,
    vector,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# Calls that say something to the optimiser only.
SILENT = ("llvm.lifetime", "llvm.experimental.noalias", "llvm.dbg", "llvm.invariant")


@dataclass
class Outcome:
    """All that a call does, as terms of its arguments.

    Counts of zeros have names, which `facts` say too: `zeros` are the names with what they count.
    """

    value: Operand | None
    memory: Memory
    panics: z3.BoolRef
    undefined: z3.BoolRef
    facts: Sequence[z3.BoolRef] = ()
    zeros: Sequence[tuple[z3.BitVecRef, z3.BitVecRef]] = ()

    def word(self, base: str, index: int, width: int = 64) -> Value:
        """Return one of the numbers in an object, as the call leaves it."""
        return joined(self.memory[base, at] for at in places(index * width // 8, width))


@dataclass
class Scope:
    """A call under way: names, what leads where, and what was found on the way."""

    functions: dict[str, Function]
    names: dict[str, Operand] = field(default_factory=dict)
    edges: dict[str, list[tuple[str, z3.BoolRef, Memory]]] = field(default_factory=dict)
    returns: list[tuple[z3.BoolRef, Operand | None, Memory]] = field(default_factory=list)
    panics: list[z3.BoolRef] = field(default_factory=list)
    undefined: list[z3.BoolRef] = field(default_factory=list)
    facts: list[z3.BoolRef] = field(default_factory=list)
    zeros: list[tuple[z3.BitVecRef, z3.BitVecRef]] = field(default_factory=list)


def flags_of(text: str) -> tuple[set[str], str]:
    """Take the promises off the front of an instruction."""
    flags = set()
    while (word := text.partition(" ")[0]) in {
        *("nuw", "nsw", "exact", "disjoint", "nneg", "samesign", "inbounds", "nusw"),
    }:
        flags.add(word)
        text = text.partition(" ")[2]
    return flags, text


class Translator:
    """One call of one function."""

    def __init__(self, functions: dict[str, Function], name: str) -> None:
        """Prepare to translate a function of a module."""
        self.function = functions[name]
        self.scope = Scope(functions)
        self.guard: z3.BoolRef = TRUE
        self.memory: Memory = {}
        self.label = ""

    def run(self, arguments: Sequence[Operand], memory: Memory) -> Outcome:
        """Return what the call does."""
        scope, blocks = self.scope, self.function.blocks
        for (_, name), argument in zip(self.function.arguments, arguments, strict=True):
            scope.names[name] = argument
        first = next(iter(blocks))
        scope.edges[first] = [("", TRUE, dict(memory))]
        for label in self.order(first):
            roads = scope.edges.get(label, [])
            self.label, self.guard = label, any_of(*[guard for _, guard, _ in roads])
            self.memory = merged([(guard, memory) for _, guard, memory in roads])
            instructions = blocks[label].instructions
            for at, instruction in enumerate(instructions):
                if instruction.opcode == "unreachable" and at and self.is_call_of_panic(at):
                    break
                self.step(instruction)
        return self.outcome()

    def outcome(self) -> Outcome:
        """Return what was found, joined."""
        scope = self.scope
        panics, undefined = any_of(*scope.panics), any_of(*scope.undefined)
        if not scope.returns:
            return Outcome(None, {}, panics, undefined, scope.facts, scope.zeros)
        value = scope.returns[-1][1]
        for guard, other, _ in reversed(scope.returns[:-1]):
            value = None if other is None or value is None else choice(guard, other, value)
        memory = merged([(guard, memory) for guard, _, memory in scope.returns])
        return Outcome(value, memory, panics, undefined, scope.facts, scope.zeros)

    def order(self, first: str) -> list[str]:
        """Return the blocks, each after all that lead to it."""
        done: list[str] = []
        open_blocks: set[str] = set()

        def visit(label: str) -> None:
            if label in done:
                return
            if label in open_blocks:
                raise NotTranslated(f"a loop in {self.function.name} at {label}")
            open_blocks.add(label)
            last = self.function.blocks[label].instructions[-1]
            for following in re.findall(r'label %("[^"]+"|[\w.$-]+)', last.rest):
                visit(following.strip('"'))
            done.append(label)

        visit(first)
        return done[::-1]

    def is_call_of_panic(self, at: int) -> bool:
        """Return true if what is before an `unreachable` is a call of what is not in the module."""
        before = self.function.blocks[self.label].instructions[at - 1]
        callee = re.search(r"@([\w.$]+)\(", before.rest)
        if before.opcode != "call" or callee is None or callee[1].startswith("llvm."):
            return False
        self.scope.panics.append(self.guard)
        return True

    def step(self, instruction: Instruction) -> None:
        """Translate one instruction."""
        action = getattr(self, f"do_{instruction.opcode}", None)
        if action is not None:
            result = action(instruction.rest)
        elif instruction.opcode in arithmetic.RESULTS:
            result = self.operation(instruction)
        elif instruction.opcode in {"zext", "sext", "trunc"}:
            result = self.cast(instruction)
        else:
            raise NotTranslated(f"{self.function.name}: {instruction}")
        if instruction.result is not None:
            self.scope.names[instruction.result] = result

    def must_not(self, condition: z3.BoolRef) -> None:
        """Note that a condition makes the call undefined, if this block runs."""
        if not z3.is_false(condition):
            self.scope.undefined.append(all_of(self.guard, condition))

    def go(self, label: str, condition: z3.BoolRef) -> None:
        """Note that a condition leads to another block."""
        road = (self.label, all_of(self.guard, condition), self.memory)
        self.scope.edges.setdefault(label, []).append(road)

    def operands(self, text: str) -> list[Operand]:
        """Return operands of one type, which is named once."""
        kind, rest = type_and_rest(text)
        return [value_of(self.scope.names, kind, part) for part in split(rest)]

    def operation(self, instruction: Instruction) -> Operand:
        flags, text = flags_of(instruction.rest)
        a, b = self.operands(text)
        if instruction.opcode in {"udiv", "urem"}:
            self.must_not(any_of(number(b).poison, number(b).bits == 0))
            if divided := self.divided(instruction.opcode, number(a), number(b)):
                return divided
        return each(lambda a, b: arithmetic.binary(instruction.opcode, flags, a, b), a, b)

    def divided(self, opcode: str, a: Value, b: Value) -> Value | None:
        """Return a quotient or rest by a number that is written out, by what defines both.

        They are the one pair with ``quotient * b + rest == a``, without a wrap, and ``rest < b``.
        """
        divisor = z3.simplify(b.bits)
        if not z3.is_bv_value(divisor) or divisor.as_long() == 0:
            return None
        quotient, rest = (z3.FreshConst(a.bits.sort(), name) for name in ("quotient", "rest"))
        most = ((1 << a.width) - 1) // divisor.as_long()
        whole = quotient * divisor + rest
        self.scope.facts += [
            *(z3.ULE(quotient, most), z3.ULT(rest, divisor)),
            *(z3.UGE(whole, rest), whole == a.bits),
        ]
        return Value(quotient if opcode == "udiv" else rest, a.poison)

    def cast(self, instruction: Instruction) -> Operand:
        flags, text = flags_of(instruction.rest)
        before, _, after = text.rpartition(" to ")
        lanes = vector(after)
        width = bits_of(lanes[1] if lanes else after)
        operand = typed(self.scope.names, before)
        return each(lambda a: arithmetic.cast(instruction.opcode, flags, a, width), operand)

    def do_icmp(self, text: str) -> Operand:
        flags, text = flags_of(text)
        predicate, _, text = text.partition(" ")
        a, b = self.operands(text)
        if isinstance(a, Pointer) and isinstance(b, Pointer):
            raise NotTranslated("places compared")
        return each(lambda a, b: arithmetic.compare(predicate, flags, a, b), a, b)

    def do_select(self, text: str) -> Operand:
        condition, yes, no = [typed(self.scope.names, part) for part in split(text)]

        def one(condition: Value, yes: Operand, no: Operand) -> Operand:
            chosen = choice(condition.bits == 1, yes, no)
            if not isinstance(chosen, Value):
                self.must_not(condition.poison)
                return chosen
            return Value(chosen.bits, any_of(condition.poison, chosen.poison))

        return (
            each(one, condition, yes, no)
            if isinstance(condition, tuple)
            else one(number(condition), yes, no)
        )

    def do_freeze(self, text: str) -> Operand:
        return each(settled, typed(self.scope.names, text))

    def do_phi(self, text: str) -> Operand:
        kind, rest = type_and_rest(text)
        came = {}
        for part in split(rest):
            value, _, label = part.strip("[] ").rpartition(", ")
            came[label.strip().lstrip("%").strip('"')] = value.strip()
        roads = self.scope.edges[self.label]
        result = value_of(self.scope.names, kind, came[roads[-1][0]])
        for label, guard, _ in reversed(roads[:-1]):
            result = choice(guard, value_of(self.scope.names, kind, came[label]), result)
        return result

    def do_br(self, text: str) -> None:
        if text.startswith("label"):
            self.go(text.partition("%")[2].strip('"'), TRUE)
            return
        condition, yes, no = split(text)
        decided = number(typed(self.scope.names, condition))
        self.must_not(decided.poison)
        for label, bit in ((yes, 1), (no, 0)):
            self.go(label.partition("%")[2].strip('"'), decided.bits == bit)

    def do_switch(self, text: str) -> None:
        head, _, table = text.partition("[")
        operand, default = split(head)
        decided = number(typed(self.scope.names, operand))
        self.must_not(decided.poison)
        cases = re.findall(r"i\d+ (-?\d+), label %([\w.$-]+)", table)
        for label in dict.fromkeys(label for _, label in cases):
            is_one = [decided.bits == int(case) for case, other in cases if other == label]
            self.go(label, any_of(*is_one))
        none = z3.And(*[decided.bits != int(case) for case, _ in cases])
        self.go(default.partition("%")[2], none)

    def do_ret(self, text: str) -> None:
        value = None if text == "void" else typed(self.scope.names, text)
        if isinstance(value, Value) and self.function.is_defined:
            self.must_not(value.poison)
        self.scope.returns.append((self.guard, value, self.memory))

    def do_unreachable(self, _: str) -> None:
        self.must_not(TRUE)

    def do_extractvalue(self, text: str) -> Operand:
        aggregate, *indexes = split(text)
        operand = typed(self.scope.names, aggregate)
        for index in indexes:
            operand = operand[int(index)]  # type: ignore[index]
        return operand

    def do_insertvalue(self, text: str) -> Operand:
        aggregate, value, index = split(text)
        fields = list(typed(self.scope.names, aggregate))  # type: ignore[arg-type]
        fields[int(index)] = typed(self.scope.names, value)
        return tuple(fields)

    def do_extractelement(self, text: str) -> Operand:
        lanes, index = [typed(self.scope.names, part) for part in split(text)]
        return lanes[known(index)]  # type: ignore[index]

    def do_insertelement(self, text: str) -> Operand:
        lanes, value, index = [typed(self.scope.names, part) for part in split(text)]
        changed = list(lanes)  # type: ignore[arg-type]
        changed[known(index)] = value
        return tuple(changed)

    def do_shufflevector(self, text: str) -> Operand:
        first, second, mask = split(text)
        lanes = (*typed(self.scope.names, first), *typed(self.scope.names, second))  # type: ignore[misc]
        kind, which = type_and_rest(mask)
        if which == "zeroinitializer":
            indexes = ["0"] * (vector(kind) or (0, ""))[0]
        else:
            indexes = [part.split()[-1] for part in split(which[1:-1])]
        lane = lanes[0]
        nothing = Value(number(lane).bits, TRUE)
        return tuple(nothing if index == "poison" else lanes[int(index)] for index in indexes)

    def do_alloca(self, text: str) -> Operand:
        base = f"{self.function.name}.{len(self.scope.names)}"
        for at in range(bytes_of(split(text)[0])):
            self.memory[base, at] = number(poison("i8"))
        return Pointer(base)

    def do_getelementptr(self, text: str) -> Operand:
        _, text = flags_of(text)
        kind, pointer, *indexes = split(text)
        if len(indexes) != 1:
            raise NotTranslated(f"{self.function.name}: getelementptr {text}")
        steps = known(typed(self.scope.names, indexes[0])) * bytes_of(kind)
        return moved(typed(self.scope.names, pointer), steps)

    def at(self, pointer: Operand, size: int) -> list[tuple[str, int]]:
        """Return the places of some bytes, which must be there."""
        if not isinstance(pointer, Pointer):
            raise NotTranslated(f"{self.function.name}: a place that depends")
        wanted = [(pointer.base, pointer.offset + at) for at in range(size)]
        if any(place not in self.memory for place in wanted):
            self.must_not(TRUE)
        return wanted

    def load(self, kind: str, pointer: Operand) -> Operand:
        if lanes := vector(kind):
            size = bytes_of(lanes[1])
            return tuple(
                self.load(lanes[1], moved(pointer, lane * size)) for lane in range(lanes[0])
            )
        where = self.at(pointer, bytes_of(kind))
        whole = joined(self.memory.get(place) or number(poison("i8")) for place in where)
        return Value(z3.Extract(bits_of(kind) - 1, 0, whole.bits), whole.poison)

    def do_load(self, text: str) -> Operand:
        kind, pointer, *_ = split(text)
        return self.load(kind, typed(self.scope.names, pointer))

    def store(self, value: Operand, pointer: Operand) -> None:
        lanes = value if isinstance(value, tuple) else (value,)
        taken = [part for lane in lanes for part in parts(number(lane))]
        for place, part in zip(self.at(pointer, len(taken)), taken, strict=True):
            self.memory[place] = part

    def do_store(self, text: str) -> None:
        value, pointer, *_ = split(text)
        self.memory = dict(self.memory)
        self.store(typed(self.scope.names, value), typed(self.scope.names, pointer))

    def do_call(self, text: str) -> Operand | None:
        match = re.search(r'@("[^"]+"|[\w.$]+)\(', text)
        if match is None:
            raise NotTranslated(f"{self.function.name}: call {text}")
        name = match[1].strip('"')
        inside = text[match.end() : bracketed(text, match.end() - 1)]
        if name.startswith(SILENT):
            return None
        if name not in self.scope.functions and not name.startswith("llvm."):
            # Allowed only before `unreachable`, which looks at it.
            return None
        arguments = [typed(self.scope.names, part) for part in split(inside)]
        if name in self.scope.functions:
            return self.inner(name, arguments)
        return self.intrinsic(name, arguments)

    def inner(self, name: str, arguments: Sequence[Operand]) -> Operand | None:
        """Translate a call of another function of the module."""
        outcome = Translator(self.scope.functions, name).run(arguments, self.memory)
        self.scope.panics.append(all_of(self.guard, outcome.panics))
        self.must_not(outcome.undefined)
        self.scope.facts += outcome.facts
        self.scope.zeros += outcome.zeros
        self.guard = all_of(self.guard, z3.Not(outcome.panics))
        self.memory = outcome.memory or self.memory
        return outcome.value

    def named(self, zeros: Value) -> Value:
        """Give a count of zeros a name, by which a law can tell it."""
        name = z3.FreshConst(zeros.bits.sort(), "zeros")
        self.scope.facts.append(name == zeros.bits)
        self.scope.zeros.append((name, zeros.bits))
        return Value(name, zeros.poison)

    def intrinsic(self, name: str, arguments: Sequence[Operand]) -> Operand | None:
        """Translate a call of what LLVM has built in."""
        family = re.sub(r"(\.(v\d+)?(i\d+|p\d+))+$", "", name)
        if family == "llvm.assume":
            decided = number(arguments[0])
            self.must_not(any_of(decided.poison, decided.bits == 0))
            return None
        if match := re.fullmatch(r"llvm\.u(add|sub|mul)\.with\.overflow", family):
            return arithmetic.with_overflow(match[1], *[number(a) for a in arguments])
        if family in arithmetic.REDUCTIONS:
            join = arithmetic.plain(arithmetic.REDUCTIONS[family])
            return reduce(join, arguments[0])  # type: ignore[arg-type]
        if family in arithmetic.INTRINSICS:
            result = each(arithmetic.INTRINSICS[family], *arguments)
            if family in {"llvm.ctlz", "llvm.cttz"} and isinstance(result, Value):
                return self.named(result)
            return result
        raise NotTranslated(f"{self.function.name}: {name}")
