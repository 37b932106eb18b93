"""Skips the examples of a page whose packages are not there."""

import pytest

NEEDED = {"dataframes.md": ["numpy", "pandas", "polars", "pyarrow", "duckdb"]}


@pytest.fixture(autouse=True)
def _packages(request: pytest.FixtureRequest) -> None:
    for package in NEEDED.get(request.node.path.name, []):
        pytest.importorskip(package, reason=f"{package} is not installed")
