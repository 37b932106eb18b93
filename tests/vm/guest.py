"""Run the checks of all scripts, or of those named, in the guest."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import Check, kind, run

SCRIPTS = sorted(path.stem for path in Path(__file__).parent.glob("guest_*.py"))


def checks_of(kind: str, scripts: Sequence[str] = SCRIPTS) -> list[Check]:
    """Return the checks of scripts for a kind of IOMMU, in the order in which they run."""
    return [
        check
        for name in scripts
        for check in importlib.import_module(name).checks.all
        if kind in check.kinds
    ]


if __name__ == "__main__":
    sys.exit(not run(checks_of(kind(), sys.argv[1:] or SCRIPTS)))
