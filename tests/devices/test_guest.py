"""The checks in a guest (tests/vm), each as a test: one boot for each kernel and kind of IOMMU.

`.ci/run guest` runs them and has what they need installed. Elsewhere they are run where QEMU and a
kernel are at hand already, and skipped where not, unless PHYR_VM_REQUIRED is 1.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

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

QEMU_FELL = 126

Line: TypeAlias = dict[str, Any]
Machine: TypeAlias = tuple[str, str]
"""A kernel, and a kind of IOMMU."""


class Boot(NamedTuple):
    """A guest that has ended."""

    lines: dict[str, Line]
    """The line of each check that ended."""
    output: str
    """All that it and QEMU said."""
    status: int
    """The exit status of tests/vm/run."""
    image: bytes
    """The bytes that the drive then holds."""
    fell: str = ""
    """All that was said where QEMU itself fell, before it was started anew."""


Boots: TypeAlias = dict[Machine, Future[Boot]]


def lacking() -> str | None:
    """Say what is not at hand, in a line."""
    programs = [name for name in ("qemu-system-x86_64", "busybox") if not shutil.which(name)]
    if programs:
        return f"not installed: {', '.join(programs)} (.ci/run guest installs them)"
    if not at_hand(KERNELS[0]):
        return f"no kernel {KERNELS[0]} at hand (tests/vm/kernel.py {KERNELS[0]} makes it)"
    return None


def boot(kernel: str, kind: str) -> Boot:
    """Run all checks of a kernel and a kind in a guest; anew, once, where QEMU itself fell."""
    first = boot_once(kernel, kind)
    if first.status != QEMU_FELL:
        return first
    return boot_once(kernel, kind)._replace(fell=first.output)


def boot_once(kernel: str, kind: str) -> Boot:
    """Run all checks of a kernel and a kind in a guest."""
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
    return Boot({line["check"]: line for line in lines}, done.stdout, done.returncode, image)


@pytest.fixture(scope="module")
def boots(request: pytest.FixtureRequest) -> Iterator[Boots]:
    """Start each guest that a chosen test is for, two at a time."""
    why = lacking()
    if why and not REQUIRED:
        pytest.skip(why)
    chosen = {
        (item.callspec.params["kernel"], item.callspec.params["kind"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module is request.module
        and "boots" in item.fixturenames
    }
    with ThreadPoolExecutor(2) as pool:
        yield {each: pool.submit(boot, *each) for each in MACHINES if each in chosen}


@pytest.mark.parametrize(("kernel", "kind"), MACHINES)
def test_guest_ends_by_itself(boots: Boots, kernel: str, kind: str) -> None:
    """Show all that a guest said where it, or QEMU, ended before its checks did."""
    ended = boots[kernel, kind].result()
    if ended.fell:
        print(f"QEMU itself fell, and was started anew. First it said:\n{ended.fell}")  # noqa: T201
    missing = [check.name for check in checks_of(kind) if check.name not in ended.lines]
    assert not missing, f"status {ended.status}, no {missing[0]}; the guest said:\n{ended.output}"


@pytest.mark.parametrize(("kernel", "kind", "name"), CASES, ids=["-".join(case) for case in CASES])
def test_in_guest(boots: Boots, kernel: str, kind: str, name: str) -> None:
    ended = boots[kernel, kind].result()
    assert name in ended.lines, f"not run: status {ended.status}"
    line = ended.lines[name]
    if "skipped" in line:
        # The kernels that are built for this have all of it.
        (pytest.fail if REQUIRED and kernel in BUILT else pytest.skip)(line["skipped"])
    if line.get("figures"):
        print(line["figures"])  # noqa: T201 - shown by -rP
    assert line["passed"], line["why"]


@pytest.mark.parametrize(("kernel", "kind"), MACHINES)
def test_drive_holds_what_the_example_wrote(boots: Boots, kernel: str, kind: str) -> None:
    image = boots[kernel, kind].result().image
    written = guest_nvme.image(kind)
    assert image[: len(written)] == written
    assert not any(image[len(written) :])


def test_a_qemu_that_falls_is_told() -> None:
    why = lacking()
    if why and not REQUIRED:
        pytest.skip(why)
    command = [str(HERE / "vm" / "run"), "--kernel", KERNELS[0], "--", "sleep", "60"]
    with subprocess.Popen(  # noqa: S603 - our own
        command, cwd=HERE.parent, stderr=subprocess.PIPE, text=True
    ) as run:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
        qemu = None
        while qemu is None:
            assert run.poll() is None
            time.sleep(0.05)
            for pid in children.read_text().split():
                # It may have ended since, if it unpacks the kernel.
                with suppress(FileNotFoundError, ProcessLookupError):
                    if Path(f"/proc/{pid}/comm").read_text().startswith("qemu"):
                        qemu = int(pid)
        os.kill(qemu, signal.SIGSEGV)
        assert "QEMU was ended by SIGSEGV" in run.communicate()[1]
    assert run.returncode == QEMU_FELL
