"""Every example runs, and says something."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))

# Examples for a device run in the guest; here they show their help.
ARGUMENTS = {
    "nvme": ["--help"],
    "virtio_rng": ["--help"],
    "edu": ["--help"],
    "nvme_queues": ["--help"],
}


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_the_example_runs(example: Path) -> None:
    command = [sys.executable, "-W", "error", str(example), *ARGUMENTS.get(example.stem, [])]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - ours
    assert run.returncode == 0, run.stderr
    assert run.stdout
    assert run.stderr == ""
