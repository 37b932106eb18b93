"""The checks in a guest (tests/vm), each as a test: one boot for each kernel and kind of IOMMU.

`.ci/run guest` runs them and has what they need installed. Elsewhere they are run where QEMU and a
kernel are at hand already, and skipped where not, unless PHYR_VM_REQUIRED is 1.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE / "vm"))

import guest_nvme  # noqa: E402
from guest import checks_of  # noqa: E402
from harness import KINDS  # noqa: E402
from kernel import BUILT, at_hand  # noqa: E402

REQUIRED = os.environ.get("PHYR_VM_REQUIRED") == "1"
# The one that was asked for; or the one of the gate, and where it is at hand the newest.
KERNELS = (
    [os.environ["PHYR_VM_KERNEL"]] if "PHYR_VM_KERNEL" in os.environ else ["iommufd", "newest"]
)
KERNELS = [name for name in KERNELS if name == KERNELS[0] or at_hand(name)]
MACHINES = [(kernel, kind) for kernel in KERNELS for kind in KINDS]
CASES = [(*machine, check.name) for machine in MACHINES for check in checks_of(machine[1])]
SECONDS = 400

Line: TypeAlias = dict[str, Any]
Machine: TypeAlias = tuple[str, str]
"""A kernel, and a kind of IOMMU."""
Boot: TypeAlias = Future[tuple[dict[str, Line], str, bytes]]


def lacking() -> str | None:
    """Say what is not at hand, in a line."""
    programs = [name for name in ("qemu-system-x86_64", "busybox") if not shutil.which(name)]
    if programs:
        return f"not installed: {', '.join(programs)} (.ci/run guest installs them)"
    if not at_hand(KERNELS[0]):
        return f"no kernel {KERNELS[0]} at hand (tests/vm/kernel.py {KERNELS[0]} makes it)"
    return None


def boot(kernel: str, kind: str) -> tuple[dict[str, Line], str, bytes]:
    """Run all checks of a kernel and a kind in a guest.

    Returns:
        The line of each, all that came, and what the drive then holds.
    """
    python = [sys.executable, str(HERE / "vm" / "guest.py")]
    options = ["--iommu", kind, "--kernel", kernel, "--timeout", str(SECONDS), "--times"]
    if kind != "amd":
        # By default a transfer of QEMU's drive is 512 KiB at most; here the drive sets no limit.
        options += ["--qemu-arg=-global", "--qemu-arg=nvme.mdts=0"]
    with tempfile.NamedTemporaryFile() as drive:
        drive.truncate(64 << 20)
        done = subprocess.run(  # noqa: S603 - our own
            [HERE / "vm" / "run", *options, "--nvme", drive.name, "--", *python],
            cwd=HERE.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        image = drive.read()
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    return {line["check"]: line for line in lines}, done.stdout, image


@pytest.fixture(scope="module")
def boots(request: pytest.FixtureRequest) -> Iterator[dict[Machine, Boot]]:
    """Start each guest that a chosen test is for, two at a time."""
    why = lacking()
    if why and not REQUIRED:
        pytest.skip(why)
    chosen = {
        (item.callspec.params["kernel"], item.callspec.params["kind"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    }
    with ThreadPoolExecutor(2) as pool:
        yield {each: pool.submit(boot, *each) for each in MACHINES if each in chosen}


@pytest.mark.parametrize(("kernel", "kind", "name"), CASES, ids=["-".join(case) for case in CASES])
def test_in_guest(boots: dict[Machine, Boot], kernel: str, kind: str, name: str) -> None:
    lines, output, _ = boots[kernel, kind].result()
    assert name in lines, f"not run; the guest said:\n{output}"
    line = lines[name]
    if "skipped" in line:
        # The kernels that are built for this have all of it.
        (pytest.fail if REQUIRED and kernel in BUILT else pytest.skip)(line["skipped"])
    if line.get("figures"):
        print(line["figures"])  # noqa: T201 - shown by -rP
    assert line["passed"], line["why"]


@pytest.mark.parametrize(("kernel", "kind"), MACHINES)
def test_drive_holds_what_the_example_wrote(
    boots: dict[Machine, Boot], kernel: str, kind: str
) -> None:
    *_, image = boots[kernel, kind].result()
    written = guest_nvme.image(kind)
    assert image[: len(written)] == written
    assert not any(image[len(written) :])
