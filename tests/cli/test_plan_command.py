"""``phyr plan``: its figures against counts by hand, and what it refuses."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import phyr
from phyr import cli
from phyr.cli import cost, plan, scan
from support.live import linux, shown

MIB = 1 << 20
ALL = 1 << 12 | 1 << 21 | 1 << 30

# 4 MiB at a multiple of 2 MiB, then a page, then 600 pages each by itself.
LIST = phyr.Phyr.from_chunks(
    [
        (2 * MIB, 4 * MIB),
        (64 * MIB, 4096),
        *((1 << 30 | number << 13, 4096) for number in range(600)),
    ]
)
PAGES = 1024 + 1 + 600


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.phyr, ["plan", *arguments])


def counted(device: str, list_: phyr.Phyr = LIST, sizes: int = ALL) -> dict[str, int]:
    return cost.figures(device, [(0x7F00_0000_0000, list_)], sizes)


def test_prp_entries_are_pages_and_their_lists_are_chained() -> None:
    # The first entry is in the command; the rest in pages of 512 with a link at the end of all but
    # the last.
    links = -(-(PAGES - 1 - 512) // 511)
    size = 8 * (PAGES - 1 + links)
    assert counted("nvme") == {
        "PRP entries": PAGES,
        "list bytes": size,
        "list pages": -(-size // 4096),
    }
    short = counted("nvme", phyr.Phyr.from_pfns([1, 9]))
    assert short == {"PRP entries": 2, "list bytes": 0, "list pages": 0}


def test_a_scatterlist_has_an_entry_for_each_chunk() -> None:
    found = counted("sg")
    assert found["scatterlist entries"] == 602
    assert found["bytes"] == 32 * (602 + -(-(602 - 128) // 127))


def test_a_page_list_is_of_the_best_size() -> None:
    assert counted("rdma") == {"entries of 4 KiB": PAGES, "bytes": 8 * PAGES}
    huge = phyr.Phyr.from_chunks([(2 * MIB, 8 * MIB)])
    assert counted("rdma", huge) == {"entries of 2 MiB": 4, "bytes": 32}
    odd = phyr.Phyr.from_chunks([(4096, 4096), (1 << 20, 4096)])
    assert counted("rdma", odd, 1 << 21)["entries of 4 KiB"] == 2


@pytest.mark.parametrize("device", ["vfio", "iommufd"])
def test_requests_at_physical_addresses_are_chunks(device: str) -> None:
    assert counted(device) == {
        "requests into a window": 1,
        "requests at physical addresses": 602,
    }


def test_a_page_table_has_the_largest_entries_and_the_tables_above_them() -> None:
    found = counted("iommu")
    assert found["entries of 2 MiB"] == 2
    assert found["entries of 4 KiB"] == 601
    # 601 pages after 4 MiB reach into two tables of 2 MiB; one of 1 GiB, one of 512 GiB, the root.
    assert found["table pages"] == 2 + 1 + 1 + 1
    small = counted("iommu", sizes=1 << 12)
    assert small["entries of 4 KiB"] == PAGES
    assert small["table pages"] == -(-PAGES // 512) + 3


def test_on_huge_pages_it_is_as_long() -> None:
    for length in (1, 4096, 2 * MIB, 5 * MIB + 1):
        huge = cost.on_huge_pages(phyr.Phyr.from_chunks([(0, length)]))
        assert huge.length == length
        assert len(huge.chunks) == -(-length // (2 * MIB))


@shown
def test_the_plan_of_a_process() -> None:
    for device in plan._NAMES:  # noqa: SLF001 - all of them
        result = run("self", "--device", device, "--vma", "heap")
        assert result.exit_code == 0, result.output
        # Advice on parts of a heap makes several VMAs of it.
        assert re.match(r"(1 buffer|\d+ buffers) of ", result.stdout)
        assert "on 2 MiB pages" in result.stdout


def test_the_plan_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_bytes(LIST.to_bytes())
    told = json.loads(run(str(file), "--device", "nvme", "--json").stdout)
    assert told["now"] == cost.figures("nvme", [(0, LIST)], ALL)
    assert told["on_huge_pages"]["PRP entries"] == PAGES
    assert (told["version"], told["buffers"], told["bytes"]) == (1, 1, LIST.length)
    assert "bytes" in run(str(file), "--device", "rdma=4K,2M").stdout
    assert run(str(file), "--device", "nvme").stdout.startswith("1 buffer of ")
    file.write_bytes(LIST.freeze().to_bytes())
    assert json.loads(run(str(file), "--device", "nvme", "--json").stdout) == told
    result = run(str(file), "--device", "nvme", "--vma", "heap")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--vma is for processes, and this file holds one list" in result.stderr
    file.write_bytes(LIST.to_bytes()[:-1])
    result = run(str(file), "--device", "nvme")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    file.write_bytes(phyr.Phyr.from_pfns([]).to_bytes())
    assert run(str(file), "--device", "nvme").stdout.startswith("0 buffers of 0 in 0 chunks")


def test_a_file_that_is_refused_is_named(tmp_path: Path) -> None:
    for name, data in {
        "frozen": LIST.freeze().to_bytes()[:-8],
        "short": LIST.to_bytes()[:-1],
        "process": b"PHYRDUMP" + bytes(100),
    }.items():
        file = tmp_path / name
        file.write_bytes(data)
        result = run(str(file), "--device", "nvme")
        assert result.exit_code == 2
        assert result.stderr.startswith(f"phyr: {file}: ")
        assert result.stderr.count(str(file)) == 1


def test_more_requests_than_vfio_takes_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "list"
    file.write_bytes(LIST.to_bytes())
    monkeypatch.setattr(cost, "VFIO_LIMIT", 601)
    text = run(str(file), "--device", "vfio").stdout
    assert "602 requests are more than the 601 that VFIO takes by default" in text
    assert "more than" not in run(str(file), "--device", "iommufd").stdout


@linux
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("self",), "--device"),
        (("self", "--device", "floppy"), "none of nvme"),
        (("self", "--device", "nvme=4K"), "none of nvme"),
        (("self", "--device", "iommu=3K"), "powers of two"),
        (("self", "--device", "iommu=2K"), "powers of two"),
        (("self", "--device", "iommu=2G"), "powers of two"),
        (("self", "--device", "iommu=x"), "powers of two"),
        (("self", "--device", "iommu="), "powers of two"),
        (("no such file", "--device", "nvme"), "neither a process number, 'self', nor a file"),
        (("self", "--device", "nvme", "--vma", "0x2-0x1"), "ends before it starts"),
        ((str(1 << 30), "--device", "nvme"), "is not there"),
        (("self", "--device", "nvme", "--vma", "no such name"), "no VMA fits --vma"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], why: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr


@shown
def test_only_what_is_resident_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = scan.scan("self", scan.Looks(lambda vma: vma.name == "[heap]"))
    monkeypatch.setattr(scan, "scan", lambda *_: looked)
    told = json.loads(run("self", "--device", "sg", "--json").stdout)
    assert told["bytes"] == sum(row.resident.ram for row in looked.rows)
    assert told["now"]["scatterlist entries"] == sum(row.chunks for row in looked.rows)
