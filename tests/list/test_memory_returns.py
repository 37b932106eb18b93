"""Memory of dropped lists goes back to the kernel, whatever was allocated since, in any thread."""

import sys
from pathlib import Path

import pytest

from support.live import python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="phyr's own blocks are for Linux")

DROPPED = """
import resource, sys, threading
from array import array
from phyr import Phyr

COUNT = 1 << 20
pfns = array("Q", (page * 2 for page in range(1, COUNT + 1)))
kept = []

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def make():
    phyr = Phyr.from_pfns(pfns)
    assert len(phyr.chunks) == COUNT
    kept.append(bytearray(3000))  # on top of the C library's heap
    del phyr

def run(threads):
    together = [threading.Thread(target=make) for _ in range(threads)]
    for thread in together: thread.start()
    for thread in together: thread.join()

make()
before = resident()
worst = 0
for threads in (1, 2, 3):
    run(threads)
    make()
    worst = max(worst, resident() - before)
print(worst / COUNT)
"""


def test_a_dropped_list_leaves_no_memory_behind() -> None:
    run = python("-c", DROPPED)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 3, "bytes a chunk; a list has 8"


FORKED = """
import os, sys, threading, time
from array import array
from phyr import Phyr

pfns = array("Q", (page * 2 for page in range(1, 200_000)))
whole = Phyr.from_pfns(pfns)
stop = False

def work():
    while not stop:
        assert Phyr.from_pfns(pfns) == whole

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(50):
    child = os.fork()
    if child == 0:
        good = Phyr.from_pfns(pfns) == whole
        os._exit(7 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
stop = True
for thread in threads: thread.join()
print("right")
"""


def test_a_child_that_was_forked_while_others_allocate_allocates() -> None:
    run = python("-W", "ignore", "-c", FORKED)
    assert run.stdout.strip() == "right", run.stderr


LIMITED = """
import resource
from array import array
from phyr import Phyr

COUNT = 350_000  # 2.8 MB, more than a block has
pfns = array("Q", (page * 2 for page in range(1, COUNT + 1)))
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
# A block takes 4 MiB of addresses while it is made.
resource.setrlimit(resource.RLIMIT_AS, (size + (7 << 19), resource.RLIM_INFINITY))
for _ in range(3):
    phyr = Phyr.from_pfns(pfns)
    assert phyr.chunks[COUNT - 1] == (COUNT * 2 * 4096, 4096)
    phyr.validate()
    del phyr
print("right")
"""


def test_where_no_block_is_to_be_had_a_node_is_enough() -> None:
    run = python("-c", LIMITED)
    assert run.stdout.strip() == "right", run.stderr


LARGE = """
import numpy as np
from phyr import Phyr

phyr = Phyr.from_pfns(np.arange(1, 4 << 20, 2, dtype=np.uint64))
column = np.asarray(phyr.chunks.paddrs)  # 16 MiB
at = column.ctypes.data + column.nbytes // 2
for line in open("/proc/self/smaps"):
    if "-" in (word := line.split()[0]):
        start, end = (int(number, 16) for number in word.split("-"))
    elif word == "VmFlags:" and start <= at < end:
        print(line)
"""


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="a kernel without huge pages"
)
def test_large_memory_may_be_huge_pages() -> None:
    run = python("-c", LARGE)
    assert "hg" in run.stdout.split(), run.stdout + run.stderr
