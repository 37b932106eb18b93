"""``phyr whose``: from a physical address to the process, the VMA and the place in it."""

import json
import mmap
import os
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

import phyr
from phyr._phyr import Loan
from phyr.cli import choose
from phyr.cli import whose as command
from phyr.cli.commands import phyr as main
from phyr.errors import HiddenPagesError, ProcessGoneError

MORE = 5 << 12


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["whose", *arguments])


@pytest.fixture
def visible() -> None:
    """Skip where page numbers are hidden."""
    try:
        phyr.pagemap.of(b"x" * 4096)
    except HiddenPagesError as why:
        pytest.skip(str(why))


@pytest.fixture
def memory() -> Iterator[mmap.mmap]:
    """Memory of this process, in place for now."""
    with mmap.mmap(-1, 16 << 12) as area:
        area.write(b"x" * len(area))
        yield area


@pytest.mark.usefixtures("visible")
def test_a_page_of_this_process_is_found_at_its_place(memory: mmap.mmap) -> None:
    found = phyr.pagemap.of(memory)
    with Loan(memory) as (uaddr, _):
        at = uaddr + MORE
    paddr = found[MORE + 7]
    result = run(f"{paddr:#x}", "--pid", "self")
    assert result.exit_code == 0, result.output
    line = f"{paddr:#x}+0x1 is of process {os.getpid()} ("
    assert line in result.output
    assert f"at {at + 7:#x}: " in result.output


@pytest.mark.usefixtures("visible")
def test_the_report_has_every_piece_of_a_range(memory: mmap.mmap) -> None:
    found = phyr.pagemap.of(memory)
    with Loan(memory) as (uaddr, _):
        at = uaddr + MORE
    base = found[MORE]
    result = run(f"{base}+4096", "--pid", str(os.getpid()), "--json")
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["version"] == 1
    assert report["ranges"] == [{"paddr": base, "length": 4096}]
    [place] = [place for place in report["places"] if place["uaddr"] == at]
    assert (place["paddr"], place["length"], place["pid"]) == (base, 4096, os.getpid())
    vma = place["vma"]
    assert vma["start"] + place["offset"] == place["uaddr"] < vma["start"] + vma["length"]
    assert report["left_out"] == []


@pytest.mark.usefixtures("visible")
def test_an_address_of_no_process_is_said_to_be_one() -> None:
    top = 2**64 - 4096
    result = run(f"{top:#x}+0x1000", "--pid", "self")
    assert (result.exit_code, result.output) == (
        0,
        f"{top:#x}+0x1000 is of no process that was read\n",
    )


def test_all_processes_are_read_that_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def places(pid: int, _ranges: object) -> list[object]:
        if pid % 2:
            raise ProcessGoneError(f"process {pid} has ended", pid=pid)
        return []

    monkeypatch.setattr(command, "_places", places)
    monkeypatch.setattr(command, "running", lambda: [2, 3, 4])
    result = run("4096")
    assert result.exit_code == 0
    assert result.stdout == "0x1000+0x1 is of no process that was read\n"
    assert result.stderr.startswith("phyr: 1 process left out: they have no memory or ended")


@pytest.mark.parametrize("failure", [HiddenPagesError(1, "hidden"), ProcessGoneError("gone")])
def test_where_nothing_may_be_read_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def places(_pid: int, _ranges: object) -> list[object]:
        raise failure

    monkeypatch.setattr(command, "_places", places)
    is_hidden = isinstance(failure, HiddenPagesError)
    assert run("4096").exit_code == (2 if is_hidden else 0)
    assert run("4096", "--pid", "7").exit_code == 2


@pytest.mark.parametrize(
    "text", ["x", "0x", "", "1_0", " 1", "-1", "0x1000+", "1+0", "1+2+3", "9" * 5000, f"{2**64}"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    result = run("--", text)
    assert result.exit_code == 2
    assert "Invalid value" in result.output


@pytest.mark.parametrize("text", ["0x1000-0x3000", "0x1000+0x2000", "4096+8192", "4096-12288"])
def test_a_range_is_taken_in_each_spelling(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(command, "_places", lambda *_: [])
    assert run(text, "--pid", "7").stdout == "0x1000+0x2000 is of no process that was read\n"


def test_what_is_no_process_is_refused() -> None:
    assert "neither a process number nor 'self'" in run("1", "--pid", "x").output


def test_this_process_is_not_among_those_that_run() -> None:
    running = choose.running()  # what is looked through
    assert os.getpid() not in running
    assert os.getppid() in running
