"""No operation of the public API is worse than linear: instructions at N and at four times N.

The operations are in `support/operations.py`, and are all that reflection finds.
"""

import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

import pytest

import phyr
import phyr.desc
import phyr.iommu
import phyr.pagemap
import phyr.sim
import phyr.testing
from support import operations
from support.operations import EXCEPTIONS, OPERATIONS

FEW = 1 << 10
MOST = 1.3
"""Searches and sorting take a step more for each doubling."""
MORE = {
    # A copy: one instruction for all bytes from 16 KiB on, and that counts as one a byte.
    "Column.__dlpack__": 3.0,
    # A window leaves a sorted array, and those behind it move up: eight bytes each.
    "iommu.IovaAllocator.free": 3.0,
}
SPECIAL = (
    "add array arrow_c_array arrow_c_stream contains copy deepcopy dlpack eq getitem hash iter len "
    "reduce repr reversed"
)
MODULES = [phyr, phyr.desc, phyr.iommu, phyr.pagemap, phyr.sim, phyr.testing]


def public(module: ModuleType) -> Iterator[str]:
    """Yield the functions of a module, and the methods and attributes of its classes."""
    wing = module.__name__.removeprefix("phyr").lstrip(".")
    for name in module.__all__:
        found = getattr(module, name)
        path = f"{wing}.{name}".lstrip(".")
        if inspect.isclass(found):
            if not issubclass(found, BaseException):
                own = (key for key in vars(found) if not key.startswith("_"))
                names = (f"__{key}__" for key in SPECIAL.split())
                special = (key for key in names if not wing and key in vars(found))
                yield from (f"{path}.{key}" for key in (*own, *special))
        elif callable(found):
            yield path


def test_each_operation_is_counted_or_has_a_reason() -> None:
    found = {name for module in MODULES for name in public(module)}
    assert sorted(set(OPERATIONS) - found) == []
    rest = found - set(OPERATIONS)
    excused = {name for name in rest if any(fnmatchcase(name, key) for key in EXCEPTIONS)}
    assert sorted(rest - excused) == []


def test_each_exception_is_needed() -> None:
    found = {name for module in MODULES for name in public(module)} - set(OPERATIONS)
    assert [key for key in EXCEPTIONS if not any(fnmatchcase(name, key) for name in found)] == []


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind counts instructions")
def test_no_public_operation_is_worse_than_linear(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    options = [f"--callgrind-out-file={counts}", "--dump-before=getppid", "--combine-dumps=no"]
    program = [sys.executable, operations.__file__, str(FEW), str(4 * FEW)]
    command = ["valgrind", "--tool=callgrind", *options, *program]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - the command is ours
    # Each dump ends at a call of `getppid`: every second one is an operation.
    dumps = sorted(tmp_path.glob("counts.*"), key=lambda path: int(path.suffix[1:]))
    totals = [
        int(re.findall(r"^(?:totals|summary): (\d+)", dump.read_text(), re.MULTILINE)[-1])
        for dump in dumps
    ]
    costs = totals[1::2]
    names = sorted(OPERATIONS)
    assert len(costs) == 2 * len(names)
    worse = []
    for name, few, many in zip(names, costs[: len(names)], costs[len(names) :], strict=True):
        print(f"{name}: {few / FEW:.1f} and {many / FEW / 4:.1f} instructions a chunk")  # noqa: T201 - figures to report
        if many > 4 * MORE.get(name, MOST) * few:
            worse.append(f"{name}: {few} and {many}")
    assert worse == []
