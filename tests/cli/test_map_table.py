"""``phyr map``: the table, on every width."""

import io
import re

import pytest
from rich.console import Console

import phyr
from phyr import pagemap
from phyr.cli import lines, report, show
from support.shown_map import GIB, LONG_NAME, MIB, OPTIONS, ROWS, process, row, shown_map, vma


def test_a_wide_table_has_a_line_for_each_vma(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown_map(monkeypatch, 140).splitlines()
    assert " ".join(found[0].split()) == (
        "range size resident chunks list largest 4 KiB 64 KiB 2 MiB 1 GiB name"
    )
    assert re.fullmatch(
        r"0x555500000000\+0x500000 5 MiB 3.1 MiB 3 \d+ B 2 MiB - 35% 65% - \(anonymous\)",
        " ".join(found[1].split()),
    )
    assert found[2].split()[-5:-1] == ["<1%", "-", "-", ">99%"]
    assert found[2].endswith("directory/library.so")
    assert "…" in found[2]
    assert found[3].endswith(r"/a/\x1b[31mred\udcff")
    assert max(map(len, found)) <= 140


def test_a_narrow_table_has_two_lines_for_each_vma_and_cuts_names_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wide = shown_map(monkeypatch, None).splitlines()
    narrow = shown_map(monkeypatch, 80).splitlines()
    assert max(map(len, narrow)) <= 80
    for number, line in enumerate(wide[:4]):
        figures = " ".join(narrow[2 * number : 2 * number + 2]).split()
        for word in line.split():
            assert word in figures or word in {LONG_NAME, "range", "name"}
    assert narrow[4].endswith("directory/library.so")


def test_what_is_piped_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_map(monkeypatch, None)
    assert LONG_NAME in text
    assert "…" not in text


def test_what_has_nothing_resident_is_counted_and_listed_only_if_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brief = shown_map(monkeypatch, None)
    long = shown_map(monkeypatch, None, everything=True)
    assert "[reserved]" not in brief
    assert "1 VMA of 32 TiB, nothing resident, listed by --all" in brief
    assert "[reserved]" in long
    assert "--all" not in long


def test_the_total_compares_the_forms_of_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown_map(monkeypatch, 100).splitlines()
    (total,) = [line for line in found if line.startswith("total")]
    assert total.endswith("4 VMAs of 32.0 TiB, 2.0 GiB resident")
    (chunks,) = [line for line in found if line.startswith("chunks")]
    assert chunks.endswith("6, largest 2 GiB")
    (costs,) = [line for line in found if line.startswith("bytes")]
    assert "bio_vec 96 (" in costs
    assert "scatterlist 192 (" in costs


def test_the_total_is_wrapped_between_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shown_map(monkeypatch, 200).splitlines()
    parts = shown_map(monkeypatch, 50).splitlines()
    at = next(number for number, line in enumerate(parts) if line.startswith("bytes"))
    assert all(len(line) <= 50 for line in parts[at:])
    assert len(parts[at:]) > 2
    assert " ".join(parts[at:]).split() == " ".join(whole[-2:]).split()


def test_states_other_than_ram_are_named_in_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = pagemap.Resident(phyr.Phyr.from_chunks([]), 0, 4096, 8192, 12288, 16384)
    rows = [report.Row.of(vma(4096, 40960), resident)]
    text = shown_map(monkeypatch, None, process(rows, device_known=False))
    assert "0 resident, 4 KiB device memory, 8 KiB zero pages, 12 KiB swapped" in text
    assert "phyr 0, bio_vec 0, scatterlist 0" in text
    assert "so all counts as RAM" in text


def test_a_rollup_has_totals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_map(monkeypatch, None, rollup=True)
    assert text.startswith("\ntotal")
    assert "listed by" not in text


def test_a_screen_joins_neighbours_of_one_file_and_sums_up_the_smallest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        row(vma(number << 20, 2 * number * 4096, f"/lib/{number // 2}"), [(GIB, number * 4096)])
        for number in range(1, 100)
    ]
    found = shown_map(monkeypatch, 140, process(rows), height=30).splitlines()
    assert len(found) == 30 - 1
    assert any(line.endswith("/lib/49 (2)") for line in found)
    (rest,) = [line for line in found if "smaller ones)" in line]
    assert found.index(rest) == len([line for line in found if "/lib/" in line]) + 1
    everything = shown_map(monkeypatch, 140, process(rows), height=30, everything=True)
    assert everything.count("/lib/") == 99
    assert "smaller ones" not in everything


def test_anonymous_neighbours_stay_apart() -> None:
    named = [lines.Line.of(row(vma(at << 20, MIB, "[heap]"), [])) for at in (1, 2)]
    assert lines.grouped(named) == named


def test_lines_are_sorted_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_map(monkeypatch, None, sort="chunks", top=2)
    table = text.partition("\n\n")[0].splitlines()
    assert len(table) == 3
    assert table[1].endswith("(anonymous)")
    assert [key in lines.SORTS for key in ("small", "name", "swapped")] == [True] * 3
    made = [lines.Line.of(each) for each in ROWS]
    for sort in lines.SORTS:
        keys = [lines.SORTS[sort](line) for line in lines.ordered(made, sort, None)]
        assert keys == sorted(keys)


def test_a_line_of_several_adds_them_up() -> None:
    first, second = (lines.Line.of(ROWS[number]) for number in (0, 1))
    both = lines.Line.joined([first, second])
    assert both.ram == first.ram + second.ram
    assert (both.start, both.end) == (first.start, second.end)
    assert both.largest == 2 * GIB
    assert both.folios is None
    assert both.nodes is None


def test_several_processes_have_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    both = process(ROWS[:1]), process(ROWS[1:], "self"), process([], 9)
    found = shown_map(monkeypatch, None, *both).splitlines()
    assert found[0].split()[:3] == ["pid", "size", "resident"]
    assert [line.split()[0] for line in found[1:3]] == ["self", "7"]
    assert found[1].endswith(r"a\tcommand")
    everything = shown_map(monkeypatch, None, *both, everything=True).splitlines()
    assert everything[0] == r"7 a\tcommand"
    assert any("[reserved]" in line for line in everything)


def test_no_process_at_all_is_a_total_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(show, "output", lambda: Console(file=file))
    show.show([], {**OPTIONS, "orders": True})
    assert "0 VMAs of 0, 0 resident" in file.getvalue()


def test_a_histogram_has_a_line_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_map(monkeypatch, None, orders=True)
    table = [line.split() for line in text.partition("share\n")[2].splitlines()]
    assert [line[:2] for line in table] == [
        ["4", "KiB"], ["64", "KiB"], ["1", "MiB"], ["2", "MiB"], ["1", "GiB"],
    ]  # fmt: skip
    assert [line[2] for line in table] == ["2", "1", "1", "1", "2"]
    assert table[-1][-1].startswith("█" * 29)


@pytest.mark.parametrize("columns", ["0", "1", "80"])
def test_the_table_is_printed_however_wide_the_terminal_says_it_is(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    show.show([process(ROWS)], {**OPTIONS, "everything": True})
    assert len(capsys.readouterr().out.splitlines()) > len(ROWS)
