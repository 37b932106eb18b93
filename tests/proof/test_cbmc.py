"""CBMC proves the packed word of include/phyr.h for all inputs; the laws are in entry.c."""

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import phyr

HERE = Path(__file__).parent
LAWS = re.findall(r"^void (\w+)\(void\)", (HERE / "entry.c").read_text(), re.MULTILINE)
CHECKS = ["bounds", "pointer", "undefined-shift", "signed-overflow", "div-by-zero"]
OPTIONS = ["--unwind", "54", "--unwinding-assertions", *[f"--{name}-check" for name in CHECKS]]
# Debian 12 has no cbmc. That of Debian 13 runs with its own C library.
PACKAGES = ["cbmc", "minisat", "zlib1g", "libc6", "libstdc++6", "libgcc-s1"]

sys.path.append(str(HERE.parent / "vm"))


@cache
def cbmc() -> list[str]:
    """Return the words that start CBMC, fetched from Debian 13 where it is not installed."""
    if found := shutil.which("cbmc"):
        return [found]
    kernel = pytest.importorskip("kernel")
    root = Path(kernel.CACHE) / "cbmc"
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    if not (root / "ready").exists():
        try:
            suite = kernel.Suite("trixie")
            for package in PACKAGES:
                suite.unpack(package, root)
        except (OSError, subprocess.SubprocessError, SystemExit) as error:
            pytest.skip(f"no cbmc here: {error}")
        (root / "ready").touch()
    path = f"{libraries}:{root / 'usr' / 'lib'}"
    loader = libraries / "ld-linux-x86-64.so.2"
    return [str(loader), "--library-path", path, str(root / "usr" / "bin" / "cbmc")]


def proved(law: str, folder: str) -> subprocess.CompletedProcess[str]:
    """Return what CBMC says of a law about the header in a folder."""
    command = [*cbmc(), "--function", law, *OPTIONS, f"-I{folder}", str(HERE / "entry.c")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)  # noqa: S603


@pytest.mark.parametrize("law", LAWS)
def test_cbmc_proves_for_all_inputs_that(law: str) -> None:
    run = proved(law, phyr.include())
    assert run.stdout.splitlines()[-1] == "VERIFICATION SUCCESSFUL", run.stdout[-2000:] + run.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("count <= PHYR_MAX_COUNT ?", "count < PHYR_MAX_COUNT ?"), ("(count & 1) == 0", "count == 0")],
)
def test_a_header_with_a_mistake_is_not_proved(right: str, wrong: str, tmp_path: Path) -> None:
    header = (Path(phyr.include()) / "phyr.h").read_text()
    assert right in header
    (tmp_path / "phyr.h").write_text(header.replace(right, wrong))
    said = [proved(law, str(tmp_path)).stdout.splitlines()[-1] for law in LAWS]
    assert "VERIFICATION FAILED" in said
