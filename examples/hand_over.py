"""A list handed from one process to another through shared memory.

A privileged process learns where memory lies and writes the list down; another, which could not
have asked the kernel, reads it back. The bytes are checked, whoever wrote them.
"""

import subprocess
import sys
from multiprocessing.shared_memory import SharedMemory

from phyr import FormatError, Phyr

READER = """
import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from phyr import Phyr

shared = SharedMemory(sys.argv[1])
resource_tracker.unregister(shared._name, "shared_memory")  # the writer removes it
print("reader:", Phyr.from_bytes(shared.buf[: int(sys.argv[2])]))
shared.close()
"""

phyr = Phyr.from_pfns([0x100, 0x101, 0x7_0000, 0x200], offset=0x800, length=0x2000)
data = phyr.to_bytes()
shared = SharedMemory(create=True, size=len(data))
try:
    memoryview(shared.buf)[: len(data)] = data  # type: ignore[arg-type] # None once it is closed
    print("writer:", phyr, flush=True)
    command = [sys.executable, "-c", READER, shared.name, str(len(data))]
    subprocess.run(command, check=True)  # noqa: S603 - the program stands above

    # A flipped bit does not become a wrong address.
    damaged = bytearray(data)
    damaged[-7] ^= 4
    try:
        Phyr.from_bytes(damaged)
    except FormatError as error:
        print("damaged:", error)
finally:
    shared.close()
    shared.unlink()
