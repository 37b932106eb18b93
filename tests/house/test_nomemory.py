"""One failed allocation of Python's, in every operation: `MemoryError`, and nothing held."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import phyr
from phyr import _phyr, desc, iommu, sim

pytest.importorskip("_testcapi", reason="this Python cannot make allocations fail")

from support import nomemory

ALONE = Path(__file__).parents[1] / "support" / "interpreter_alone.py"
if subprocess.run([sys.executable, ALONE], check=False, capture_output=True).returncode:  # noqa: S603
    pytest.skip(
        "this Python ends by itself in a failed allocation: docs/reliability.md",
        allow_module_level=True,
    )

CLASSES = {
    "Phyr": phyr.Phyr,
    "Builder": phyr.Builder,
    "Chunks": phyr.Chunks,
    "Column": phyr.Column,
    "Plan": iommu.Plan,
    "Mapping": iommu.Mapping,
    "Descriptors": desc.Descriptors,
    "Memory": sim.Memory,
    "SimDomain": sim.SimDomain,
    "FrozenPhyr": phyr.FrozenPhyr,
    "Index": phyr.Index,
    "IovaMap": iommu.IovaMap,
}
IN_PYTHON = {
    "pin",
    "alloc",
    "Pinned.moved",
    "PinCache",
    "DmaPool",
    "pagemap.of",
    "pagemap.read",
    "dma_map(Bounce), pinned",
    "dma_map(Paging of Python), pinned",
    "dma_map, two owners",
    "dma_read",
    "dma_write",
    "Device",
    "Region",
    "IovaAllocator",
    "check_backend",
    "check_domain",
}


@cache
def outcomes() -> dict[str, list[str]]:
    """Return the outcomes besides `MemoryError`, by operation.

    An operation that is printed without an outcome ended the process.
    """
    done = subprocess.run(
        [sys.executable, "-m", "support.nomemory"],
        cwd=Path(nomemory.__file__).parents[1],
        check=False,
        capture_output=True,
        text=True,
    )
    found = {}
    for line in done.stdout.splitlines():
        name, outcome = line[: line.index("]") + 1], line[line.index("]") + 1 :]
        found[json.loads(name)[0]] = json.loads(outcome) if outcome else [done.stderr]
    if done.returncode:
        found.setdefault("exit", [done.stderr])
    return found


@pytest.mark.parametrize("name", nomemory.OPERATIONS)
def test_a_failed_allocation_is_a_memory_error_and_nothing_is_held(name: str) -> None:
    assert outcomes().get(name, ["never ran: an operation before it aborted"]) == []


def test_no_operation_is_forgotten() -> None:
    """Every public method and function in Rust has one of its name, and so has what Python adds."""
    wanted = {
        f"{name}.{member}"
        for name, cls in CLASSES.items()
        for member in vars(cls)
        if not member.startswith("_")
    }
    natives = {name for name, value in vars(_phyr).items() if type(value) is type(len)}
    for module in (desc, sim, iommu):
        wing = module.__name__.removeprefix("phyr.")
        wanted |= {f"{wing}.{name}" for name in natives & set(module.__all__)}
    assert (wanted | IN_PYTHON) - set(nomemory.OPERATIONS) == set()
