"""Runs pcie_bench.py beside it in Icarus Verilog; prints how many of its tests pass."""

import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from cocotb_tools.runner import get_runner

HERE = Path(__file__).parent

with tempfile.TemporaryDirectory() as folder:
    runner = get_runner("icarus")
    log = f"{folder}/log"
    runner.build(sources=[HERE / "none.v"], hdl_toplevel="none", build_dir=folder, log_file=log)
    report = runner.test(
        hdl_toplevel="none",
        test_module="pcie_bench",
        test_dir=HERE,
        build_dir=folder,
        results_xml=f"{folder}/results.xml",
        log_file=log,
        extra_env={"PYTHONPATH": str(HERE)},
    )
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 - ours
    if any(case.find("failure") is not None or case.find("error") is not None for case in cases):
        raise SystemExit(Path(log).read_text())
print(len(cases), "passed")
