"""Laws of the compiled code: what is given, what follows, and whether any number breaks it.

```python
@law(breaks=[Mutant("entry", "count <= COUNT", "count < COUNT")])
def the_escape_is_there_exactly_above_2047_units(code):
    ...
    return Law(given=[...], claim=...)
```

A call in a law also has to be defined for all that is given: no panic, no undefined behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import z3

from proof.arithmetic import Value, any_of
from proof.build import Mutant, compiled
from proof.ir import Function, functions
from proof.translate import Outcome, Translator
from proof.values import Pointer, bits_of, settled, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# The limit for one question, in z3's own count of steps, which is the same on every machine.
PATIENCE = 60_000_000

# Words that a pointer has if a law does not say: as many as any function here fills.
ROOM = 8


@dataclass
class Law:
    """A claim, and what is given for it.

    `cases` are taken one by one, where all at once are too many for z3; that there is no other is
    proved as well. A count of zeros that is one number throughout a case is proved to be it, and is
    that number from then on.
    """

    claim: z3.BoolRef
    given: Sequence[z3.BoolRef] = ()
    cases: Sequence[z3.BoolRef] = (z3.BoolVal(val=True),)


@dataclass
class Call:
    """The outcome of a call of a function of the crate."""

    outcome: Outcome

    @property
    def value(self) -> z3.BitVecRef:
        """The number returned: any, where the code does not say which."""
        assert isinstance(self.outcome.value, Value)
        return settled(self.outcome.value).bits

    @property
    def holds(self) -> z3.BoolRef:
        """Return the condition that the result is true."""
        return self.value == 1

    def __getitem__(self, index: int) -> z3.BitVecRef:
        """Return a word that the call wrote: any, where the code does not say which."""
        return settled(self.outcome.word("%out", index)).bits


@dataclass
class Code:
    """The compiled functions, to be called with terms."""

    module: dict[str, Function]
    calls: list[Outcome] = field(default_factory=list)

    @classmethod
    def of(cls, mutant: Mutant | None = None) -> Code:
        """Compile the crate, or a mutant of it."""
        return cls(functions(compiled(mutant).read_text()))

    def __getattr__(self, name: str) -> Callable[..., Call]:
        """Return a function of the crate, by the name of its door."""
        return lambda *arguments: self.call(name, *arguments)

    def call(self, name: str, *arguments: z3.BitVecRef | int | Sequence[z3.BitVecRef]) -> Call:
        """Translate a call; words to be read are given as a sequence."""
        operands: list[Value | Pointer] = []
        memory = {}
        left = list(arguments)
        for kind, place in self.module[name].arguments:
            if kind != "ptr":
                bits = left.pop(0)
                width = bits_of(kind)
                bits = z3.BitVecVal(bits, width) if isinstance(bits, int) else bits
                operands.append(Value(z3.Extract(width - 1, 0, bits)))
                continue
            if place == "%out":
                given = [z3.FreshConst(z3.BitVecSort(64), "before") for _ in range(ROOM)]
            else:
                given = list(left.pop(0))  # type: ignore[arg-type]
            operands.append(Pointer(place))
            memory.update(words(place, given))
        assert not left, f"{name} takes fewer arguments"
        outcome = Translator(self.module, name).run(operands, memory)
        self.calls.append(outcome)
        return Call(outcome)

    def misbehaves(self) -> z3.BoolRef:
        """Return the condition under which any call panics or is undefined."""
        return any_of(*[any_of(call.panics, call.undefined) for call in self.calls])


@dataclass(frozen=True)
class Stated:
    """A law with its name, and the mutants that break it."""

    name: str
    state: Callable[[Code], Law]
    breaks: tuple[Mutant, ...]


LAWS: list[Stated] = []


def law(*, breaks: Sequence[Mutant]) -> Callable[[Callable[[Code], Law]], Callable[[Code], Law]]:
    """Register a law."""

    def register(state: Callable[[Code], Law]) -> Callable[[Code], Law]:
        LAWS.append(Stated(state.__name__, state, tuple(breaks)))
        return state

    return register


def solver(*facts: z3.BoolRef) -> z3.Solver:
    """Return a solver that knows some facts."""
    made = z3.Solver()
    made.set("rlimit", PATIENCE)
    made.add(*facts)
    return made


def answer(name: str, *facts: z3.BoolRef) -> z3.ModelRef | None:
    """Return numbers for which all facts hold; `None` if there are none."""
    asked = solver(*facts)
    found = asked.check()
    assert found != z3.unknown, f"{name}: z3 does not know: {asked.reason_unknown()}"
    return asked.model() if found == z3.sat else None


def with_numbers(
    name: str, terms: Sequence[z3.BitVecRef], facts: Sequence[z3.BoolRef]
) -> list[tuple[z3.BitVecRef, z3.BitVecRef]]:
    """Return the terms that facts leave one number only, each with that number, which is proved."""
    possible = answer(name, *facts) if terms else None
    if possible is None:
        return []
    tried = [(term, possible.eval(term, model_completion=True)) for term in terms]
    return [pair for pair in tried if answer(name, *facts, pair[0] != pair[1]) is None]


def counterexample(stated: Stated, module: dict[str, Function]) -> str | None:
    """Return numbers that break a law; `None` if there are none, which proves it.

    Raises:
        AssertionError: What is given cannot be, or z3 does not know.
    """
    code = Code(module)
    stands = stated.state(code)
    given = [*stands.given, *[fact for call in code.calls for fact in call.facts]]
    wrong = any_of(code.misbehaves(), z3.Not(stands.claim))
    zeros = [name for call in code.calls for name, _ in call.zeros]
    for case in stands.cases:
        # Where all is one case there is nothing that it would decide.
        terms = zeros if len(stands.cases) > 1 else []
        settled = with_numbers(stated.name, terms, [*given, case])
        facts = [z3.substitute(fact, *settled) for fact in (*given, case, wrong)]
        model = answer(stated.name, *facts)
        if model is not None:
            return str(model)
    assert answer(stated.name, *given) is not None, f"{stated.name}: what is given cannot be"
    other = answer(stated.name, *given, *[z3.Not(case) for case in stands.cases])
    assert other is None, f"{stated.name}: no case: {other}"
    return None


def numbers(names: str, width: int = 64) -> list[z3.BitVecRef]:
    """Return numbers that may be any."""
    return [z3.BitVec(name, width) for name in names.split()]


def number(value: int) -> z3.BitVecRef:
    """Return a number of 64 bits."""
    return z3.BitVecVal(value, 64)


def wide(bits: z3.BitVecRef) -> z3.BitVecRef:
    """Return a number in 128 bits, where no sum or product of two wraps."""
    return z3.ZeroExt(128 - bits.size(), bits)


def each(variable: z3.BitVecRef, values: Sequence[int]) -> list[z3.BoolRef]:
    """Return the cases that a number is one of some."""
    return [variable == value for value in values]


def low_mask(mask: z3.BitVecRef) -> z3.BoolRef:
    """Return whether a number is one less than a power of two."""
    return mask & (mask + 1) == 0


def power_of_two(bits: z3.BitVecRef) -> z3.BoolRef:
    """Return whether one bit is set."""
    return z3.And(bits != 0, bits & (bits - 1) == 0)


def above(a: z3.BitVecRef, b: z3.BitVecRef | int) -> z3.BoolRef:
    """Return whether one number is larger than another."""
    return z3.UGT(a, b)


def at_most(a: z3.BitVecRef, b: z3.BitVecRef | int) -> z3.BoolRef:
    """Return whether one number is not larger than another."""
    return z3.ULE(a, b)
