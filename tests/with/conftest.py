"""The gate has every program that these tests run: there a test that skips has failed."""

import os
from collections.abc import Generator

import pytest

REQUIRED = "PHYR_WITH_REQUIRED" in os.environ


def no_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a report of a skip one of a failure."""
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where nothing may be missing: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at the report of each test in this folder."""
    report = yield
    no_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Look at the report of each file in this folder, which skips if an import fails."""
    report = yield
    no_skip(report)
    return report
