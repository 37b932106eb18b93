"""include/phyr.h as device code of CUDA and HIP, which clang compiles without their headers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import phyr

KERNEL = Path(__file__).parent / "c" / "kernel.cu"
NO_SDK = ["-nogpuinc", "-nogpulib", "--cuda-device-only", "-std=c++17", "-O2", "-S"]
STRICT = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]


@pytest.mark.parametrize(
    ("language", "machine", "entry"),
    [
        ("cuda", "--offload-arch=sm_70", ".visible .entry drive("),
        ("hip", "--offload-arch=gfx90a", ".amdhsa_kernel drive"),
    ],
)
def test_every_function_compiles_for_a_device(
    language: str, machine: str, entry: str, tmp_path: Path
) -> None:
    if not shutil.which("clang++"):
        pytest.skip("no clang++ here")
    command = ["clang++", "-x", language, machine, *NO_SDK, *STRICT, f"-I{phyr.include()}"]

    def compiled(*more: str) -> str:
        made = tmp_path / "made"
        done = subprocess.run(  # noqa: S603 - ours
            [*command, *more, str(KERNEL), "-o", str(made)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return made.read_text()

    assert entry in compiled()
    # Nothing is missing: no function of a library, none of the host.
    used = re.findall(r"^declare .*@([\w.]+)\(", compiled("-emit-llvm"), re.MULTILINE)
    assert [name for name in used if not name.startswith("llvm.")] == []


def test_the_kernel_uses_every_function() -> None:
    header = (Path(phyr.include()) / "phyr.h").read_text()
    code = header.partition("#if defined(__unix__)")[0]
    names = {
        line.split("(")[0].split()[-1].lstrip("*")
        for line in code.splitlines()
        if line.startswith("PHYR_FN ")
    }
    uses = code + KERNEL.read_text()
    assert len(names) > 15
    assert [name for name in sorted(names) if uses.count(f"{name}(") < 2] == []
