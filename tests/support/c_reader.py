"""The lines that a C program, which reads lists by include/phyr.h, is to print of each.

The program is tests/with/c/reader.c, of which a case is bytes, the page size of PRP lists (0 for
none), and the bytes that they may take.
"""

import os
import re
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

from phyr import FormatError, Phyr, PhyrError, desc

# The attribute that tells each error; PHYR_E_SIZE is -1, and so on.
CODES = ["given", "magic", "version", "stored", "field", "word", "why", "index"]
LISTS = 0x7000_0000

Case = tuple[bytes, int, int]


def packed(cases: Iterable[Case]) -> bytes:
    """Return the input of the program."""
    return b"".join(
        struct.pack("<Q", len(data)) + data + struct.pack("<QQ", page_size, room)
        for data, page_size, room in cases
    )


def run_reader(program: Path, sent: bytes) -> list[str]:
    """Return the lines that the program prints; reasons of refused PRP lists are left out."""
    # Leaks are not looked for: that needs ptrace, which containers may forbid.
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    run = subprocess.run([program], input=sent, capture_output=True, env=env, check=False)  # noqa: S603 - ours
    assert run.stderr.decode() == ""
    found = [re.sub(r"^prp -.*", "prp refused", line) for line in run.stdout.decode().splitlines()]
    assert run.returncode == 0, found[-1]
    return found


def _said_of_prp(phyr: Phyr, page_size: int, room: int) -> str:
    """Return what a C program is to say of PRP lists, its reason left out where it refuses."""
    nr_pages = room // page_size + 1
    lists = Phyr.from_chunks([(LISTS, nr_pages * page_size)])
    try:
        prp1, prp2, made = desc.prp(phyr, lists, page_size=page_size)
    except PhyrError:
        return "prp refused"
    entries = memoryview(made).tolist()
    if 8 * len(entries) > room:
        return "prp refused"
    return " ".join(["prp", *(f"{number:x}" for number in (prp1, prp2, *entries))])


def _said_of_range(phyr: Phyr, start: int, end: int) -> str:
    """Return the line for a range."""
    parts = [f" {paddr:x}+{length:x}" for paddr, length in phyr[start:end].chunks]
    return f"{start}..{end}:" + "".join(parts)


def said(case: Case) -> list[str]:
    """Return the lines of a case, by the reader of the package."""
    data, page_size, room = case
    try:
        phyr = Phyr.from_bytes(data)
    except FormatError as error:
        code = next(number for number, name in enumerate(CODES) if name in vars(error))
        return [f"open {-1 - code}"]
    kind, _, provider = phyr.kind.partition(":")
    lg2, length = phyr.granule.bit_length() - 1, phyr.length
    lines = [
        "open 0",
        f"list {lg2} {['ram', 'mmio', 'user'].index(kind)} {int(provider or 0)} {length:x}",
    ]
    lines.append(_said_of_range(phyr, 0, length))
    lines.append(_said_of_range(phyr, length // 3, length - length // 4))
    if page_size:
        lines.append(_said_of_prp(phyr, page_size, room))
    return lines
