"""Judges laws in other processes, so that several are proved side by side.

`python -m proof.judge` proves all of them one after the other, without their mutants, and says how
much time of a processor each took, the longest last.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache

from proof import laws_desc, laws_entry, laws_numbers
from proof.build import Mutant, compiled
from proof.ir import Function, functions
from proof.law import LAWS, counterexample

# Importing them registers their laws.
assert all((laws_entry, laws_numbers, laws_desc))

NAMED = {stated.name: stated for stated in LAWS}


@lru_cache(maxsize=2)
def module(mutant: Mutant | None) -> dict[str, Function]:
    """Return the functions of the crate, or of a mutant of it."""
    return functions(compiled(mutant).read_text())


def judge(name: str, mutant: Mutant | None) -> str | None:
    """Return numbers that break a law; None if there are none, which proves it."""
    return counterexample(NAMED[name], module(mutant))


def timed() -> None:
    """Prove every law, and print the seconds of a processor that it took."""
    module(None)
    took = {}
    for name in NAMED:
        began = time.process_time()
        broken = judge(name, None)
        took[name] = time.process_time() - began
        assert broken is None, f"{name}: {broken}"
    lines = [f"{took[name]:6.2f} s  {name}" for name in sorted(took, key=took.__getitem__)]
    lines.append(f"{sum(took.values()):6.2f} s  for {len(took)} laws")
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    timed()
