"""A daemon in Python pins memory and hands it over; a C program drives with it."""

import subprocess
import sys
from pathlib import Path

from support.compiler import compiled

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "c"


def test_a_c_program_drives_memory_that_python_pinned(tmp_path: Path) -> None:
    driver = compiled(EXAMPLE / "drive.c", ["cc", "-std=gnu99", "-O2"], tmp_path / "drive")
    command = [sys.executable, "-W", "error", str(EXAMPLE / "daemon.py"), str(driver)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - ours
    assert run.stderr == ""
    assert "driver: prp1 0x" in run.stdout
    assert ", 1020 entries" in run.stdout
    assert "the driver wrote b'hello' and left with 0" in run.stdout
