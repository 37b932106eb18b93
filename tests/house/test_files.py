"""Files are short, and the files of the tests stand alone."""

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from support.tree import ROOT, files

TESTS = ROOT / "tests"
MOST_LINES = 500

# The only files that may be longer, and why.
LONGER = {"python/phyr/_phyr.pyi": "the stub of one module: type checkers look for it in one file"}

FOLDERS = ["src", "python", "crates", "tests", "benches", "examples", "fuzz", "include"]
FOLDERS += ["scripts", "website", ".ci"]
SUFFIXES = {".rs", ".py", ".pyi", ".c", ".h", ".v", ".sh", ""}


def sources() -> Iterator[Path]:
    """Yield each file that holds code; those without a suffix are scripts."""
    for path in chain.from_iterable(files(ROOT / folder) for folder in FOLDERS):
        if "corpus" not in path.parts and path.suffix in SUFFIXES:
            yield path


def taken_from_tests(text: str) -> list[str]:
    """Return the modules of tests that a file imports from."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module or ''}.{name.name}" for name in node.names]
    return [
        name
        for name in found
        if any(part.startswith(("test_", "conftest")) for part in name.split("."))
    ]


def test_a_walk_enters_no_folder_that_programs_write_to(tmp_path: Path) -> None:
    """The gate's other stages make and unmount folders below `target` meanwhile."""
    for name in (
        "one.md",
        "a/two.md",
        "a/three.py",
        "target/no.md",
        "a/target/b/no.md",
        ".x/no.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    walk = files(tmp_path, ".md")
    assert next(walk) == tmp_path / "one.md"
    assert list(walk) == [tmp_path / "a/two.md"]
    assert len(list(files(tmp_path))) == 3

    (tmp_path / "gone").mkdir()
    walk = files(tmp_path)
    assert next(walk) == tmp_path / "one.md"
    (tmp_path / "gone").rmdir()
    assert len(list(walk)) == 2


def test_no_file_is_longer_than_500_lines() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if path.read_bytes().count(b"\n") > MOST_LINES
    }
    assert found == set(LONGER)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from support.live import PAGE", []),
        ("from cli.test_map import row", ["cli.test_map.row"]),
        ("from cli import test_map", ["cli.test_map"]),
        ("def f():\n    import test_map", ["test_map"]),
        ("from .test_map import row", ["test_map.row"]),
        ("import proof.conftest", ["proof.conftest"]),
    ],
)
def test_an_import_from_tests_is_found_however_it_is_written(text: str, found: list[str]) -> None:
    assert taken_from_tests(text) == found


def test_no_file_imports_from_a_file_of_tests() -> None:
    found = {
        path.relative_to(TESTS).as_posix(): names
        for path in sorted(TESTS.rglob("*.py"))
        if (names := taken_from_tests(path.read_text()))
    }
    assert found == {}


def test_files_of_tests_have_names_of_their_own() -> None:
    names = sorted(path.name for path in TESTS.rglob("test_*.py"))
    assert names == sorted(set(names))


def test_only_the_proofs_have_a_conftest_beside_that_of_all_tests() -> None:
    found = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("conftest.py"))
    assert found == ["conftest.py", "proof/conftest.py"]
