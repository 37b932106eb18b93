"""The pages of the documentation site: README, the documents, and the sources that they link to.

Documents link to each other and to files of this checkout. In the site a link to a document leads
to its page, and one to any other file to a page that shows the file.
"""

import os.path
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Documents beside `docs/`, and the names of their pages.
TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
LANGUAGES = {
    ".c": "c", ".cu": "c++", ".h": "c", ".hex": "text", ".js": "javascript", ".py": "python",
    ".pyi": "python", ".rs": "rust", ".toml": "toml", ".txt": "text", ".v": "verilog",
}  # fmt: skip

FENCE = re.compile(r"^( *)(`{3,}).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<before>\]\(|^\[[^\]\n]+\]: +)(?P<link>[^)\s]+)", re.MULTILINE)
TICKS = "`" * 5  # more than any source has
# A page of code is not searched: the pages that explain it are.
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"


class Pages:
    """Writes pages to a folder, and remembers which files they show.

    Args:
        folder: Where pages are written; all that is there is removed first.
    """

    def __init__(self, folder: Path) -> None:
        """Start with no pages."""
        self.folder = folder
        self._names: dict[Path, str] = {}
        shutil.rmtree(folder, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        """Write the page of a name such as ``with/c.md``."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def gather(self) -> None:
        """Write the page of each document, and of each file that a document leads to."""
        for path in sorted((ROOT / "docs").rglob("*.md")):
            self._names[path] = path.relative_to(ROOT / "docs").as_posix()
        self._names |= {ROOT / name: page for name, page in TOP.items()}
        shutil.copytree(ROOT / "docs" / "pictures", self.folder / "pictures")
        done: set[Path] = set()
        while waiting := self._names.keys() - done:
            for path in sorted(waiting):
                self.write(self._names[path], self._text(path))
            done |= waiting

    def _text(self, path: Path) -> str:
        """Return the text of the page that shows a document, a source file or a folder."""
        if path.suffix == ".md":
            text = self._linked(path, path.read_text())
            return UNSEARCHED + text if self._names[path].startswith("source/") else text
        parts = [f"{UNSEARCHED}# {path.relative_to(ROOT)}\n"]
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file():
                language = LANGUAGES.get(file.suffix, "text")
                parts += [f"\n## {file.name}\n"] if path.is_dir() else []
                parts += [f'\n{TICKS}{language} linenums="1"\n{file.read_text()}{TICKS}\n']
        return "".join(parts)

    def _linked(self, path: Path, text: str) -> str:
        """Return the text of a document, its links those between pages."""
        parts = []
        end = 0
        for code in FENCE.finditer(text):
            parts += [self._relinked(path, text[end : code.start()]), code[0]]
            end = code.end()
        return "".join([*parts, self._relinked(path, text[end:])])

    def _relinked(self, path: Path, text: str) -> str:
        """Return text without code, its links those between pages."""

        def relinked(found: re.Match[str]) -> str:
            link, hash_, anchor = found["link"].partition("#")
            if not link or re.match(r"[a-z]+:", link):
                return found[0]
            at = (self.folder / self._names[path]).parent
            to = os.path.relpath(self.folder / self._page(path, link), at)
            return f"{found['before']}{to}{hash_}{anchor}"

        return LINK.sub(relinked, text)

    def _page(self, path: Path, link: str) -> str:
        """Return the name of the page, or picture, that a link of a document leads to."""
        target = (path.parent / link).resolve(strict=True)
        if target.suffix == ".png":
            return target.relative_to(ROOT / "docs").as_posix()
        name = target.relative_to(ROOT).as_posix().removesuffix(".md")
        return self._names.setdefault(target, f"source/{name}.md")
