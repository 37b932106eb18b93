"""How long does a picture of a large process take?

``python benches/bench_picture.py [--smoke]`` prints a table in Markdown: seconds of the processor
for 10^6 to 10^8 pages, scattered by seed over four times as much memory. Nearly each is a chunk of
its own.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from phyr import Phyr, pagemap
from phyr.cli import report, saved, scan
from phyr.cli.picture import drawing, layers, page, plot

PAGE = 4096


def subject(count: int) -> drawing.Subject:
    """Make a process of so many pages, each once, in no order."""
    order = np.random.default_rng(1).permutation(count).astype(np.uint64)
    phyr = Phyr.from_pfns(order * np.uint64(4) + (order >> np.uint64(5)) % np.uint64(4))
    vma = pagemap.Vma(0x7000_0000_0000, 0x7000_0000_0000 + phyr.length, "rw-p", 0, "00:00", 0, "")
    row = report.Row.of(vma, pagemap.Resident(phyr, phyr.length, 0, 0, 0, 0))
    process = scan.Scanned(1, "bench", PAGE, device_known=True, rows=[row], pmd_mapped={})
    return drawing.Subject(saved.Saved(saved.Origin.here(), process))


def main(largest: int) -> None:
    """Draw, and print the table."""
    print("| pages | .png by VMA, s | .png by order, s | .html, s |")
    print("| --- | --- | --- | --- |")
    count = min(10**6, largest)
    with TemporaryDirectory() as directory:
        while count <= largest:
            look = subject(count)
            by_vma, by_order = layers.by_vma(look.saved.process.rows), layers.by_order()
            taken = []
            for painter in (by_vma, by_order):
                start = time.process_time()
                frame = look.frame(512, "hilbert")
                plot.write(drawing.drawn(look, painter, frame), Path(directory, "map.png"))
                taken.append(time.process_time() - start)
            start = time.process_time()
            frame = look.frame(1024, "hilbert")
            page.write_page(look, [by_vma, by_order], frame, Path(directory, "map.html"))
            taken.append(time.process_time() - start)
            print(
                f"| {count:,} | {' | '.join(f'{seconds:.1f}' for seconds in taken)} |", flush=True
            )
            count *= 10


if __name__ == "__main__":
    main(10**4 if "--smoke" in sys.argv else 10**8)
