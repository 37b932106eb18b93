"""``phyr map`` of processes that make it hard: very many VMAs, and an end in the middle."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from phyr import cli
from phyr.pagemap import process
from support.live import PAGE, python, shown
from support.processes import running

COUNT = 100_000
LIMIT = Path("/proc/sys/vm/max_map_count")

# A page of each kind in turns: neighbours with other rights are VMAs of their own.
MANY = f"""
import ctypes, mmap, sys
area = mmap.mmap(-1, {COUNT} * {PAGE}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
base = ctypes.addressof(ctypes.c_char.from_buffer(area))
protect = ctypes.CDLL(None).mprotect
protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
for page in range(0, {COUNT}, 2):
    area[page * {PAGE}] = 1
    if protect(base + page * {PAGE}, {PAGE}, mmap.PROT_READ):
        print("refused", flush=True)
        break
else:
    print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def room() -> Iterator[None]:
    """Let a process have so many VMAs."""
    before = LIMIT.read_text()
    if int(before) < 2 * COUNT:
        if not os.access(LIMIT, os.W_OK):
            pytest.skip(
                "a process may not have 100,000 VMAs here, and raising the limit needs root"
            )
        LIMIT.write_text(str(2 * COUNT))
    yield
    LIMIT.write_text(before)


@shown
@pytest.mark.usefixtures("room")
def test_a_hundred_thousand_vmas_are_read(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    with running(MANY) as pid:
        done = python("-m", "phyr", "map", str(pid), "--json", "--vma", "anon")
        assert done.returncode == 0, done.stderr
        assert python("-m", "phyr", "dump", str(pid), "-o", str(file)).returncode == 0
        screen = python("-m", "phyr", "map", str(pid), "--top", "3", "--sort", "resident")
    vmas = json.loads(done.stdout)["processes"][0]["vmas"]
    singles = [vma for vma in vmas if vma["size"] == PAGE]
    assert len(singles) >= COUNT - 2
    assert sum(vma["states"]["ram"] for vma in singles) >= COUNT // 2 * PAGE
    assert screen.stdout.count("\n") < 12
    shown_again = python("-m", "phyr", "show", str(file), "--rollup")
    assert shown_again.returncode == 0
    assert f"{COUNT // 1000}," in shown_again.stdout.partition("VMAs")[0]


@shown
def test_a_process_that_ends_midway_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    read = process.Pagemap.resident
    with subprocess.Popen(["sleep", "60"]) as sleeper:  # noqa: S607 - of any system
        looks = []

        def resident(self: process.Pagemap, *arguments: object, **more: object) -> object:
            looks.append(arguments)
            if len(looks) % 100 == 3:
                sleeper.kill()
                sleeper.wait()
            return read(self, *arguments, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(process.Pagemap, "resident", resident)
        result = CliRunner().invoke(cli.phyr, ["map", str(sleeper.pid)])
    assert len(looks) == 3
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"phyr: process {sleeper.pid} is not there, or has ended\n"


@shown
def test_one_of_many_that_ends_midway_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    read = process.Pagemap.resident
    with subprocess.Popen(["sleep", "61"]) as sleeper:  # noqa: S607 - of any system

        def resident(self: process.Pagemap, *arguments: object, **more: object) -> object:
            if sleeper.poll() is None and self._owner == sleeper.pid:
                sleeper.kill()
                sleeper.wait()
            return read(self, *arguments, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(process.Pagemap, "resident", resident)
        result = CliRunner().invoke(cli.phyr, ["map", "--name", "sleep", "--name", "python*"])
    assert result.exit_code == 0
    assert "left out" in result.stderr
