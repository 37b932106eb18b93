"""``phyr pin --selftest`` and ``phyr bench``: their tables, and what they refuse."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import phyr
from phyr import cli
from phyr.cli import contenders, selftest
from support.live import python, shown, uring


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.phyr, arguments)


@shown
@uring
def test_a_pin_holds_what_mlock_does_not() -> None:
    result = run("pin", "--selftest", "--size", "3M", "--json")
    assert result.exit_code == 0, result.output
    free, locked, pinned = json.loads(result.stdout)["tries"]
    assert [one["held"] for one in (free, locked, pinned)] == ["free", "mlocked", "pinned"]
    # 3 MiB are two huge pages.
    assert {one["pages"] for one in (free, locked, pinned)} == {1024}
    assert pinned["moved"] == 0
    # A machine without free huge pages may refuse; if it does not, the pages move.
    assert all(one["answer"] or one["moved"] > 0 for one in (free, locked))


@shown
@uring
def test_the_table_has_a_line_a_try() -> None:
    lines = run("pin", "--selftest", "--size", "1").stdout.splitlines()
    assert lines[0].split() == "memory is the kernel is asked to pages moved".split()  # noqa: SIM905
    assert [line.split()[0] for line in lines[1:]] == ["free", "mlocked", "pinned"]


@shown
def test_compaction_is_tried_where_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(selftest, "_COMPACT", tmp_path / "compact")
    found = selftest.try_all(1, compact=True)
    assert (tmp_path / "compact").read_text() == "1"
    assert [one.asked for one in found] == ["make huge pages"] * 3 + ["compact memory"] * 3
    monkeypatch.setattr(selftest, "_COMPACT", tmp_path / "no" / "such")
    assert selftest.try_all(1, compact=True)[-1].answer == "ENOENT"


@shown
def test_a_way_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_view: memoryview) -> phyr.Pinned:
        raise phyr.PinError(1, "io_uring is not allowed")

    monkeypatch.setitem(selftest._HOLDS, "pinned", refused)  # noqa: SLF001
    line = run("pin", "--selftest", "--size", "1").stdout.splitlines()[-1]
    assert line.split()[-6:] == ["512", "-", "io_uring", "is", "not", "allowed"]


def test_pin_alone_is_refused_and_so_are_hidden_pages() -> None:
    result = run("pin")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--selftest" in result.stderr
    done = python("-m", "phyr", "pin", "--selftest", admin=False)
    assert done.returncode == 2
    assert "CAP_SYS_ADMIN" in done.stderr


def test_contenders_have_the_same_list() -> None:
    pfns = contenders.scattered(5000, 3)
    list_ = phyr.Phyr.from_pfns(pfns)
    tuples = contenders._joined(pfns)  # noqa: SLF001
    assert [tuple(chunk) for chunk in list_.chunks] == tuples
    arrays = contenders._Arrays(__import__("numpy"), pfns)  # noqa: SLF001
    assert list(zip(arrays.paddrs.tolist(), arrays.lengths.tolist(), strict=True)) == tuples
    for position in (0, 4095, 4096, list_.length // 2, list_.length - 1):
        assert arrays.seek(position) == list_[position]


def test_the_bench_shows_all_or_leaves_numpy_out(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run("bench", "--pages", "1000", "--rounds", "1").stdout.splitlines()
    assert lines[0].split() == ["phyr", "tuples", "numpy"]
    assert len(lines) in (6, 7)
    assert all(line.count("x") >= 2 for line in lines[1:6])
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.setattr(contenders, "_OWN", 1 << 20)
    result = run("bench", "--pages", "1000", "--rounds", "1", "--json")
    told = json.loads(result.stdout)
    assert [row["numpy"] for row in told["rows"]][:5] == [None] * 5
    assert (told["version"], told["pages"]) == (1, 1000)
    assert run("bench", "--pages", "1").exit_code == 2


def test_the_bench_takes_no_rights() -> None:
    done = python("-m", "phyr", "bench", "--pages", "1000", "--rounds", "1", admin=False)
    assert done.returncode == 0
    assert "pagemap" not in done.stdout
