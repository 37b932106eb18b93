"""``phyr map``: the columns of folios and nodes."""

from pathlib import Path

import pytest

import phyr
from phyr.cli import lines, nodes, summary
from support.shown_map import FOLIOS, GIB, MIB, process, row, shown_map, vma


def test_folios_have_columns_and_a_total(monkeypatch: pytest.MonkeyPatch) -> None:
    one = row(vma(GIB, 8 * MIB), [(GIB, 7 * MIB)], folios=FOLIOS)
    made = process([one])._replace(pmd_mapped={GIB: (4 * MIB, 0)})
    text = shown_map(monkeypatch, None, made)
    table, _, below = text.partition("\n\n")
    assert table.splitlines()[0].split() == [
        "range", "size", "resident", "huge", "mTHP", "part", "hugetlb", "anon", "file", "name",
    ]  # fmt: skip
    figures = " ".join(table.splitlines()[1].split())
    assert "7 MiB 4 MiB 128 KiB 64 KiB 2 MiB 12 KiB 4 KiB" in figures
    for line in (
        "4 MiB 64% ",
        "2 MiB whole",
        "64 KiB whole, not aligned",
        "part of a larger one",
        "hugetlb 2 MiB whole",
        "merged by KSM",
        "4 MiB of these are mapped as whole huge pages",
        "8 KiB of these are mapped elsewhere, too",
        "blocks of 64 KiB, aligned, inside one large page: anon 128 KiB, file 0",
    ):
        assert line in " ".join(below.split())


def test_processes_have_columns_of_folios_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(vma(GIB, 8 * MIB), [(GIB, 7 * MIB)], folios=FOLIOS)]
    found = shown_map(monkeypatch, None, process(rows), process(rows, 8)).splitlines()
    assert found[0].split()[:5] == ["pid", "size", "resident", "huge", "mTHP"]
    assert "4 MiB" in found[1]
    assert "8 MiB" in " ".join(found)


def test_nodes_have_columns_and_a_total(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        row(vma(GIB, MIB), [(GIB, MIB)], nodes={1: MIB - 4096, None: 4096}),
        row(vma(2 * GIB, MIB), [(GIB, MIB)], nodes={0: MIB}),
    ]
    text = shown_map(monkeypatch, None, process(rows))
    assert text.splitlines()[0].split()[-7:-1] == ["node", "0", "node", "1", "no", "node"]
    assert "1 MiB on node 0, 1020 KiB on node 1, 4 KiB on no node" in text
    joined = lines.Line.joined(map(lines.Line.of, rows))
    assert joined.nodes == {1: MIB - 4096, None: 4096, 0: MIB}
    none = [row(vma(GIB, MIB), [], nodes={})]
    assert "nodes   none" in shown_map(monkeypatch, None, process(none))


def test_nodes_are_read_from_the_system(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/block_size_bytes").write_text("8000000\n")
    for node, blocks in ((0, (0, 1)), (1, (3,))):
        for block in blocks:
            (tmp_path / f"node/node{node}/memory{block}").mkdir(parents=True)
    found = nodes.Nodes.of_system(tmp_path)
    block = 0x800_0000
    assert [found.of(at * block) for at in range(5)] == [0, 0, None, 1, None]
    list_ = phyr.Phyr.from_chunks([(block // 2, 4 * block)])
    assert found.split(list_) == {0: 3 * block // 2, None: 3 * block // 2, 1: block}
    assert found.split(phyr.Phyr.from_pfns([])) == {}
    assert nodes.Nodes([(block, 2 * block, 0)]).of(0) is None
    with pytest.raises(phyr.PhyrError, match="does not tell its NUMA nodes"):
        nodes.Nodes.of_system(tmp_path / "node")


def test_memory_that_nobody_else_maps_is_not_spoken_of() -> None:
    text = "\n".join(summary.folio_lines(FOLIOS._replace(shared=0), (0, 0)))
    assert "elsewhere" not in text
