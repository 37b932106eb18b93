"""The set-up script installs Debian's Rust where that is new enough, and elsewhere names rustup."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MANIFEST = tomllib.loads((ROOT / "Cargo.toml").read_text())
OLDEST = MANIFEST["package"]["rust-version"]
CARGO_OF_OLDEST = ["rustup", "run", OLDEST, "cargo"]
CHECK = ["check", "--quiet", "--tests", "--features", "python", "--target-dir", "target/oldest"]


def run_without_cargo(folder: Path, packaged: str | None) -> tuple[str, str]:
    """Run the script where no cargo is and apt offers one version, up to its question for Python.

    Returns what it says, and what it asked of apt-get.
    """
    programs = folder / "bin"
    programs.mkdir()
    for name in ["bash", "dirname", "sed", "sort", "id", "env"]:
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    log = folder / "log"
    log.touch()
    scripts = {"apt-get": f'echo "$@" >>{log}', "sudo": '"$@"', "python3": "exit 1"}
    if packaged is not None:
        scripts["apt-cache"] = f"echo rustc:; echo '  Candidate: {packaged}'"
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/bash\n{script}\n")
        (programs / name).chmod(0o755)
    (folder / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup", folder / "scripts")
    shutil.copy(ROOT / "Cargo.toml", folder)
    run = subprocess.run(  # noqa: S603 - the command is ours
        [folder / "scripts" / "setup"],
        env={**os.environ, "PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    return run.stderr, log.read_text()


@pytest.mark.parametrize("packaged", ["1.85.0+dfsg3-1", "1.100.0-1"])
def test_debians_cargo_is_installed_where_it_is_new_enough(tmp_path: Path, packaged: str) -> None:
    said, asked = run_without_cargo(tmp_path, packaged)
    assert "setup: installing cargo" in said
    assert asked.splitlines() == [
        "update -qq",
        "install -y -qq --no-install-recommends cargo",
    ]
    assert "rustup" not in said


@pytest.mark.parametrize("packaged", ["1.63.0+dfsg1-2", "(none)", None])
def test_rustup_is_named_where_no_package_is_new_enough(
    tmp_path: Path, packaged: str | None
) -> None:
    said, asked = run_without_cargo(tmp_path, packaged)
    assert "no package of Rust 1.85 or newer; install it from https://rustup.rs" in said
    assert asked == ""


def has_oldest() -> bool:
    if shutil.which("rustup") is None:
        return False
    command = [*CARGO_OF_OLDEST, "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - ours


@pytest.mark.skipif(not has_oldest(), reason=f"rustup has no toolchain {OLDEST}")
def test_the_oldest_rust_compiles_the_crate() -> None:
    # The lint knows functions only: new syntax is an error of the compiler.
    subprocess.run(  # noqa: S603 - the command is ours
        [*CARGO_OF_OLDEST, *CHECK],
        cwd=ROOT,
        check=True,
    )


def test_documents_and_the_lint_name_the_version_of_the_manifest() -> None:
    assert OLDEST == "1.85"  # Debian 13 ships it.
    assert MANIFEST["lints"]["clippy"]["incompatible_msrv"] == "deny"
    for name in ["README.md", "CONTRIBUTING.md"]:
        assert f"Rust {OLDEST}" in (ROOT / name).read_text()
