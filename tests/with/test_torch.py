"""Tensors of PyTorch are pinned where they lie; those of a device are refused by name.

PyPI's PyTorch brings gigabytes of CUDA, so the tests take Debian's, in Debian's Python.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

import phyr
from support.live import shown, uring

SCRIPT = Path(__file__).parent / "pytorch" / "pin_tensors.py"
PYTHON = os.environ.get("PHYR_PYTHON_WITH_TORCH", "/usr/bin/python3")


def has_torch() -> bool:
    """Return true if that Python has PyTorch, and is new enough for phyr."""
    program = [PYTHON, "-c", "import sys, torch; sys.exit(sys.version_info < (3, 11))"]
    try:
        done = subprocess.run(program, capture_output=True, check=False)  # noqa: S603 - ours
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.skipif(not has_torch(), reason="no PyTorch: apt install python3-torch")
@shown
@uring
def test_tensors_are_pinned_where_they_lie_or_refused() -> None:
    folder = str(Path(phyr.__file__).parents[1])
    run = subprocess.run(  # noqa: S603 - ours
        [PYTHON, "-W", "error::ResourceWarning", str(SCRIPT)],
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    facts = {"place": True, "list": True, "stays": True, "kept": True, "freed": True}
    assert len(said["pinned"]) == 7
    assert {name: found for name, found in said["pinned"].items() if found != facts} == {}
    refused = said["refused"]
    assert "is in the memory of device cuda:1, not the processor's" in refused["a device's"]
    assert "meta" in refused["nowhere"]
    assert refused["columns"].startswith("ArrayError: the memory of <class 'torch.Tensor'>")
    assert "gradient" in refused["with a gradient"]
