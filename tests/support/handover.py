"""A C program with the structs of a kernel's live update, and its memory."""

import struct
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from support.compiler import compiled

PAGE = 4096
LISTS = 0x1_0000_0000
ALL = (1 << 64) - 1
Read = Callable[[int, int], bytes]


@cache
def _program() -> tuple[str, tempfile.TemporaryDirectory[str]]:
    source = Path(__file__).with_name("handover.c")
    folder = tempfile.TemporaryDirectory()
    command = ["gcc", "-std=gnu11", "-O1"]
    program = compiled(source, command, Path(folder.name, "handover"), "-Wno-conversion")
    return str(program), folder


def c(verb: str, *words: object, given: bytes) -> bytes:
    """Return what the program of handover.c says."""
    line = [_program()[0], verb, *map(str, words)]
    return subprocess.run(line, input=given, capture_output=True, check=True).stdout  # noqa: S603 - ours


def table(text: bytes) -> list[tuple[int, ...]]:
    """Return the numbers of each line."""
    return [tuple(map(int, line.split())) for line in text.splitlines()]


def lines(*columns: tuple[int, ...]) -> bytes:
    """Return numbers as lines."""
    return "\n".join(" ".join(map(str, column)) for column in columns).encode()


def memory(image: bytes, base: int = LISTS) -> Read:
    """Return a reader of memory that starts at `base`."""

    def read(address: int, length: int) -> bytes:
        return image[address - base :][:length] if address >= base else b""

    return read


def later(address: int, length: int) -> bytes:
    """Fail, as memory may that somebody else reads."""
    raise RuntimeError("later", address, length)


def words(*values: int) -> bytes:
    """Return words of 64 bits, little-endian."""
    return struct.pack(f"<{len(values)}Q", *values)
