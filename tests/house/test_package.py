"""The crate's package: what is in it, and what its manifest names."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Beside the sources, of which every file is there.
PACKAGED = (
    r"benches/((common|linear)/)?\w+\.rs",
    r"tests/\w+\.rs",
    r"tests/(archives|oracle)/\w+\.rs",
    r"tests/pages/\w+\.phyf",
    r"docs/(with/)?[\w-]+\.md",
    r"docs/pictures/[\w-]+\.png",
    r"include/phyr\.h",
    r"(README|CHANGELOG|CONTRIBUTING|SECURITY)\.md",
    r"LICENSE-(APACHE|MIT)",
    r"Cargo\.(lock|toml|toml\.orig)",
    r"(clippy|rustfmt)\.toml",
    r"\.cargo_vcs_info\.json",
)


@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo lists what it packs")
def test_the_package_is_the_crate_without_python() -> None:
    run = subprocess.run(
        ["cargo", "package", "--list", "--allow-dirty", "--offline"],  # noqa: S607
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    files = run.stdout.split()
    sources = {f"src/{path.relative_to(ROOT / 'src')}" for path in (ROOT / "src").rglob("*.rs")}
    assert {file for file in files if file.startswith("src/")} == sources
    others = [file for file in files if not file.startswith("src/")]
    assert [file for file in others if not re.fullmatch("|".join(PACKAGED), file)] == []
    tests = {f"tests/{path.name}" for path in (ROOT / "tests").glob("*.rs")}
    assert {*tests, "include/phyr.h"} <= set(files)


def test_the_manifests_name_the_same_addresses() -> None:
    crate = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    names = ["homepage", "documentation", "repository"]
    assert [crate[name] for name in names] == [urls[name.capitalize()] for name in names]
