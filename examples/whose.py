"""A host agent that keeps the memory of 1,000 guests in one file, and answers whose a page is.

When memory fails, the kernel names a physical address. Which guest has it, and where? The lists of
all guests lie in one file, frozen: written once, mapped by whoever asks, and searched both ways.
"""

import json
import mmap
import random
import struct
import tempfile
from pathlib import Path

from phyr import FrozenPhyr, Index, Phyr

GUESTS = 1000
PAGES = 256  # of each guest, all over the host's memory


def write(path: Path, guests: dict[str, Phyr]) -> None:
    """Write the lists of guests: the size of a table, the table, and the lists it points to."""
    frozen = {name: phyr.freeze().to_bytes() for name, phyr in guests.items()}
    table, at = {}, 0
    for name, data in frozen.items():
        table[name] = (at, len(data))
        at += len(data)  # a multiple of eight, so the next list may lie here
    head = json.dumps(table).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(frozen.values()))


def read(path: Path) -> dict[str, FrozenPhyr]:
    """Open the lists of all guests where they lie in the file: nothing is copied."""
    with path.open("rb") as file:
        memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    (size,) = struct.unpack_from("<Q", memory)
    table = json.loads(bytes(memory[8 : 8 + size]))
    lists = memory[8 + size :]
    return {name: FrozenPhyr.open(lists[at : at + length]) for name, (at, length) in table.items()}


def main() -> None:
    """Hand out a host's memory to guests, keep the lists, and ask whose some addresses are."""
    source = random.Random(7)  # noqa: S311 - an example
    pages = source.sample(range(1 << 24), GUESTS * PAGES)  # of 64 GiB
    guests = {
        # The first page of each guest is the same one: the kernel merged equal pages.
        f"guest-{number}": Phyr.from_pfns([42, *pages[number * PAGES : (number + 1) * PAGES]])
        for number in range(GUESTS)
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "guests.phyf")
        write(path, guests)
        opened = read(path)
        chunks = sum(len(frozen.chunks) for frozen in opened.values())
        size = path.stat().st_size
        print(
            f"{len(opened)} guests, {chunks} chunks, {size / chunks:.2f} bytes a chunk in the file"
        )

        names, whose = list(opened), Index(opened.values())
        for paddr in (pages[123_456] << 12 | 0x123, 42 << 12, (1 << 24) << 12):
            holders = whose.find(paddr)
            print(f"{paddr:#x} is held {len(holders)} times")
            for holder in holders[:2]:
                print(f"  by {names[holder.list]}, at its byte {holder.position:#x}")

        # And forth again: the same byte, by way of the guest.
        (holder,) = whose.find(pages[123_456] << 12)
        assert opened[names[holder.list]][holder.position] == pages[123_456] << 12


if __name__ == "__main__":
    main()
