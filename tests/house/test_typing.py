"""mypy sees the types that the remarks in typing/ give, and the mistakes there as mistakes."""

import re
from pathlib import Path

import pytest

CASES = sorted((Path(__file__).parent / "typing").glob("*.py"))
REVEALED = re.compile(r"^(.+?):(\d+): note: Revealed type is \"(.+)\"$")
NAMED = re.compile(r"tuple\[[^\[\]]*, fallback=([\w.]+)\]")
MODULE = re.compile(r"\b(builtins|phyr(\.\w+)+|typing)\.")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    api = pytest.importorskip("mypy.api")
    cache = tmp_path_factory.mktemp("mypy")
    config = Path(__file__).parents[2] / "pyproject.toml"
    options = ["--config-file", str(config), "--cache-dir", str(cache), "--no-error-summary"]
    out, err, _ = api.run([*options, *map(str, CASES)])
    assert err == ""
    return [line for line in out.splitlines() if "Revealed local types" not in line]


def test_there_are_cases() -> None:
    assert [case.stem for case in CASES] == ["building", "lists", "mistakes", "pinning"]


def test_mypy_has_no_complaint(report: list[str]) -> None:
    assert [line for line in report if not REVEALED.match(line)] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_every_revealed_type_is_as_remarked(case: Path, report: list[str]) -> None:
    remarked = {
        (number, line.rpartition("  # ")[2])
        for number, line in enumerate(case.read_text().splitlines(), 1)
        if line.startswith("reveal_type(")
    }
    revealed = {
        (int(found[2]), MODULE.sub("", NAMED.sub(r"\1", found[3])))
        for line in report
        if (found := REVEALED.match(line)) and Path(found[1]).name == case.name
    }
    assert revealed == remarked
