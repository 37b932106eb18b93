"""Builds copy.v and burst.v with Icarus Verilog, and runs copy_bench.py on each: right, with a bug.

Needs cocotb and cocotbext-axi (PyPI) and iverilog (a Debian package).
"""

import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from cocotb_tools.runner import get_runner

HERE = Path(__file__).parent


def results(engine: str, bug: int, folder: str) -> dict[str, bool]:
    """Return which tests of the bench pass."""
    runner = get_runner("icarus")
    runner.build(
        sources=[HERE / f"{engine}.v", HERE / "pages.v"],
        hdl_toplevel=engine,
        parameters={"BUG": bug},
        build_dir=folder,
        log_file=f"{folder}/build.log",
    )
    report = runner.test(
        hdl_toplevel=engine,
        test_module="copy_bench",
        test_dir=HERE,
        build_dir=folder,
        results_xml=f"{folder}/results.xml",
        log_file=f"{folder}/test.log",
        extra_env={"PYTHONPATH": str(HERE)},
    )
    cases = ET.parse(report).iter("testcase")  # noqa: S314 - ours
    return {
        case.attrib["name"].rpartition(".")[2]: case.find("failure") is None
        and case.find("error") is None
        for case in cases
    }


is_right = True
for engine in ("copy", "burst"):
    found = {}
    for bug in (0, 1):
        with tempfile.TemporaryDirectory() as folder:
            found[bug] = results(engine, bug, folder)
        print(f"{engine}.v", "with the bug:   " if bug else "without the bug:", found[bug])
    wrong = [name for name, passed in found[1].items() if not passed]
    print(f"{engine}.v, the bug shows in:", ", ".join(wrong))
    is_right &= all(found[0].values()) and wrong == ["scattered"]
sys.exit(not is_right)
