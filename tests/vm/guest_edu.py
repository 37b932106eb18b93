"""The example driver of the edu device, and the page that makes it: both run as they stand."""

import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

from harness import EDU, IOMMUS, Checks

from phyr import pci

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import edu

checks = Checks()
PAGE = Path(__file__).parents[2] / "docs" / "datasheet-to-driver.md"


@checks.on(*IOMMUS)
def edu_example_computes_and_copies() -> None:
    before = pci.Function(EDU).driver
    backends = ["type1", *(["iommufd"] if Path("/dev/iommu").exists() else [])]
    for backend in backends:
        with redirect_stdout(sys.stderr):  # the lines there are for the host
            assert edu.main([EDU, "10", "--backend", backend]) == 3628800
    assert pci.Function(EDU).driver == before


@checks.on("none")
def edu_example_works_without_iommu() -> None:
    with redirect_stdout(sys.stderr):
        assert edu.main([EDU, "13", "--backend", "none"]) == 6227020800 % 2**32


@checks.on(*IOMMUS)
def edu_page_from_datasheet_to_driver_runs() -> dict[str, int]:
    """Run all pieces of docs/datasheet-to-driver.md, one after the other."""
    text = PAGE.read_text()
    pieces = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    before = pci.Function(EDU).driver
    names: dict[str, object] = {}
    with redirect_stdout(sys.stderr):
        for number, piece in enumerate(pieces, 1):
            exec(compile(piece, f"<piece {number}>", "exec"), names)  # noqa: S102 - our own
    assert pci.Function(EDU).driver == before
    return {"pieces": len(pieces)}
