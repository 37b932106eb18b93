"""Reads an object file of Rust's: what each function reaches, and where it can panic."""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOCATION = 24
"""Bytes of a `core::panic::Location`: the file's name, its length, line and column."""
PANIC = re.compile(
    r"(core|alloc)::.*(panic|_fail|capacity_overflow|handle_error|handle_alloc_error|on_ord_violation)"
)


@dataclass
class Section:
    """A function or a constant, since rustc gives each a section of its own."""

    name: str
    kind: int
    content: bytes
    link: int
    info: int
    to: list[tuple[int, int | str, int]] = field(default_factory=list)
    """Each relocation: its offset, the section or foreign symbol that it names, what is added."""


def text_at(table: bytes, start: int) -> str:
    """Return a string of a string table."""
    return table[start : table.index(b"\0", start)].decode()


def sections(path: Path) -> tuple[list[Section], dict[str, int]]:
    """Return the sections of an ELF file of a 64-bit machine, and the section of each symbol."""
    file = path.read_bytes()
    (start,) = struct.unpack_from("<Q", file, 40)
    size, count, names = struct.unpack_from("<HHH", file, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", file, start + size * i) for i in range(count)]
    table = file[headers[names][4] :]
    found = [
        Section(
            text_at(table, name), kind, file[at : at + length] if kind != 8 else b"", link, info
        )
        for name, kind, _, _, at, length, link, info, _, _ in headers
    ]
    symbols: list[int | str] = []
    defined: dict[str, int] = {}
    for section in found:
        if section.kind == 2:
            strings = found[section.link].content
            for name, _, _, holder, _, _ in struct.iter_unpack("<IBBHQQ", section.content):
                label = text_at(strings, name)
                inside = 0 < holder < len(found)
                symbols.append(holder if inside else label)
                if inside and label:
                    defined[label] = holder
    for section in found:
        if section.kind == 4:
            for at, info, more in struct.iter_unpack("<QQq", section.content):
                found[section.info].to.append((at, symbols[info >> 32], more))
    return found, defined


def demangled(names: list[str]) -> list[str]:
    """Return the names of Rust's symbols as its source has them."""
    done = subprocess.run(
        ["c++filt"],  # noqa: S607
        input="\n".join(names),
        capture_output=True,
        text=True,
        check=True,
    )
    # Crates are told apart by numbers, which say nothing here.
    return re.sub(r"(?<=\w)\[[0-9a-f]{6,16}\]", "", done.stdout).splitlines()


class ObjectFile:
    """An object file: for each function, all that it can reach."""

    def __init__(self, path: Path) -> None:
        self.sections, defined = sections(path)
        labels = list(defined)
        self.functions = {
            name: defined[label]
            for label, name in zip(labels, demangled(labels), strict=True)
            if self.sections[defined[label]].name.startswith(".text")
        }
        self.names = {number: name for name, number in self.functions.items()}
        foreign = sorted(
            {to for each in self.sections for _, to, _ in each.to if isinstance(to, str)}
        )
        self.panics = {
            label
            for label, name in zip(foreign, demangled(foreign), strict=True)
            if PANIC.match(name)
        }
        self.next = [{to for _, to, _ in each.to} for each in self.sections]
        self.panicking = self.backwards()

    def backwards(self) -> set[int | str]:
        """Return all sections from which a panic can be reached."""
        callers: dict[int | str, set[int]] = {}
        for number, each in enumerate(self.next):
            for to in each:
                callers.setdefault(to, set()).add(number)
        found: set[int | str] = set(self.panics)
        left: list[int | str] = list(found)
        while left:
            new = callers.get(left.pop(), set()) - found
            found |= new
            left += new
        return found

    def reached(self, start: int) -> set[int]:
        """Return the sections that can be reached from one."""
        found = {start}
        left = [start]
        while left:
            new = {to for to in self.next[left.pop()] if isinstance(to, int)} - found
            found |= new
            left += new
        return found

    def place(self, number: int) -> str | None:
        """Return the file and line of a constant that says where a panic was, None of any other."""
        constant = self.sections[number]
        if len(constant.content) != LOCATION or len(constant.to) != 1:
            return None
        at, file, start = constant.to[0]
        length, line, _ = struct.unpack_from("<QII", constant.content, 8)
        if at or isinstance(file, str):
            return None
        name = self.sections[file].content[start : start + length]
        return f"{name.decode()}:{line}" if name.endswith(b".rs") else None

    def places(self, start: int) -> set[str]:
        """Return where what a section reaches can panic: a file and line, or a function without."""
        found = set()
        for number in self.reached(start) & self.panicking:
            here = {self.place(to) for to in self.next[number] if isinstance(to, int)} - {None}
            # A function that panics at a place that its caller hands over has none of its own.
            if self.next[number] & self.panics and not here:
                here = {self.names.get(number)}
            found |= here
        return {place for place in found if place is not None}
