"""Documents: lines and tables that fit a terminal, and links that lead somewhere."""

import re
from pathlib import Path

import pytest

from support.tree import ROOT, files

DOCUMENTS = sorted(files(suffix=".md"))
WIDTH = 120

CODE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """Return the anchors that a forge gives the headings of a document."""
    headings = re.findall(r"^#+ +(.*)$", CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_lines_and_tables_fit(path: Path) -> None:
    """Output of programs, in code blocks, is as wide as it is."""
    text = CODE.sub(lambda code: "\n" * code[0].count("\n"), path.read_text())
    wide = [at for at, line in enumerate(text.splitlines(), 1) if len(line) > WIDTH]
    assert wide == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    lost = []
    for inline, listed in LINK.findall(CODE.sub("", path.read_text())):
        link = inline or listed
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            lost.append(link)
    assert lost == []
