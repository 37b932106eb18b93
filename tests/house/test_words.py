"""Prose: no sentence starts with one of the words that most often make a reader read it twice.

Read are comments and docstrings of Rust and Python, and all documents.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.tree import ROOT, files

FOLDERS = ("src", "python", "tests", "benches", "examples", "crates", "fuzz", "website")


def written(suffix: str) -> list[Path]:
    """Return the source files of a language. Those of typing have remarks, which are no prose."""
    found = (path for folder in FOLDERS for path in files(ROOT / folder, suffix))
    return sorted(path for path in found if "typing" not in path.parts)


RUST = written(".rs")
PYTHON = written(".py")
DOCUMENTS = sorted(files(suffix=".md"))

STARTS = "What|Whether|Whoever|Of that|None that|Fewer than"
# A sentence starts a paragraph, an item of a list or a cell, or follows the end of another.
BEFORE = r"(?:\A|\n[ \t]*\n|\n *[-*] |\| |(?<=[.!?])\s)[ \t]*"
RIDDLE = re.compile(rf"{BEFORE}((?:{STARTS})\b[^\n]*)")
PYTHON_RIDDLE = re.compile(rf"{BEFORE}((?:{STARTS}|None(?! +[a-z]+  ))\b[^\n]*)")


def comments_of_rust(text: str) -> Iterator[str]:
    """Yield each block of comment lines, without their marks, and each comment behind code."""
    marks = r"[ \t]*//[/!]?"
    for block in re.findall(rf"(?:^{marks}.*\n)+", text, re.MULTILINE):
        yield re.sub(rf"^{marks} ?", "", block, flags=re.MULTILINE)
    yield from re.findall(r"^(?![ \t]*//).*?[ \t]//[/!]? (.*)", text, re.MULTILINE)


def prose_of_python(text: str) -> Iterator[str]:
    """Yield each docstring, each string that documents an attribute, and each comment."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)
    lines: list[str] = []
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            line = token.string.lstrip("# ")
            if token.start[0] == last + 1:
                lines[-1] += f"\n{line}"
            else:
                lines.append(line)
            last = token.start[0]
    yield from lines


def prose_of_document(text: str) -> str:
    """Return a document without its code and its headings."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^#.*", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What is left.", 1),
        ("It says what is left.", 0),
        ("One.\nWhether two", 1),
        ("One.\n\n- Whether two", 1),
        ("| one | What two |", 1),
        ("A short count\nWhat follows", 0),
    ],
)
def test_a_riddle_is_found_where_a_sentence_starts(text: str, found: int) -> None:
    assert len(RIDDLE.findall(text)) == found


def test_prose_is_told_from_code() -> None:
    assert list(comments_of_rust("/// One.\n/// Two.\nfn f() {} // x\n  // Three\n")) == [
        "One.\nTwo.\n",
        "Three\n",
        "x",
    ]
    assert list(comments_of_rust('let url = "https://a//b"; // One. // Two\n')) == ["One. // Two"]
    assert list(
        prose_of_python(
            '"""One."""\nX = 1\n"""Two."""\n# Three\n# four\nprint("no")\nf()  # Five\n'
        )
    ) == [
        "One.",
        "Two.",
        "Three\nfour",
        "Five",
    ]
    assert prose_of_document("# What\n\nOne.\n```\nWhat\n```\n").split() == ["One."]


def test_documents_of_all_folders_are_read() -> None:
    assert {"README.md", "docs/with/c.md", "tests/vm/README.md"} <= set(map(name_of, DOCUMENTS))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", RUST, ids=name_of)
def test_no_comment_of_rust_starts_with_a_riddle(path: Path) -> None:
    assert [
        found for text in comments_of_rust(path.read_text()) for found in RIDDLE.findall(text)
    ] == []


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_no_comment_or_docstring_of_python_starts_with_a_riddle(path: Path) -> None:
    prose = prose_of_python(path.read_text())
    assert [found for text in prose for found in PYTHON_RIDDLE.findall(text)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_no_document_starts_a_sentence_with_a_riddle(path: Path) -> None:
    assert RIDDLE.findall(prose_of_document(path.read_text())) == []


# The cells of the figures hold six workloads side by side.
TABLES = [path for path in DOCUMENTS if path.parent.name == "docs" and path.stem != "performance"]


@pytest.mark.parametrize("path", TABLES, ids=name_of)
def test_a_table_fits_120_columns(path: Path) -> None:
    assert [line for line in path.read_text().splitlines() if line[:1] == "|" and line[120:]] == []
