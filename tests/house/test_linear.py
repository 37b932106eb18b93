"""No operation of the public API is worse than linear: instructions at N and at four times N.

The operations are in `support/operations.py`, and are all that reflection finds.
"""

import inspect
import shutil
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
from support.callgrind import costs_between, worse_than_linear
from support.operations import EXCEPTIONS, OPERATIONS

FEW = 1 << 10
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
    # A comma and more may follow the name of an operation.
    assert sorted({name.partition(",")[0] for name in OPERATIONS} - found) == []
    rest = found - set(OPERATIONS)
    excused = {name for name in rest if any(fnmatchcase(name, key) for key in EXCEPTIONS)}
    assert sorted(rest - excused) == []


def test_each_exception_is_needed() -> None:
    found = {name for module in MODULES for name in public(module)} - set(OPERATIONS)
    assert [key for key in EXCEPTIONS if not any(fnmatchcase(name, key) for name in found)] == []


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind counts instructions")
def test_no_public_operation_is_worse_than_linear(tmp_path: Path) -> None:
    program = [sys.executable, operations.__file__, str(FEW), str(4 * FEW)]
    costs = costs_between("getppid", program, tmp_path)
    assert worse_than_linear(sorted(OPERATIONS), costs, FEW, MORE) == []
