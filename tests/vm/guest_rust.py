"""The example driver in Rust, by the crate vfio-ioctls: crates/phyr-vfio-ioctls/examples/edu.rs."""

import subprocess
from pathlib import Path

from harness import EDU, IOMMUS, Checks, Skip

from phyr import pci

checks = Checks()
PROGRAM = Path(__file__).parents[2] / "target" / "crates" / "debug" / "examples" / "edu"


@checks.on(*IOMMUS)
def rust_example_maps_a_list_of_user_addresses() -> dict[str, str]:
    """The device reads one page and writes another, which lie the other way round in memory."""
    if not PROGRAM.exists():
        raise Skip("crates/phyr-vfio-ioctls is not built: .ci/run guest builds it")
    with pci.bound(EDU, "vfio-pci") as function:
        done = subprocess.run([PROGRAM, function.path], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert "user, " in done.stdout, done.stdout
    assert "as one stretch, from one page to another" in done.stdout, done.stdout
    return {"list": done.stdout.split(": ")[0]}
