"""Compiling C programs against include/phyr.h."""

import shutil
import subprocess
from pathlib import Path

import pytest

import phyr

STRICT = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion"]


def compiled(source: Path, command: list[str], program: Path, *more: str) -> Path:
    """Compile a C program against the header, every warning an error."""
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} here")
    include = [f"-I{phyr.include()}"]
    line = [*command, *STRICT, *include, str(source), "-o", str(program), *more]
    subprocess.run(line, check=True)  # noqa: S603 - ours
    return program
