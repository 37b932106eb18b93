"""Proves the laws of the compiled code, and shows that each law fails where the code is wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from proof import laws_desc, laws_entry, laws_numbers
from proof.build import Mutant, compiled
from proof.ir import Function, functions
from proof.law import LAWS, Stated, counterexample

# Importing them registers their laws.
assert all((laws_entry, laws_numbers, laws_desc))

BROKEN = [(stated, mutant) for stated in LAWS for mutant in stated.breaks]


def name_of(case: object) -> str:
    """Return what a case is called."""
    return case.name if isinstance(case, Stated) else f"{case}"


@pytest.fixture(scope="session")
def module() -> dict[str, Function]:
    return functions(compiled().read_text())


@pytest.fixture(scope="session")
def mutants() -> dict[Mutant, dict[str, Function]]:
    wanted = list(dict.fromkeys(mutant for _, mutant in BROKEN))
    with ThreadPoolExecutor(2) as pool:
        return {
            mutant: functions(path.read_text())
            for mutant, path in zip(wanted, pool.map(compiled, wanted), strict=True)
        }


@pytest.mark.parametrize("stated", LAWS, ids=name_of)
def test_law(stated: Stated, module: dict[str, Function]) -> None:
    assert counterexample(stated, module) is None


@pytest.mark.parametrize(
    ("stated", "mutant"),
    BROKEN,
    ids=[f"{stated.name}-{stated.breaks.index(mutant)}" for stated, mutant in BROKEN],
)
def test_law_fails_where_the_code_is_wrong(
    stated: Stated, mutant: Mutant, mutants: dict[Mutant, dict[str, Function]]
) -> None:
    assert counterexample(stated, mutants[mutant]) is not None


def test_there_are_enough_laws_and_each_can_fail() -> None:
    assert len(LAWS) >= 40
    assert len({stated.name for stated in LAWS}) == len(LAWS)
    assert all(stated.breaks for stated in LAWS)
