"""How long it takes from a buffer to a pinned list of it, by method and kind of page.

The question: what does `phyr.pin` cost, of which how much is the kernel's pinning, and how much the
reading of page numbers? The buffer's pages are present before. Needs CAP_SYS_ADMIN; huge pages of
2 MiB are measured where enough of them are reserved (``nr_hugepages``).

    python benches/bench_pin.py [--rounds N] [--mib N] [--many N]

Then: what does a pin of 4 KiB cost, the first ones and many, and how many descriptors do many take?
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import phyr
from phyr import pagemap
from phyr.allocating import Huge
from phyr.pinning import methods

FILES = Path("/proc/self/fd")
KINDS: tuple[Huge, ...] = (None, "thp", "2M")
WAYS: dict[str, Callable[[], methods.Pinner]] = {
    "io_uring": methods.Registered,
    "mlock": methods.Locked,
}


def measure(buffer: phyr.Allocation, method: str, rounds: int) -> None:
    """Print the line of one kind of page and one method."""
    start, end = buffer.uaddr, buffer.uaddr + len(buffer)
    times: dict[str, list[float]] = {name: [] for name in ("pin", "alone", "read", "unpin")}
    for _ in range(rounds):
        pinner = WAYS[method]()
        began = perf_counter()
        pinner.pin(start, end, abs)
        times["alone"].append(perf_counter() - began)
        pinner.unpin()
        began = perf_counter()
        pagemap.of(buffer)
        times["read"].append(perf_counter() - began)
        began = perf_counter()
        pinned = phyr.pin(buffer, method=method)
        times["pin"].append(perf_counter() - began)
        chunks = len(pinned.phyr.chunks)
        began = perf_counter()
        pinned.unpin()
        times["unpin"].append(perf_counter() - began)
    kind = buffer.huge or f"{buffer.page_size >> 10}K"
    figures = "".join(f"{statistics.median(each) * 1e3:12.2f}" for each in times.values())
    print(f"{kind:6}{method:10}{figures}{chunks:12,}")


def many(count: int) -> None:
    """Print what small pins cost, one at a time and so many at once."""
    with phyr.alloc(min(count, 1 << 14) << 12) as buffer:
        places = [(buffer.uaddr + (at << 12) % len(buffer), 4096) for at in range(count)]
        phyr.pin(places[0]).unpin()
        times: dict[str, list[float]] = {name: [] for name in ("pin", "unpin")}
        for place in places[:2000]:
            began = perf_counter()
            pinned = phyr.pin(place)
            times["pin"].append(perf_counter() - began)
            began = perf_counter()
            pinned.unpin()
            times["unpin"].append(perf_counter() - began)
        one, end = (statistics.median(each) * 1e6 for each in times.values())
        before = len(list(FILES.iterdir()))
        began = perf_counter()
        pins = [phyr.pin(place) for place in places]
        each = (perf_counter() - began) / count * 1e6
        # With the ring and the two files of the page map that were open before.
        files = len(list(FILES.iterdir())) - before + 3
        for pinned in pins:
            pinned.unpin()
    print(f"4 KiB: pin {one:.1f} us, unpin {end:.1f} us")
    print(f"{count:,} pins of 4 KiB at once: {each:.1f} us each, {files} descriptors")


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--smoke", action="store_true", help="one small round")
    parser.add_argument("--many", type=int, default=100_000)
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.mib, options.many = 1, 4, 100
    print(
        f"python {sys.version.split()[0]}, {options.mib} MiB, {options.rounds} rounds, medians, ms"
    )
    heads = ("phyr.pin", "pin alone", "read alone", "unpin", "chunks")
    print(f"{'pages':6}{'method':10}{''.join(f'{head:>12}' for head in heads)}")
    for kind in KINDS:
        try:
            with phyr.alloc(options.mib << 20, huge=kind, fallback=False) as buffer:
                for method in WAYS:
                    measure(buffer, method, options.rounds)
        except phyr.NoMemoryError as error:
            print(f"{kind:6}{error}")
        except (phyr.PinError, phyr.HiddenPagesError) as error:
            print(f"{kind or '4K':6}{error}")
    try:
        many(options.many)
    except (phyr.PinError, phyr.HiddenPagesError) as error:
        print(error)


if __name__ == "__main__":
    main()
