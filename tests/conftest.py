"""Profiles of hypothesis, and what pytest is not to collect."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Checked by mypy, not run: see house/test_typing.py; and run in a guest: see devices/test_guest.py;
# and run in a simulator, or in another Python: see with/test_cocotb.py, with/test_torch.py.
collect_ignore = ["house/typing", "vm", "with/pcie", "with/pytorch"]

# The helpers of the tests assert too: pytest is to explain those as well.
pytest.register_assert_rewrite("support")

# A job in the background starts with the signal ignored, which its children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: a shared machine is late now and then, and that is no failure.
settings.register_profile(
    "fast",
    deadline=None,
    max_examples=50,
    stateful_step_count=20,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep", settings.get_profile("fast"), max_examples=2000, stateful_step_count=60
)
settings.load_profile(os.environ.get("PHYR_HYPOTHESIS", "fast"))

# The machine of the gate has every program of others: a test of one that skips there has failed.
WITH = Path(__file__).parent / "with"
ALL_PROGRAMS = "PHYR_WITH_REQUIRED" in os.environ


def _no_skip(path: Path, report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a report of a skip one of a failure."""
    if ALL_PROGRAMS and report.skipped and WITH in path.parents:
        report.outcome = "failed"
        report.longrepr = f"skipped, where nothing may be missing: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at the report of a test."""
    report = yield
    _no_skip(item.path, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Look at the report of a file, which skips if an import fails."""
    report = yield
    _no_skip(collector.path, report)
    return report
