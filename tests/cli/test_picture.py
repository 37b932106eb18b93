"""``phyr picture``: cells counted page by page, and pictures read back pixel by pixel."""

import io
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

import phyr
from phyr import cli, pagemap
from phyr.cli import picture, report, saved, scan
from phyr.cli.nodes import Nodes
from phyr.cli.picture import cells, curve, drawing, layers, pieces, plot, terminal
from support.live import linux, python, shown
from support.made import CLASS, ORIGIN, PAGE, chunks_of, order_of, pages, process, subject
from support.terminal import in_terminal, plain


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.phyr, ["picture", *map(str, arguments)])


# The curve


@pytest.mark.parametrize("side", [1, 2, 4, 8, 32])
def test_the_curve_goes_from_neighbour_to_neighbour(side: int) -> None:
    path = list(zip(*(column.tolist() for column in curve.hilbert(side)), strict=True))
    assert sorted(path) == [(x, y) for x in range(side) for y in range(side)]
    assert (path[0], path[-1]) == ((0, 0), (side - 1, 0))
    assert all(abs(x - u) + abs(y - v) == 1 for (x, y), (u, v) in pairwise(path))


@pytest.mark.parametrize("layout", ["hilbert", "rows"])
@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (0, 5 << 30), (3 << 20, 9 << 20), (0, 1 << 64), (1 << 63, 1 << 64)]
)
def test_a_frame_holds_all_that_was_asked_for(layout: str, start: int, end: int) -> None:
    frame = curve.Frame.fit(start, end, 64, layout)
    assert frame.start <= start < end <= frame.end
    assert frame.nr_cells <= 64 * 64
    x, y = frame.places()
    assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == frame.nr_cells
    assert max(x.max(), y.max()) < frame.side


# Counts


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("most", [4, 8, 16])
def test_cells_have_the_bytes_of_their_pages(seed: int, most: int) -> None:
    look = subject(seed)
    frame = look.frame(most, "hilbert")
    per_cell = (1 << frame.cell_lg2) // PAGE
    by_vma, by_order = Counter[Any](), Counter[Any]()
    by_size, owner, largest = Counter[Any](), Counter[Any](), Counter[int]()
    for vma, chunk in chunks_of(pages(seed), 0, 20, 40):
        for pfn in chunk:
            order = order_of(pfn, chunk)
            by_vma[vma, pfn // per_cell] += PAGE
            by_order[CLASS[order], pfn // per_cell] += PAGE
            by_size[CLASS[order], len(chunk).bit_length() - 1] += PAGE
            owner[pfn // per_cell, vma] += 1
            largest[pfn // per_cell] = max(order, largest[pfn // per_cell])
    made = drawing.drawn(look, layers.by_vma(look.saved.process.rows), frame)
    # Of the painter, the largest VMA comes first.
    rams = [row.resident.ram for row in look.saved.process.rows]
    ranks = sorted(range(3), key=lambda number: -rams[number])
    found = {
        (ranks[layer], cell): made.tally.cells[layer, cell]
        for layer, cell in zip(*map(np.ndarray.tolist, np.nonzero(made.tally.cells)), strict=True)
    }
    assert found == by_vma
    assert [size for _, size in made.legend()] == sorted(rams, reverse=True)
    tally = drawing.drawn(look, layers.by_order(), frame).tally
    assert {
        place: tally.cells[place]
        for place in zip(*map(np.ndarray.tolist, np.nonzero(tally.cells)), strict=True)
    } == by_order
    assert {
        place: tally.sizes[place]
        for place in zip(*map(np.ndarray.tolist, np.nonzero(tally.sizes)), strict=True)
    } == by_size
    owners = drawing.owners_of(look, frame)
    for cell, vma in enumerate(owners.vmas()):
        most_bytes = max(owner[cell, number] for number in range(3))
        assert owner[cell, vma] == most_bytes if vma >= 0 else most_bytes == 0
        assert owners.orders[cell] == largest[cell]


@pytest.mark.parametrize("seed", range(12))
def test_changes_are_those_page_by_page(seed: int) -> None:
    look = subject(seed, seed + 1000)
    before, after = pages(seed + 1000), pages(seed)
    expected = Counter[Any]()
    for vfn in {*before, *after}:
        old, new = before.get(vfn), after.get(vfn)
        if old == new:
            expected["same", new] += PAGE
        elif old is None:
            expected["appeared", new] += PAGE
        elif new is None:
            expected["vanished", old] += PAGE
        else:
            expected["moved here", new] += PAGE
            expected["moved away", old] += PAGE
    frame = look.frame(16, "rows")
    assert frame.cell_lg2 == 12
    tally = drawing.drawn(look, layers.by_change(), frame).tally
    found = {
        (pieces.FATES[layer], cell): tally.cells[layer, cell]
        for layer, cell in zip(*map(np.ndarray.tolist, np.nonzero(tally.cells)), strict=True)
    }
    assert found == expected


def test_what_changed_shows_beside_what_did_not() -> None:
    tally = cells.Tally(curve.Frame.fit(0, 4 * PAGE, 1), 2)
    tally.cells[:] = [[3 * PAGE], [PAGE]]
    assert [column.tolist() for column in tally.shown()] == [[0], [1]]
    assert tally.shown(quiet=0)[0].tolist() == [1]
    tally.cells[1] = 0
    assert [column.tolist() for column in tally.shown(quiet=0)] == [[0], [0.75]]


@pytest.mark.parametrize("one", ["neither", "before", "after"])
def test_a_look_at_nothing_is_compared_too(one: str) -> None:
    nothing, something = process({}, 0), process({1: 7, 2: 9}, 0)
    first = something if one == "before" else nothing
    second = something if one == "after" else nothing
    found = list(pieces.changes(first, second))
    fates = {"neither": [], "before": ["vanished"], "after": ["appeared"]}
    assert [pieces.FATES[part.layer[0]] for part in found] == fates[one]
    assert sum(int(part.length.sum()) for part in found) == (2 * PAGE if found else 0)


def test_nodes_have_their_memory() -> None:
    nodes = Nodes([(0, 8 * PAGE, 0), (8 * PAGE, 40 * PAGE, 2), (64 * PAGE, 128 * PAGE, 0)])
    look = subject(3)
    tally = drawing.drawn(look, layers.by_node(nodes), look.frame(16, "rows")).tally
    for pfn in pages(3).values():
        layer = {0: 0, 2: 1, None: 2}[nodes.of(pfn * PAGE)]
        assert tally.cells[:, pfn].tolist() == [PAGE * (number == layer) for number in range(3)]


def test_the_last_byte_of_the_address_space_is_shown() -> None:
    top = {0: (1 << 52) - 2, 1: (1 << 52) - 1, 3: 0}
    look = drawing.Subject(saved.Saved(ORIGIN, process(top, 0)))
    frame = look.frame(4, "hilbert")
    for painter in (layers.by_order(), layers.by_node(Nodes([(0, PAGE, 0)]))):
        tally = drawing.drawn(look, painter, frame).tally
        assert tally.cells.sum(axis=0).tolist() == [PAGE, *[0] * 14, 2 * PAGE]
    near = look._replace(span=((1 << 64) - PAGE, 1 << 64))
    made = drawing.drawn(near, layers.by_order(), near.frame(4, "hilbert"))
    assert made.tally.cells.sum() == PAGE
    assert drawing.owners_of(near, made.frame).vmas().tolist() == [0]
    gone = curve.Frame.fit(PAGE, 2 * PAGE, 4)
    assert drawing.owners_of(look, gone).vmas().tolist() == [-1]


def test_the_largest_blocks_have_their_order() -> None:
    look = drawing.Subject(saved.Saved(ORIGIN, GIB))
    frame = look.frame(4, "hilbert")
    orders = drawing.owners_of(look, frame).orders.tolist()
    assert orders == [0] * 4 + [18] * 4 + [0] * 4 + [18] * 4


def gib() -> scan.Scanned:
    plain = process({}, 0, end=1 << 20)
    list_ = phyr.Phyr.from_chunks([(1 << 30, 1 << 30), (3 << 30, 1 << 30)])
    resident = pagemap.Resident(list_, list_.length, 0, 0, 0, 0)
    return plain._replace(rows=[report.Row.of(plain.rows[0].vma, resident)])


GIB = gib()


def test_many_small_sums_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_WAITING", 5)
    monkeypatch.setattr(pieces, "_MOST", 4)
    for seed in range(5):
        look = subject(seed)
        frame = look.frame(8, "hilbert")
        found = drawing.owners_of(look, frame)
        monkeypatch.undo()
        plain = drawing.owners_of(look, frame)
        assert found.vmas().tolist() == plain.vmas().tolist()
        assert found.orders.tolist() == plain.orders.tolist()
        monkeypatch.setattr(cells, "_WAITING", 5)
        monkeypatch.setattr(pieces, "_MOST", 4)


def test_memory_that_is_listed_too_often_is_refused() -> None:
    frame = curve.Frame.fit(0, 1 << 30, 16)
    count = 100
    paddr, length = np.zeros(count, np.uint64), np.full(count, 1 << 30, np.uint64)
    with pytest.raises(phyr.RangeError, match="more than 64 times"):
        cells.spread(frame, paddr, length)


def test_the_log_of_large_numbers_is_exact() -> None:
    numbers = [1, 2, 3, (1 << 53) - 1, (1 << 54) - 1, 1 << 54, (1 << 63) - 1, (1 << 64) - 1]
    found = pieces.floor_lg2(np.array(numbers, np.uint64))
    assert found.tolist() == [number.bit_length() - 1 for number in numbers]


# Colours


def luminance(text: str) -> float:
    red, green, blue = ((part / 255) ** 2.2 for part in drawing.colours_of(text))
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def test_sizes_can_be_told_apart_in_grey() -> None:
    shades = [luminance(layer.colour) for layer in layers.by_order().layers]
    assert all(after - before > 0.03 for before, after in pairwise(shades))


def seen(text: str, lost: str) -> tuple[float, ...]:
    """Give a colour as a dichromat sees it: Viénot, Brettel and Mollon, 1999."""
    rgb = np.array([(part / 255) ** 2.2 for part in drawing.colours_of(text)])
    matrices = {
        "red": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "green": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    }
    return tuple(255 * np.clip(np.array(matrices[lost]) @ rgb, 0, 1) ** (1 / 2.2))


@pytest.mark.parametrize("lost", ["red", "green"])
def test_colour_blind_people_can_tell_layers_apart(lost: str) -> None:
    for painter in (layers.by_order(), layers.by_change(), layers.by_vma(VMAS)):
        inks = [seen(layer.colour, lost) for layer in painter.layers] + [seen(drawing.RAM, lost)]
        apart = [
            sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
            for number, one in enumerate(inks)
            for other in inks[:number]
        ]
        assert min(apart) > 25, painter.title


VMAS = process(dict(enumerate(range(64))), *range(0, 64, 6)).rows


def test_vmas_of_one_file_have_one_colour_and_the_small_ones_one() -> None:
    rows = [
        row._replace(vma=row.vma._replace(inode=5, name="/x/\x1blib")) if number % 2 else row
        for number, row in enumerate(VMAS)
    ]
    painter = layers.by_vma(rows)
    assert [layer.name for layer in painter.layers] == [r"\x1blib", *NAMES]
    assert layers.by_vma([]).layers == [layers.Layer("no other", layers.OTHERS)]
    nameless = [rows[0]._replace(vma=rows[0].vma._replace(name=""))]
    assert layers.by_vma(nameless).layers[0].name == "anonymous at 0x0"


NAMES = [*(rf"\x1b{number}\udcff" for number in (0, 12, 24, 36, 48, 60)), "no other"]


# Files


@pytest.mark.parametrize("layout", ["hilbert", "rows"])
def test_a_png_has_each_cell_where_it_belongs(tmp_path: Path, layout: str) -> None:
    ram = [(0, 128 * PAGE - 1), (160 * PAGE, 256 * PAGE - 1)]
    look = subject(5, ram=ram)
    made = drawing.drawn(look, layers.by_order(), look.frame(16, layout))
    plot.write(made, tmp_path / "file.png")
    image = np.asarray(Image.open(tmp_path / "file.png").convert("RGB"))
    scale, left, top = 1024 // 16, 96, 110
    orders = {
        pfn: CLASS[order_of(pfn, chunk)]
        for _, chunk in chunks_of(pages(5), 0, 20, 40)
        for pfn in chunk
    }
    x, y = made.frame.places()
    for pfn in range(made.frame.nr_cells):
        # Away from lines and addresses.
        row, column = top + int(y[pfn]) * scale, left + int(x[pfn]) * scale
        part = image[row + scale * 3 // 4, column + scale * 3 // 4]
        inside = pfn < 128 or pfn >= 160
        ink = layers._VIRIDIS[orders[pfn]] if pfn in orders else "#E6E6E6" if inside else "#FFFFFF"  # noqa: SLF001 - no other source
        assert tuple(part) == drawing.colours_of(ink), pfn


def test_the_words_of_an_svg_are_words(tmp_path: Path) -> None:
    look = subject(5, 6)
    look = look._replace(
        saved=look.saved._replace(process=look.saved.process._replace(command="<$a$&>"))
    )
    made = drawing.drawn(look, layers.by_change(), look.frame(16, "hilbert"))
    plot.write(made, tmp_path / "file.svg")
    root = ET.parse(tmp_path / "file.svg").getroot()  # noqa: S314 - our own
    groups = {group.get("id"): group for group in root.iter("{http://www.w3.org/2000/svg}g")}
    words = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "<$a$&> (7)" in words
    assert any(word.startswith("Physical memory 0x0 to 0x") for word in words)
    for layer, size in made.legend():
        assert f"{layer.name}  {report.spell(size)}" in words
    (image,) = groups["map"].iter("{http://www.w3.org/2000/svg}image")
    assert (image.get("width"), image.get("height")) == ("737.28", "737.28")
    bars = re.findall(r"fill: (#[0-9a-f]{6})", ET.tostring(groups["sizes"]).decode())
    inks = [layer.colour.lower() for layer, _ in made.legend()]
    assert set(inks) <= set(bars)
    again = tmp_path / "again.svg"
    plot.write(made, again)
    assert again.read_bytes() == (tmp_path / "file.svg").read_bytes()


# The command


def dumps(tmp_path: Path) -> tuple[Path, Path]:
    for name, seed in (("before", 1), ("after", 2)):
        saved.save(tmp_path / name, saved.Saved(ORIGIN, process(pages(seed), 0, 20, 40)))
    return tmp_path / "before", tmp_path / "after"


def test_the_command_writes_what_is_asked_for(tmp_path: Path) -> None:
    before, after = dumps(tmp_path)
    outputs = [tmp_path / f"map.{end}" for end in ("png", "svg", "html")]
    options = [word for output in outputs for word in ("-o", output)]
    for more in ([], ["--by", "order"], ["--against", before], ["--layout", "rows"]):
        for output in outputs:
            output.unlink(missing_ok=True)
        result = run(after, *options, *more)
        assert (result.exit_code, result.output) == (0, "")
        assert all(output.stat().st_size > 5000 for output in outputs)


@shown
def test_this_process_is_drawn(tmp_path: Path) -> None:
    result = run("self", "-o", tmp_path / "map.png", "--terminal")
    assert result.exit_code == 0, result.output
    assert "by VMA" in result.stdout
    result = run("self", "--terminal", "--by", "node")
    assert "node 0" in result.output or "does not tell its NUMA nodes" in result.output


def test_a_terminal_shows_the_cells() -> None:
    look = subject(2)
    made = drawing.drawn(look, layers.by_order(), look.frame(16, "hilbert"))
    out = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=100)
    for line in terminal.lines(made):
        out.print(line, soft_wrap=True)
    assert isinstance(out.file, io.StringIO)
    shown_rows = [line for line in out.file.getvalue().splitlines() if "▀" in line]
    found = [
        [
            tuple(map(int, numbers))
            for numbers, blocks in re.findall(COLOURS, line)
            for numbers in [numbers.replace("38;2;", "").replace("48;2;", "").split(";")]
            for _ in blocks
        ]
        for line in shown_rows
    ]
    image = made.image().tolist()
    assert found == [
        [(*upper, *lower) for upper, lower in zip(image[row], image[row + 1], strict=True)]
        for row in range(0, 16, 2)
    ]


COLOURS = r"\x1b\[([0-9;]+)m(▀+)"


@linux
def test_it_fits_a_terminal(tmp_path: Path) -> None:
    _, after = dumps(tmp_path)
    text = plain(in_terminal(100, "picture", str(after), "--by", "order", "--terminal", lines=30))
    rows = text.splitlines()
    assert [row.count("▀") for row in rows].count(16) == 8
    assert "by size of aligned block" in text
    assert len(rows) < 30


def test_an_odd_row_stands_alone() -> None:
    look = drawing.Subject(saved.Saved(ORIGIN, process({0: 0, 1: 4, 2: 8}, 0)))
    made = drawing.drawn(look, layers.by_order(), look.frame(2, "rows"))
    assert made.image().shape == (2, 2, 3)
    (first, second) = terminal.half_blocks(np.zeros((3, 2, 3), np.uint8))
    assert (first.plain, second.plain) == ("▀▀", "▀▀")
    assert "on" not in str(second.spans[0].style)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "Say where to: -o FILE or --terminal"),
        (["-o", "map.gif"], "ends in none of .png, .svg, .html"),
        (["--terminal", "--by", "change"], "--by change needs --against"),
        (["--terminal", "--range", "5-"], "is neither an address such as"),
        (["--terminal", "--range", "0x2000-0x1000"], "ends before it starts"),
        (["--terminal", "--range", "0x0-0x10000000000000001"], "passes 2^64"),
        (["--terminal", "--vma", "0x2-0x1"], "ends before it starts"),
        (["--terminal", "--range", "0xfff000-0x1000000"], "no picture of nothing"),
        (["--terminal", "--vma", "none*"], "no picture of nothing"),
        (["-o", "/no/such/directory/map.png"], "No such file or directory"),
        (["-o", "/no/such/directory/map.html"], "No such file or directory"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: list[str], why: str) -> None:
    _, after = dumps(tmp_path)
    result = run(after, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr


@pytest.mark.parametrize("missing", ["numpy", "matplotlib"])
def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    result = run(tmp_path, "-o", "map.png")
    said = "phyr: pictures take more packages: pip install '.[picture]' in a checkout\n"
    assert (result.exit_code, result.stderr) == (2, said)


def test_neither_numpy_nor_matplotlib_is_imported_for_help() -> None:
    code = """
import sys
import phyr.cli.picture.command
assert not {"numpy", "matplotlib", "rich"} & set(sys.modules), sys.modules
"""
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert picture.__doc__
