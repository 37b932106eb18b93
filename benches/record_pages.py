"""Record the page maps of running processes as frozen lists: the files of tests/pages/.

    sudo .venv/bin/python benches/record_pages.py DIRECTORY NAME=PID...

A file holds the physical memory of one process, in the order of its virtual addresses: page numbers
and nothing else. The numbers are moved down by a whole number of GiB, so that the lowest is in the
first one; where the machine's memory begins is not told. Long lists are cut after 16 Ki chunks.
"""

import sys
from pathlib import Path

from phyr import Builder, Phyr
from phyr.pagemap import Pagemap

GIB = 1 << 30
MOST_CHUNKS = 1 << 14


def record(pid: int) -> Phyr:
    """Return the memory of a process, moved down."""
    with Pagemap(pid) as pagemap:
        found = [pagemap.present(vma.start, vma.length) for vma in pagemap.vmas()]
    chunks = [chunk for pieces in found for _, phyr in pieces for chunk in phyr.chunks]
    base = min(chunk.paddr for chunk in chunks) // GIB * GIB
    builder = Builder()
    for paddr, length in chunks:
        builder.append(paddr - base, length)
    phyr = builder.finish()
    if len(phyr.chunks) > MOST_CHUNKS:
        end = phyr.chunks.position(MOST_CHUNKS)
        phyr = phyr[:end]
    return phyr


def main() -> None:
    """Record each process that is named."""
    directory = Path(sys.argv[1])
    for argument in sys.argv[2:]:
        name, pid = argument.split("=")
        phyr = record(int(pid))
        data = phyr.freeze().to_bytes()
        directory.joinpath(f"{name}.phyf").write_bytes(data)
        count = len(phyr.chunks)
        huge = sum(length for _, length in phyr.chunks if length >= 2 << 20)
        print(
            f"{name}: {phyr.length >> 20} MiB in {count} chunks, {huge >> 20} MiB in chunks of "
            f"2 MiB and more, {len(data) / count:.2f} bytes a chunk"
        )


if __name__ == "__main__":
    main()
