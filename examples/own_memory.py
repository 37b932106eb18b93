"""Where a buffer of this process lies, read from the kernel. Linux; needs CAP_SYS_ADMIN."""

import mmap
import sys

from phyr import HiddenPagesError, pagemap

SIZE = 4 << 20

buffer = mmap.mmap(-1, SIZE)
buffer[:] = bytes(SIZE)  # memory has no pages before it is written
try:
    phyr = pagemap.of(buffer)
except HiddenPagesError as error:
    print(f"page numbers are hidden: {error}")
    sys.exit()

stats = phyr.stats()
print(f"{SIZE >> 20} MiB lie in {stats.nr_chunks} chunks, the largest {stats.largest >> 10} KiB")
print(f"the list takes {stats.storage} bytes; as scatterlist {32 * stats.nr_chunks}")
print(f"byte 123456 lies at {phyr[123456]:#x}")
for order, count in phyr.orders().items():
    print(f"{count:6} aligned blocks of {4 << order} KiB")
