"""Proves the laws of the compiled code, and shows that each law fails where the code is wrong."""

from __future__ import annotations

import os
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from proof.judge import judge
from proof.law import LAWS, Stated, number, numbers, with_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proof.build import Mutant

BROKEN = [(stated, mutant) for stated in LAWS for mutant in stated.breaks]


def name_of(case: object) -> str:
    """Return what a case is called."""
    return case.name if isinstance(case, Stated) else f"{case}"


@pytest.fixture(scope="session")
def verdicts(
    request: pytest.FixtureRequest,
) -> Iterator[dict[tuple[str, Mutant | None], Future[str | None]]]:
    """Have every law that is asked for judged, as many at a time as there are processors."""
    cases = [getattr(item, "callspec", None) for item in request.session.items]
    asked = {
        (case.params["stated"].name, case.params.get("mutant")): None
        for case in cases
        if case is not None and "stated" in case.params
    }
    pool = ProcessPoolExecutor(os.cpu_count(), get_context("spawn"))
    try:
        yield {key: pool.submit(judge, *key) for key in asked}
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("stated", LAWS, ids=name_of)
def test_law(stated: Stated, verdicts: dict[tuple[str, Mutant | None], Future[str | None]]) -> None:
    assert verdicts[stated.name, None].result() is None


@pytest.mark.parametrize(
    ("stated", "mutant"),
    BROKEN,
    ids=[f"{stated.name}-{stated.breaks.index(mutant)}" for stated, mutant in BROKEN],
)
def test_law_fails_where_the_code_is_wrong(
    stated: Stated,
    mutant: Mutant,
    verdicts: dict[tuple[str, Mutant | None], Future[str | None]],
) -> None:
    assert verdicts[stated.name, mutant].result() is not None


def test_there_are_enough_laws_and_each_can_fail() -> None:
    assert len(LAWS) >= 40
    assert len({stated.name for stated in LAWS}) == len(LAWS)
    assert all(stated.breaks for stated in LAWS)


def test_only_what_has_one_number_is_taken_for_it() -> None:
    one, many = numbers("one many")
    facts = [one << 60 == 5 << 60, one & 15 == one, many > one]
    assert with_numbers("one", [many, one], facts) == [(one, number(5))]
    assert with_numbers("one", [many, one], [*facts, one == 6]) == []
