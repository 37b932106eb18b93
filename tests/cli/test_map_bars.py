"""The bar of each VMA's memory, by the size of its blocks, where a terminal has room for it."""

import random

import pytest

from phyr.cli import render
from support.shown_map import GIB, MIB, process, row, shown_map, vma


@pytest.mark.parametrize("seed", range(50))
def test_each_class_has_its_part_and_all_fill_the_bar(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    buckets = [rng.choice([0, 1, 4096, rng.randrange(1, GIB)]) for _ in range(4)]
    bar = render.shaded(buckets)
    assert len(bar) == 16
    if any(buckets):
        for shade, part in zip("░▒▓█", buckets, strict=True):
            assert (shade in bar) == (part > 0)
            assert abs(bar.count(shade) - 16 * part / sum(buckets)) < 4
        assert list(bar) == sorted(bar, key="░▒▓█".index)


def test_a_wide_terminal_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = process([row(vma(GIB, 8 * MIB, "/a/file"), [(GIB, 4 * MIB), (3 * GIB + 4096, 4096)])])
    head, line, *_ = shown_map(monkeypatch, 170, made).splitlines()
    assert "░4K ▒64K ▓2M █1G  name" in head
    assert "░▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓  /a/file" in line
    for width in (149, None):
        assert "▓" not in shown_map(monkeypatch, width, made)
