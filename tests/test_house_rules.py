"""The rules of the house that no linter knows: levels, packages, names, Python, unsafe."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import phyr
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent
SOURCES = sorted((ROOT / "src").rglob("*.rs"))

# Each file uses lower levels, and those named before it in its own.
LEVELS = [
    ["kind", "wide", "digest", "error", "addr"],
    ["entry", "words", "records", "pgsize"],
    ["chain", "writer"],
    ["iter"],
    ["phyr"],
    ["bounds", "pages", "builder", "join", "stats", "validate", "serial", "pagemap"],
    ["plan", "shift", "window", "map"],
]
ORDER = [module for level in LEVELS for module in level]

# The only files that may say `unsafe`, and why.
UNSAFE = {
    "wide.rs": "calls code made for instructions that the machine was found to have",
    "python/buffer.rs": "memory lent to and by Python",
    "python/area.rs": "the signature of the slots that lend an area",
    "python/column.rs": "the signature of the slot that lends a column",
    "python/desc.rs": "the signature of the slot that lends descriptors",
    "python/uring.rs": "memory registered with a ring",
    "python/tuple.rs": "tuples made item by item, without a call and without a panic",
}


def code_of(source: Path) -> str:
    """Return a Rust file without comments, strings and its tests, which may use everything."""
    text = re.sub(r"//.*", "", source.read_text())
    text = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    return text.partition("#[cfg(test)]\nmod ")[0]


def name_of(source: Path) -> str:
    """Return a file's path below src."""
    return source.relative_to(ROOT / "src").as_posix()


def used_by(source: Path) -> set[str]:
    """Return the first name after each `crate::`, braces and all."""
    code = code_of(source)
    groups = re.findall(r"\bcrate::\{(.*?)\};", code, re.DOTALL)
    inside = {name for group in groups for name in re.findall(r"(?:^|[{,])\s*(\w+)", group)}
    return inside | set(re.findall(r"\bcrate::(\w+)", code))


def test_a_use_of_the_crate_is_found_however_it_is_written(tmp_path: Path) -> None:
    source = tmp_path / "some.rs"
    source.write_text(
        "//! [`crate::comment`]\nuse crate::one::One;\npub use crate::{two::Two,\n    three};\n"
        'fn f() { crate::four::f("crate::five") }\n#[cfg(test)]\nmod tests { use crate::six; }\n'
    )
    assert used_by(source) == {"one", "two", "three", "four"}


def test_every_file_has_a_level() -> None:
    core = [source.stem for source in SOURCES if "/" not in name_of(source)]
    assert sorted(core) == sorted([*ORDER, "lib"])


def test_a_file_uses_lower_levels_only() -> None:
    found = [
        f"{name_of(source)} uses {module}"
        for source in SOURCES
        if source.stem in ORDER and "/" not in name_of(source)
        for module in used_by(source)
        if module not in ORDER[: ORDER.index(source.stem)]
    ]
    assert found == []


def test_nothing_below_the_bindings_knows_of_python() -> None:
    found = [
        name_of(source)
        for source in SOURCES
        if not name_of(source).startswith("python/") and "pyo3" in source.read_text().lower()
    ]
    assert found == []


def test_nothing_below_the_devices_uses_them() -> None:
    package = ROOT / "python" / "phyr"
    devices = {"_uapi", "pci", "vfio", "iommufd"}
    use = re.compile(rf"^\s*(from|import) phyr\.({'|'.join(devices)})\b", re.MULTILINE)
    found = [
        path.relative_to(package).as_posix()
        for path in sorted(package.rglob("*.py"))
        if path.relative_to(package).parts[0].removesuffix(".py") not in devices
        and use.search(path.read_text())
    ]
    assert found == []


def test_unsafe_stays_where_it_is_expected() -> None:
    found = {name_of(source) for source in SOURCES if re.search(r"\bunsafe\b", code_of(source))}
    assert sorted(found) == sorted(UNSAFE)


def test_the_lock_file_lists_only_known_packages() -> None:
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    found = {package["name"] for package in lock["package"]}
    assert sorted(found) == (HERE / "known_packages.txt").read_text().split()


def test_the_public_names_are_the_known_ones() -> None:
    known = (HERE / "public_names.txt").read_text().split()
    assert sorted(phyr.__all__) == known
    for name in known:
        assert hasattr(phyr, name)


def test_importing_phyr_imports_no_pinning() -> None:
    code = "import sys, phyr; print([name for name in sys.modules if name.startswith('phyr.')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert "phyr._phyr" in run.stdout
    assert "phyr.pinning" not in run.stdout
    assert "phyr.allocating" not in run.stdout


def test_a_name_that_phyr_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'phyr' has no attribute 'unpin'"):
        phyr.unpin  # type: ignore[attr-defined] # noqa: B018


def test_what_is_public_is_in_all() -> None:
    modules = {path.stem for path in Path(phyr.__file__).parent.iterdir()}
    names = {name for name in dir(phyr) if not name.startswith("_")} - modules
    assert names == {name for name in phyr.__all__ if not name.startswith("_")} - modules
