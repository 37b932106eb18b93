"""Systems other than Linux: the package works without the parts that need it, and names these."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NEEDS = "phyr.pagemap, phyr.pci, phyr.vfio, phyr.iommufd and pins need Linux, and this is Windows"
SAID = {
    "darwin": [
        "alloc alloc needs Linux",
        "pin [Errno 38] io_uring needs Linux; nothing else pins memory here",
        "pagemap loads",
        "pci loads",
        "vfio loads",
        "iommufd loads",
        "testing loads",
    ],
    "win32": [
        "alloc alloc needs Linux",
        f"pin {NEEDS}",
        f"pagemap {NEEDS}",
        f"pci {NEEDS}",
        f"vfio {NEEDS}",
        f"iommufd {NEEDS}",
        "testing loads",
    ],
}


@pytest.mark.parametrize("system", SAID)
def test_lists_and_the_simulator_work_on_another_system(system: str) -> None:
    assert act_as(system).splitlines() == SAID[system]


def test_the_demo_runs_on_another_unix() -> None:
    assert "its list: phyr.chunks" in act_as("darwin", "demo")


def test_the_command_line_names_what_it_needs() -> None:
    line = "phyr: the command line needs Linux, and this is Windows\n"
    assert act_as("win32", "demo", error=line) == ""


def act_as(*words: str, error: str = "") -> str:
    """Return what the program prints as another system."""
    run = subprocess.run(  # noqa: S603 - the command is ours
        [sys.executable, "tests/support/other_system.py", *words],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.stderr == error
    return run.stdout
