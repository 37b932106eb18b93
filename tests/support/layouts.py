"""Layouts of the kernel's requests, as its headers say by way of a C compiler."""

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TypeAlias

import pytest

from phyr._devices.uapi import Request

Layout: TypeAlias = tuple[int, int, list[int]]
"""Bytes of the structure, number of the request, and where each field after the size starts."""


def layouts(header: str, structures: dict[str, tuple[str, str]], folder: Path) -> dict[str, Layout]:
    """Compile a program that prints the layouts, or skip where there is no such header.

    PHYR_HEADERS may name another folder of the kernel's headers, such as ``usr/include`` of
    Debian's package linux-libc-dev; then nothing skips.

    Args:
        header: Such as ``linux/vfio.h``.
        structures: By the macro of each request, the structure and its fields after the size.
        folder: For the program.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    lines = [f"#include <{each}>" for each in ("stdio.h", "stddef.h", header)]
    lines.append("int main(void) {")
    for request, (name, fields) in structures.items():
        lines.append(f'printf("%zu %u", sizeof(struct {name}), (unsigned){request});')
        lines += [f'printf(" %zu", offsetof(struct {name}, {each}));' for each in fields.split()]
        lines.append('puts("");')
    source, program = folder / "layouts.c", folder / "layouts"
    source.write_text("\n".join([*lines, "return 0; }"]))
    named = os.environ.get("PHYR_HEADERS")
    include = [f"-I{named}"] if named else []
    command = [compiler, *include, str(source), "-o", str(program)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if made.returncode and not named:
        pytest.skip(f"no {header} here, or an older one")
    assert made.returncode == 0, made.stderr
    told = subprocess.run([program], capture_output=True, text=True, check=True).stdout  # noqa: S603 - ours
    rows = [[int(word) for word in line.split()] for line in told.splitlines()]
    return {
        request: (size, number, offsets)
        for request, (size, number, *offsets) in zip(structures, rows, strict=True)
    }


def layout_of(request: Request) -> Layout:
    """Return the layout that phyr packs."""
    text = re.sub(r"(\d+)(\w)", lambda found: found[2] * int(found[1]), request.fields.format)
    kinds = text.removeprefix("=")
    offsets = [4 + struct.calcsize(f"={kinds[:at]}") for at in range(len(kinds))]
    return 4 + request.fields.size, request.number, offsets
