"""The table "Works with" of the README: each row leads to a page and a test, and has a figure."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LINKS = dict(re.findall(r"^\[(\w+)\]: (\S+)$", README, re.MULTILINE))
TABLE = README.partition("## Works with")[2].partition("\n\n[")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| [")
]
PAGES = sorted((ROOT / "docs" / "with").glob("*.md"))


def targets(cell: str) -> list[str]:
    return [LINKS[name] for name in re.findall(r"\]\[(\w+)\]", cell)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W+", "-", row[0]))
def test_a_row_leads_to_a_page_and_a_test_and_states_a_figure(row: list[str]) -> None:
    program, how, tests, figure = row
    (page,) = targets(program)
    assert (ROOT / page) in PAGES
    assert how
    assert targets(tests)
    for test in targets(tests):
        assert re.match(r"(tests/(with|proof)|crates/[\w-]+/tests)/\w+\.(py|rs)$", test)
        # The page says what tests it, too.
        assert Path(test).name in (ROOT / page).read_text(), test
    assert re.search(r"\d", figure)


def test_every_page_has_a_row() -> None:
    pages = [target for row in ROWS for target in targets(row[0])]
    assert sorted(pages) == [str(path.relative_to(ROOT)) for path in PAGES]


def test_every_test_of_others_programs_has_a_row() -> None:
    """Those of one page may be more: the page names them."""
    told = "".join(page.read_text() for page in PAGES) + README
    tests = (ROOT / "tests" / "with").glob("test_*.py")
    assert [path.name for path in tests if path.name not in told] == []
