"""Without memory, each operation raises MemoryError and changes nothing; with it, it works."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="limits the address space by prlimit"
)

SETTING = """
import pickle, resource
from phyr import Builder, Phyr, desc
from phyr.iommu import BusOffset, Direction, dma_map
from phyr.sim import Memory, scatter

NR = 1 << 21
numbers = range(1, 4 * NR, 4)
import array
pfns = array.array("Q", numbers)
del numbers
phyr = Phyr.from_pfns(pfns)
image = phyr.to_bytes()
records = bytes(desc.phys_vecs(phyr))
lengths = array.array("Q", [0x1000]) * NR
builder = Builder()
builder.append(0x9000_0000_0000, 0x1000)
memory = Memory(1 << 40)
whole = memory.alloc(32 << 20)
data = b"x" * (32 << 20)

def operation():
    OPERATION

def same(result):
    return RESULT

import re
from pathlib import Path
size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), hard))
try:
    operation()
except MemoryError as error:
    said = type(error).__name__, str(error)
else:
    said = "done", ""
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
print(*said)
AFTER
assert same(operation())
"""

OPERATIONS = {
    "to_bytes": ("return phyr.to_bytes()", "result == image", ""),
    "pickle": ("return pickle.dumps(phyr)", "pickle.loads(result) == phyr", ""),
    "from_bytes": ("return Phyr.from_bytes(image)", "result == phyr", ""),
    "add": ("return phyr[:1 << 32] + phyr[1 << 32:]", "result == phyr", ""),
    "compact": ("return phyr[0x800:].compact()", "result == phyr[0x800:]", ""),
    "extend": (
        "builder.extend(phyr); return builder.finish()",
        "result[0x1000:] == phyr",
        "assert builder.length == 0x1000",
    ),
    "extend_pfns": (
        "builder.extend_pfns(pfns); return builder.finish()",
        "result[0x1000:] == phyr",
        "assert builder.length == 0x1000",
    ),
    "from_pfns": ("return Phyr.from_pfns(pfns)", "result == phyr", ""),
    "from_phys_vecs": ("return desc.from_phys_vecs(records)", "result == phyr", ""),
    "tobytes": ("return desc.phys_vecs(phyr).tobytes()", "result == records", ""),
    "dma_map": (
        "return dma_map(phyr, BusOffset(1 << 44), Direction.TO_DEVICE)",
        "(result.dma[0] - phyr[0], result.unmap())[0] == 1 << 44",
        "",
    ),
    "split": ("return desc.split(phyr, lengths)", "len(result) == NR", ""),
    "scatter": (
        "return scatter(NR << 12)",
        "result.length == NR << 12",
        "",
    ),
    "write": (
        "memory.write(whole, data)",
        "memory.read(whole) == data",
        "assert memory.resident == 0 and not any(memory.read(whole[:1 << 20]))",
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_out_of_memory_is_an_exception_and_changes_nothing(name: str) -> None:
    operation, result, after = OPERATIONS[name]
    program = textwrap.dedent(SETTING)
    for word, text in (("OPERATION", operation), ("RESULT", result), ("AFTER", after)):
        program = program.replace(word, text)
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("MemoryError"), done.stdout
