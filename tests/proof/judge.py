"""Judges laws in other processes, so that several are proved side by side."""

from __future__ import annotations

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
