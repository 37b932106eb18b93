"""The checks in a guest (tests/vm), each as a test: one boot for each kind of IOMMU.

`.ci/run guest` runs them and has what they need installed. Elsewhere they are run where QEMU and a
kernel are at hand already, and skipped where not, unless PHYR_VM_REQUIRED is 1.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "vm"))

from guest import checks_of  # noqa: E402
from harness import KINDS  # noqa: E402
from kernel import at_hand  # noqa: E402

REQUIRED = os.environ.get("PHYR_VM_REQUIRED") == "1"
KERNEL = os.environ.get("PHYR_VM_KERNEL", "iommufd")
CASES = [(kind, check.name) for kind in KINDS for check in checks_of(kind)]
SECONDS = 150

Line: TypeAlias = dict[str, Any]
Boot: TypeAlias = Future[tuple[dict[str, Line], str]]


def lacking() -> str | None:
    """Say what is not at hand, in a line."""
    programs = [name for name in ("qemu-system-x86_64", "busybox") if not shutil.which(name)]
    if programs:
        return f"not installed: {', '.join(programs)} (.ci/run guest installs them)"
    if not at_hand(KERNEL):
        return f"no kernel {KERNEL} at hand (tests/vm/kernel.py {KERNEL} makes it)"
    return None


def boot(kind: str) -> tuple[dict[str, Line], str]:
    """Run all checks of a kind in a guest; return the line of each, and all that came."""
    python = [sys.executable, str(HERE / "vm" / "guest.py")]
    options = ["--iommu", kind, "--kernel", KERNEL, "--timeout", str(SECONDS), "--times"]
    done = subprocess.run(  # noqa: S603 - our own
        [HERE / "vm" / "run", *options, "--", *python],
        cwd=HERE.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    return {line["check"]: line for line in lines}, done.stdout


@pytest.fixture(scope="module")
def boots(request: pytest.FixtureRequest) -> Iterator[dict[str, Boot]]:
    """Start a guest of each kind that a chosen test is for, two at a time."""
    why = lacking()
    if why and not REQUIRED:
        pytest.skip(why)
    chosen = {
        item.callspec.params["kind"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    }
    with ThreadPoolExecutor(2) as pool:
        yield {kind: pool.submit(boot, kind) for kind in KINDS if kind in chosen}


@pytest.mark.parametrize(("kind", "name"), CASES, ids="-".join)
def test_in_guest(boots: dict[str, Boot], kind: str, name: str) -> None:
    lines, output = boots[kind].result()
    assert name in lines, f"not run; the guest said:\n{output}"
    line = lines[name]
    if "skipped" in line:
        pytest.skip(line["skipped"])
    if line.get("figures"):
        print(line["figures"])  # noqa: T201 - shown by -rP
    assert line["passed"], line["why"]
