"""The built documentation site: its links, its names, and what a browser makes of it."""

import json
import os
import re
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import pytest

from support.browser import browser, visited

ROOT = Path(__file__).parents[2]
SITE = ROOT / "target" / "site"
PROBE = Path(__file__).parent / "probe.html"
WINGS = ["desc", "iommu", "iommufd", "pagemap", "pci", "sim", "testing", "vfio"]

pytestmark = pytest.mark.skipif(
    not SITE.exists() and "PHYR_SITE_REQUIRED" not in os.environ,
    reason="the site is not built: scripts/site",
)


class Page(HTMLParser):
    """The addresses in a page, and the anchors that others may name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := known.get(name))}
        if tag == "a" and known.get("href"):
            self.links.append(str(known["href"]))
        elif known.get("src") or (tag == "link" and known.get("href")):
            self.loaded.append(str(known.get("src") or known.get("href")))


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    """Return each page by its path; those of rustdoc were checked when they were made."""
    found = (path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
    return {name: Page(SITE / name) for name in found if not name.startswith("rust/")}


def test_every_link_leads_to_a_page_and_its_anchor(pages: dict[str, Page]) -> None:
    others: dict[str, Page] = {}
    lost = []
    for name, page in pages.items():
        # The page of what was not found stands for all addresses: its links start at the root.
        for link in [*page.links, *page.loaded] if name != "404.html" else []:
            if re.match(r"(https?|mailto|data):", link):
                continue
            path, anchor = urldefrag(urljoin(f"/{name}", link))
            file = SITE / unquote(path).lstrip("/")
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                lost.append((name, link))
            elif anchor and file.suffix == ".html":
                at = file.relative_to(SITE).as_posix()
                there = pages.get(at) or others.setdefault(at, Page(file))
                if unquote(anchor) not in there.anchors:
                    lost.append((name, link))
    assert lost == []
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_pages_load_nothing_from_elsewhere(pages: dict[str, Page]) -> None:
    found = [
        (name, link)
        for name, page in pages.items()
        for link in page.loaded
        if re.match(r"(https?:)?//", link)
    ]
    assert found == []


def test_every_public_name_has_an_entry_with_words(pages: dict[str, Page]) -> None:
    names = (ROOT / "tests" / "house" / "public_names.txt").read_text().split()
    known = [f"phyr.{name}" for name in names]
    known += [f"phyr.{w}.{name}" for w in WINGS for name in import_module(f"phyr.{w}").__all__]
    there = set().union(
        *(page.anchors for name, page in pages.items() if name.startswith("reference/"))
    )
    assert [name for name in known if name not in there] == []


def test_every_document_has_a_page_that_the_menu_names(pages: dict[str, Page]) -> None:
    documents = (path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
    expected = {f"{path.with_suffix('')}/index.html" for path in documents}
    named = {urljoin("/index.html", link).lstrip("/") for link in pages["index.html"].links}
    assert expected <= {f"{name}index.html" for name in named}


class Handler(SimpleHTTPRequestHandler):
    """Serves the site and the page that opens pages of it, and takes what that page writes."""

    server: "Server"

    def do_GET(self) -> None:
        if self.path != "/probe":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(PROBE.read_bytes())

    def do_POST(self) -> None:
        self.server.said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.is_done.set()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Keeps the words of a visit."""

    daemon_threads = True
    said: Any = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(SITE)))
        self.is_done = threading.Event()


def probed(profile: Path, *options: str) -> Any:  # noqa: ANN401 - what the page says
    """Return what a browser sees; it must not complain."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/probe"
        try:
            assert visited(url, profile, server.is_done, *options) == []
        finally:
            server.shutdown()
            thread.join()
        return server.said


def brightness(colour: str) -> float:
    """Return how bright a colour of CSS is, from 0 to 1."""
    red, green, blue = map(float, re.findall(r"[\d.]+", colour)[:3])
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


@browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_it_without_a_complaint(
    tmp_path: Path,
    dark: bool,  # noqa: FBT001 - a case
) -> None:
    said = probed(tmp_path, f"--blink-settings=preferredColorScheme={int(not dark)}")
    assert len(said["pages"]) == 8
    for page in said["pages"]:
        for part in ("text", "code"):
            ground, ink = brightness(page[part]["ground"]), brightness(page[part]["ink"])
            assert (ground < 0.3) if dark else (ground > 0.7), page
            assert abs(ground - ink) > 0.45, page
        assert page["wide"] <= page["width"], page
        assert page["broken"] == [], page
    assert any("reference/iommu/" in link for link in said["found"]), said["found"]
