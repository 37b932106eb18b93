"""``phyr dump``, ``show``, ``diff``: what is saved comes back, damage is refused, changes told."""

import json
import random
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import phyr
from phyr import cli
from phyr.cli import compare, saved
from phyr.cli.scan import Looks, scan
from support.live import linux, shown
from support.made import ORIGIN, PAGE, process


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.phyr, [str(argument) for argument in arguments])


PAGES = {1: 100, 2: 101, 3: 50, 7: 102, 20: 9, 21: 8, 22: 7}
SAVED = saved.Saved(ORIGIN, process(PAGES, 1, 16))


def same(left: saved.Saved, right: saved.Saved) -> bool:
    return left.origin == right.origin and [
        (row.vma, row.resident, list(row.stretches)) for row in left.process.rows
    ] == [(row.vma, row.resident, list(row.stretches)) for row in right.process.rows]


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("something else before")
    assert saved.save(file, SAVED) == file.stat().st_size
    assert same(saved.load(file), SAVED)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    with pytest.raises(OSError, match="directory"):
        saved.save(directory, SAVED)
    assert list(tmp_path.iterdir()) == [directory]


def test_damage_to_any_byte_is_refused() -> None:
    data = bytearray(saved.pack(SAVED))
    for at in range(len(data)):
        data[at] ^= 1
        with pytest.raises(phyr.FormatError):
            saved.unpack(bytes(data))
        data[at] ^= 1
    for length in (0, 8, 31, 32, len(data) - 1):
        with pytest.raises(phyr.FormatError):
            saved.unpack(bytes(data[:length]))
    with pytest.raises(phyr.FormatError):
        saved.unpack(bytes(data) + b"more")


def forged(change: Callable[[Any], object], more: bytes = b"") -> bytes:
    """Make a file whose description was changed, with a check sum that is right."""
    data = saved.pack(SAVED)
    (length,) = struct.unpack_from("<I", data, 12)
    told = json.loads(data[32 : 32 + length])
    changed = change(told)
    text = changed if isinstance(changed, bytes) else json.dumps(told).encode()
    body = text + data[32 + length :] + more
    head = struct.pack("<8sIIQII", b"PHYRDUMP", 1, len(text), 32 + len(body), zlib.crc32(body), 0)
    return head + body


FORGERIES: dict[str, Any] = {
    "no JSON": lambda _: b"{",
    "deep JSON": lambda _: b"[" * 100_000,
    "long number": lambda _: b"9" * 5000,
    "no object": lambda _: b"[1]",
    "no name": lambda told: told.pop("host"),
    "name of another type": lambda told: told.update(command=7),
    "VMAs of another type": lambda told: told.update(vmas=7),
    "VMA of another type": lambda told: told["vmas"].append(3),
    "a VMA too many": lambda told: told["vmas"].append({**told["vmas"][1], "lists": [0, 0]}),
    "a VMA too few": lambda told: told["vmas"].pop(),
    "an empty VMA": lambda told: told["vmas"][0].update(end=told["vmas"][0]["start"]),
    "VMAs out of order": lambda told: told["vmas"][1].update(start=PAGE),
    "a number below 0": lambda told: told["vmas"][0].update(offset=-1),
    "a number above 64 bits": lambda told: told["vmas"][1].update(end=1 << 65),
    "true for a number": lambda told: told.update(pid=True),
    "pages outside the VMA": lambda told: told["vmas"][0].update(start=2 * PAGE),
    "other RAM than listed": lambda told: told["vmas"][0]["states"].update(ram=0),
    "one list": lambda told: told["vmas"][0].update(lists=told["vmas"][0]["lists"][:1]),
    "lists of other sizes": lambda told: told["vmas"][0].update(lists=[0, 0]),
    "lists of each other": lambda told: told["vmas"][0]["lists"].reverse(),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_description_is_refused(name: str) -> None:
    with pytest.raises(phyr.PhyrError):
        saved.unpack(forged(FORGERIES[name]))


def test_what_follows_the_last_list_is_refused() -> None:
    assert same(saved.unpack(forged(lambda _: None)), SAVED)
    with pytest.raises(phyr.FormatError, match="4 bytes follow the last list"):
        saved.unpack(forged(lambda _: None, b"more"))


def test_lists_that_do_not_agree_are_refused() -> None:
    row = SAVED.process.rows[0]
    short = row._replace(stretches=row.stretches[:1])
    bad = SAVED._replace(process=SAVED.process._replace(rows=[short]))
    with pytest.raises(phyr.FormatError, match="bytes of RAM are told"):
        saved.unpack(saved.pack(bad))
    first, second = phyr.Phyr.from_pfns([2]), phyr.Phyr.from_pfns([5, 7])
    with pytest.raises(phyr.FormatError, match="0x1000 virtual bytes have 0x2000 physical"):
        saved._check(row.vma, first, second)  # noqa: SLF001 - no file has these


# diff


def plain(before: dict[int, int], after: dict[int, int]) -> dict[str, int]:
    """Compare page by page."""
    found = dict.fromkeys(("same", "moved", "appeared", "vanished"), 0)
    for vfn in {*before, *after}:
        old, new = before.get(vfn), after.get(vfn)
        fate = (
            "appeared"
            if old is None
            else "vanished"
            if new is None
            else "same"
            if old == new
            else "moved"
        )
        found[fate] += PAGE
    return found


@pytest.mark.parametrize("seed", range(50))
def test_a_comparison_is_that_page_by_page(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    before = {vfn: 2 * vfn + rng.choice([0, vfn, 50]) for vfn in rng.sample(range(64), 40)}
    after = {
        vfn: before.get(vfn, 7) if rng.random() < 0.6 else rng.randrange(300)
        for vfn in rng.sample(range(64), 40)
    }
    changes = compare.compare(process(before, 0, 20, 40), process(after, 0, 30, 40))
    assert [change.start for change in changes] == [0, 20 * PAGE, 30 * PAGE, 40 * PAGE]
    for fate, length in plain(before, after).items():
        assert sum(getattr(change, fate) for change in changes) == length
    last = {vfn: pfn for vfn, pfn in before.items() if vfn >= 40}
    later = {vfn: pfn for vfn, pfn in after.items() if vfn >= 40}
    for fate, length in plain(last, later).items():
        assert getattr(changes[-1], fate) == length


def labels(pages: dict[int, int], starts: tuple[int, ...]) -> dict[int, int]:
    """Give each page the number of its chunk."""
    found: dict[int, int] = {}
    for vfn in sorted(pages):
        goes_on = pages.get(vfn - 1) == pages[vfn] - 1 and vfn not in starts
        found[vfn] = found[vfn - 1] if goes_on else vfn
    return found


@pytest.mark.parametrize("seed", range(50))
def test_merged_and_split_chunks_are_those_page_by_page(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    both = []
    for starts in ((0, 20, 40), (0, 30, 40)):
        pages, pfn = {}, 100
        for vfn in range(64):
            pfn += rng.choice([1, 1, 1, 5])
            if rng.random() < 0.9:
                pages[vfn] = pfn
        both.append((pages, labels(pages, starts)))
    (before, olds), (after, news) = both
    changes = compare.compare(process(before, 0, 20, 40), process(after, 0, 30, 40))
    kept = {*before} & {*after}
    for name, mine, others in (("merged", news, olds), ("split", olds, news)):
        expected = sum(
            PAGE
            for vfn in kept
            if len({others[other] for other in kept if mine[other] == mine[vfn]}) > 1
        )
        assert sum(getattr(change, name) for change in changes) == expected


def test_the_look_before_may_be_named_by_against(tmp_path: Path) -> None:
    before, after = files(tmp_path)
    assert run("diff", "--against", before, after).stdout == run("diff", before, after).stdout
    for arguments in ((), (before,), (before, after, after), ("--against", before, after, after)):
        result = run("diff", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
    assert "Name two looks" in result.stderr


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_file_is_named(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(forged(FORGERIES[name]))
    with pytest.raises(phyr.PhyrError, match=f"^{file}: "):
        saved.load(file)


def files(tmp_path: Path, boot_id: str = "boot") -> tuple[Path, Path]:
    after = {**PAGES, 3: 51, 30: 1000}
    del after[20]
    saved.save(tmp_path / "a", SAVED)
    other = saved.Saved(ORIGIN._replace(boot_id=boot_id), process(after, 1, 16))
    saved.save(tmp_path / "b", other)
    return tmp_path / "a", tmp_path / "b"


def test_changes_are_shown(tmp_path: Path) -> None:
    result = run("diff", *files(tmp_path))
    assert (result.exit_code, result.stderr) == (0, "")
    head, first, second, total = (line.split() for line in result.stdout.splitlines())
    assert head == (
        "start same moved appeared vanished merged split chunks name".split()  # noqa: SIM905
    )
    assert " ".join(first) == r"0x1000 12 KiB 4 KiB 0 0 0 0 3 > 3 /a/\x1b1\udcff"
    assert " ".join(second) == r"0x10000 8 KiB 0 4 KiB 4 KiB 0 0 3 > 3 /a/\x1b16\udcff"
    assert " ".join(total) == "total 20 KiB 4 KiB 4 KiB 4 KiB 0 0 6 > 6 2 VMAs"
    told = json.loads(run("diff", *files(tmp_path), "--json").stdout)
    assert [change["moved"] for change in told["vmas"]] == [PAGE, 0]
    assert (told["version"], told["before"]) == (1, ORIGIN._asdict())


def test_other_starts_of_the_kernel_are_said(tmp_path: Path) -> None:
    result = run("diff", *files(tmp_path, "another"))
    assert result.exit_code == 0
    assert "phyr: the two are of different machines" in result.stderr
    first = tmp_path / "a"
    assert len(run("diff", first, first).stdout.splitlines()) == 2


# The commands


def test_a_saved_process_is_shown(tmp_path: Path) -> None:
    file, _ = files(tmp_path)
    text = run("show", file, "--orders").stdout
    assert text.startswith(r"7 a command, a\thost, Linux 6, 2026-01-01T00:00:00+00:00")
    assert "2 VMAs of 252 KiB, 28 KiB resident" in text
    told = json.loads(run("show", file, "--json", "--chunks").stdout)
    assert told["origin"] == ORIGIN._asdict()
    (one,) = told["processes"]
    assert one["vmas"][0]["chunk_list"][0] == [PAGE, 100 * PAGE, 2 * PAGE]
    planned = json.loads(run("plan", file, "--device", "sg", "--json").stdout)
    assert (planned["buffers"], planned["bytes"]) == (2, 7 * PAGE)


@shown
def test_this_process_is_saved_and_compared(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    result = run("dump", "self", "-o", file)
    assert result.exit_code == 0, result.output
    assert "resident in" in result.stdout
    loaded = saved.load(file)
    assert loaded.origin._replace(time="") == saved.Origin.here()._replace(time="")
    assert run("show", file, "--rollup").exit_code == 0
    result = run("diff", file, "self")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "VMAs" in result.stdout


@linux
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("dump", "x", "-o", "y"), "neither a process number nor 'self'"),
        (("dump", "self", "-o", "/no/such/directory/file"), "No such file or directory"),
        (("dump", str(1 << 30), "-o", "y"), "is not there"),
        (("show", "/no/such/file"), "/no/such/file: No such file"),
        (("show", "file", "--chunks"), "--chunks needs --json"),
        (("show", "/etc/passwd"), "/etc/passwd: no saved process"),
        (("diff", "/no/such/file", "self"), "neither a process number, 'self', nor a file"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr or "CAP_SYS_ADMIN" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file, _ = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    result = run("show", file)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"phyr: {file}: the file has ")


@shown
def test_a_look_at_ones_own_memory_agrees_with_itself() -> None:
    # Memory comes and goes while it is read; lists and sums are of one reading.
    for _ in range(10):
        for row in scan("self", Looks(lambda _: True, stretches=True)).rows:
            assert row.resident.ram == sum(part.length for _, part in row.stretches)
            kept = [bytearray(1 << 16) for _ in range(3)]
            del kept
