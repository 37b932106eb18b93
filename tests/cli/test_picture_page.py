"""The page of ``phyr picture``, in a browser: its elements, its pixels, and what a pointer does."""

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phyr.cli import report, saved
from phyr.cli.picture import drawing, layers, page
from support.browser import browser, opened
from support.made import CLASS, ORIGIN, PAGE, chunks_of, order_of, pages, process, subject

# Points, turns the wheel, presses keys and chooses, as a user does; writes down what the page says.
USE = """
const point = (type, x, y, more = {}) => {
  const box = canvas.getBoundingClientRect();
  const Event = type === "wheel" ? WheelEvent : PointerEvent;
  const at = { clientX: box.left + box.width * x, clientY: box.top + box.height * y };
  canvas.dispatchEvent(new Event(type, { ...at, bubbles: true, cancelable: true, ...more }));
};
const press = (key) => canvas.dispatchEvent(
  new KeyboardEvent("keydown", { key, cancelable: true }));
const view = () => JSON.parse(canvas.dataset.view);
const colour = (x, y) => Array.from(
  canvas.getContext("2d").getImageData(canvas.width * x, canvas.height * y, 1, 1).data.slice(0, 3));
const wait = setInterval(() => {
  if (document.body.dataset.ready !== "true") {
    return;
  }
  clearInterval(wait);
  const said = { tips: [], legend: [], views: [view()] };
  for (let y = 0; y < 16; y += 1) {
    for (let x = 0; x < 16; x += 1) {
      point("pointermove", (x + 0.5) / 16, (y + 0.5) / 16);
      said.tips.push([x, y, byId("tip").hidden ? "" : byId("tip").textContent,
        colour((x + 0.5) / 16, (y + 0.5) / 16)]);
    }
  }
  said.legend = Array.from(byId("legend").querySelectorAll("button"), (one) => one.textContent);
  said.bars = Array.from(byId("sizes").querySelectorAll("rect"), (one) => one.getAttribute("fill"));
  point("wheel", 0.25, 0.75, { deltaY: -1 });
  said.views.push(view());
  point("pointerdown", 0.5, 0.5);
  point("pointermove", 0.4, 0.5);
  window.dispatchEvent(new PointerEvent("pointerup"));
  said.views.push(view());
  for (const key of ["+", "ArrowRight", "ArrowDown", "-", "ArrowLeft", "ArrowUp", "x", "="]) {
    press(key);
  }
  said.views.push(view());
  press("0");
  said.views.push(view());
  point("wheel", 0.5, 0.5, { deltaY: 1 });
  point("dblclick", 0.5, 0.5);
  point("pointerleave", 0.5, 0.5);
  said.views.push(view());
  said.hidden = byId("tip").hidden;
  byId("legend").querySelectorAll("button")[1].click();
  said.pressed = byId("legend").querySelectorAll("button")[1].getAttribute("aria-pressed");
  said.only = [];
  for (let y = 0; y < 16; y += 1) {
    for (let x = 0; x < 16; x += 1) {
      said.only.push(colour((x + 0.5) / 16, (y + 0.5) / 16).join());
    }
  }
  byId("by").value = "1";
  byId("by").dispatchEvent(new Event("change"));
  said.other = Array.from(byId("legend").querySelectorAll("button"), (one) => one.textContent);
  const text = document.createElement("pre");
  text.id = "said";
  text.textContent = JSON.stringify(said);
  document.body.append(text);
}, 20);
"""


def chromium(tmp_path: Path, text: str, *options: str) -> str:
    """Open a page, and give what the browser prints."""
    file = tmp_path / "page.html"
    file.write_text(text)
    return opened(file.as_uri(), tmp_path / "profile", *options)


def made(look: drawing.Subject, *painters: layers.Painter) -> str:
    return page.page(look, painters, look.frame(16, "hilbert"))


def used(tmp_path: Path, text: str) -> Any:  # noqa: ANN401 - what the page says
    dom = chromium(
        tmp_path, text.replace("</body>", f"<script>{USE}</script></body>"), "--dump-dom"
    )
    (said,) = re.findall(r'<pre id="said">(.*?)</pre>', dom, re.DOTALL)
    return json.loads(html.unescape(said))


RAM = [(0, 128 * PAGE - 1), (160 * PAGE, 256 * PAGE - 1)]


@browser
def test_it_shows_each_cell_and_tells_what_it_is(tmp_path: Path) -> None:
    look = subject(5, ram=RAM)
    by_vma = layers.by_vma(look.saved.process.rows)
    said = used(tmp_path, made(look, layers.by_order(), by_vma))
    owners = {pfn: (vma, chunk) for vma, chunk in chunks_of(pages(5), 0, 20, 40) for pfn in chunk}
    x, y = look.frame(16, "hilbert").places()
    cells = dict(zip(zip(x.tolist(), y.tolist(), strict=True), range(256), strict=True))
    for column, row, tip, colour in said["tips"]:
        pfn = cells[column, row]
        first, *rest = tip.split("\n")
        assert first.startswith(f"{pfn * PAGE:#x}+0x1000 (at ")
        if pfn not in owners:
            there = pfn < 128 or pfn >= 160
            assert rest == ["memory of others, or free" if there else "no memory here"]
            assert colour == [230] * 3 if there else colour == [255] * 3
            continue
        vma, chunk = owners[pfn]
        area = look.saved.process.rows[vma].vma
        order = order_of(pfn, chunk)
        name, class_ = rest[0], layers.by_order().layers[CLASS[order]]
        assert name.endswith(f"udcff {area.start:#x}+{area.length:#x} rw-p")
        assert rest[1] == "some 4 KiB of 4 KiB"
        assert rest[2].endswith(f"(order {order})")
        assert rest[3] == f"size of aligned block: {class_.name}"
        assert tuple(colour) == drawing.colours_of(class_.colour)
    drawn = drawing.drawn(look, layers.by_order(), look.frame(16, "hilbert"))
    assert said["legend"] == [f"{layer.name}{report.spell(size)}" for layer, size in drawn.legend()]
    assert set(said["bars"]) == {layer.colour for layer, _ in drawn.legend()}
    second = drawn.legend()[1][0]
    inks = {
        ",".join(map(str, drawing.colours_of(text)))
        for text in (second.colour, "#E6E6E6", "#FFFFFF")
    }
    assert set(said["only"]) == inks
    assert (said["pressed"], said["hidden"]) == ("true", True)
    names = [
        layer.name for layer, _ in drawing.drawn(look, by_vma, look.frame(16, "hilbert")).legend()
    ]
    assert [text.partition("udcff")[0] for text in said["other"]] == [
        name.partition("udcff")[0] for name in names
    ]


@browser
def test_it_zooms_and_moves(tmp_path: Path) -> None:
    whole, wheel, dragged, keys, reset, again = used(tmp_path, made(subject(5), layers.by_order()))[
        "views"
    ]
    assert whole == reset == again == {"x": 0, "y": 0, "scale": 1}
    assert wheel["scale"] == 1.25
    # The cell under the pointer stays under it: a quarter, and three quarters, of 16 cells.
    assert wheel["x"] == pytest.approx(4 - 4 / 1.25, abs=0.05)
    assert wheel["y"] == pytest.approx(12 - 12 / 1.25, abs=0.05)
    assert dragged["x"] == pytest.approx(wheel["x"] + 1.6 / 1.25, abs=0.05)
    assert dragged["y"] == pytest.approx(wheel["y"])
    assert keys["scale"] == pytest.approx(1.25**2)


@browser
def test_its_pixels_are_those_of_the_map(tmp_path: Path) -> None:
    look = subject(7, ram=RAM)
    shot = tmp_path / "shot.png"
    chromium(tmp_path, made(look, layers.by_order()), f"--screenshot={shot}")
    image = np.asarray(Image.open(shot).convert("RGB"))
    found = {tuple(colour) for colour in np.unique(image.reshape(-1, 3), axis=0).tolist()}
    drawn = drawing.drawn(look, layers.by_order(), look.frame(16, "hilbert"))
    for layer, _ in drawn.legend():
        ink = drawing.colours_of(layer.colour)
        assert ink in found
        # The map is some 900 pixels wide.
        cells = (np.asarray(drawn.image()) == ink).all(axis=2).sum()
        pixels = (image == ink).all(axis=2).sum()
        assert pixels > cells * 40**2


def test_what_changed_and_rows_are_told_too() -> None:
    look = subject(5, 6)
    text = page.page(look, [layers.by_change()], look.frame(8, "rows"))
    (told,) = re.findall(r'<script id="told" type="application/json">(.*?)</script>', text)
    report = json.loads(told)
    assert (report["layout"], report["ram"], report["side"]) == ("rows", None, 8)
    assert report["paintings"][0]["title"] == "what changed"
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


@browser
def test_a_hostile_name_is_only_a_name(tmp_path: Path) -> None:
    evil = "</script><script>document.title='evil'</script><b>"
    plain = process(pages(5), 0, 20, 40)
    rows = [row._replace(vma=row.vma._replace(name=evil)) for row in plain.rows]
    look = drawing.Subject(saved.Saved(ORIGIN, plain._replace(command=evil, rows=rows)))
    dom = chromium(tmp_path, made(look, layers.by_vma(rows)), "--dump-dom")
    (title,) = re.findall(r"<title>(.*?)</title>", dom)
    assert html.unescape(title) == f"{evil} (7)"
    assert "<b>" not in dom
    assert 'data-ready="true"' in dom
