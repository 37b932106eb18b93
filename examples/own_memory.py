"""Where a buffer of this process lies, and that it stays there. Linux; needs CAP_SYS_ADMIN."""

import sys

from phyr import HiddenPagesError, PinError, alloc, pin

SIZE = 4 << 20

with alloc(SIZE) as buffer:
    try:
        pinned = pin(buffer)
    except (PinError, HiddenPagesError) as error:
        print(f"not pinned: {error}")
        sys.exit()
    with pinned:
        phyr = pinned.phyr
        stats = phyr.stats()
        most = stats.largest >> 10
        print(f"{SIZE >> 20} MiB, pinned by {pinned.method}; what moved since: {pinned.moved()}")
        print(f"they lie in {stats.nr_chunks} chunks, the largest {most} KiB")
        print(f"the list takes {stats.storage} bytes; as scatterlist {32 * stats.nr_chunks}")
        print(f"byte 123456 lies at {phyr[123456]:#x}")
        for order, count in phyr.orders().items():
            print(f"{count:6} aligned blocks of {4 << order} KiB")
