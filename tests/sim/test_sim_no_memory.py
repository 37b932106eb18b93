"""Without memory, the simulation, the page map's decoder and `IovaMap` raise MemoryError."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="limits the address space by prlimit"
)

SETTING = """
import array, re, resource
from pathlib import Path
from phyr import Phyr
from phyr._phyr import PagemapDecoder
from phyr.iommu import IovaMap, Prot
from phyr.sim import Memory, SimDomain

SETUP

size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size + (2 << 20), hard))
try:
    operation()
except MemoryError as error:
    said = str(error)
else:
    said = "done"
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
print(said)
CHECK
"""

OPERATIONS = {
    "extents": (
        """
        NR = 1 << 18
        records = array.array("Q", [1 << 63 | 1, 0]) * NR
        decoder = PagemapDecoder(0, 4096)

        def operation():
            decoder.feed(records)
        """,
        "assert PagemapDecoder(0, 4096).finish() == []",
    ),
    "IovaMap": (
        """
        NR = 1 << 18
        areas = IovaMap()
        areas.map(0, Phyr.from_chunks([(0x1000, NR << 13)]))

        def operation():
            for iova in range((len(areas) - 1) * 8192 + 4096, NR << 13, 8192):
                areas.unmap(iova, 4096)
        """,
        "before = len(areas); assert before > 1; operation(); assert len(areas) == NR",
    ),
    "IOTLB": (
        """
        memory = Memory(1 << 30)
        free = memory.free_bytes

        def operation():
            SimDomain(memory, iotlb_sets=1 << 16, iotlb_ways=1)
        """,
        "assert memory.free_bytes == free; operation()",
    ),
    "free frames": (
        """
        NR = 1 << 20
        memory = Memory(1 << 40)
        apart = Phyr.from_pfns(array.array("Q", range(1, 4 * NR, 4)))
        free = memory.free_bytes

        def operation():
            memory.reserve(apart)
        """,
        "before = memory.free_bytes; assert before == free; operation(); memory.free(apart)",
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_out_of_memory_is_an_exception_and_changes_nothing(name: str) -> None:
    setup, check = (textwrap.dedent(text) for text in OPERATIONS[name])
    program = SETTING.replace("SETUP", setup).replace("CHECK", check)
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(("no memory", "the page at")), done.stdout
