"""Where public functions that return a `Result` can panic, read from the core's object file."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.object_file import ObjectFile

ROOT = Path(__file__).parents[2]
# As the release is compiled, without `std` and without `sim`. All functions get code, those too
# that are inlined wherever the core itself calls them.
RUSTC = [
    *("rustc", "--edition", "2024", "--crate-name", "phyr", "--crate-type", "rlib"),
    *("--cap-lints", "allow", "--emit", "obj"),
    *("-C", "opt-level=3", "-C", "codegen-units=1", "-C", "panic=abort"),
    *("-C", "link-dead-code", "-C", "symbol-mangling-version=v0"),
]
OLDEST = 95
# Mistakes made on purpose, in a file that has no other; one is in a generic function.
SEEDED = """
impl Granule {
    /// Panics if there is no item.
    pub fn seeded(items: &[u64]) -> Result<u64, Error> {
        Ok(*items.first().unwrap())
    }

    /// Panics if there is no item.
    pub fn seeded_of<T: Copy>(items: &[T]) -> Result<T, Error> {
        Ok(*items.first().unwrap())
    }
}
"""
SEEDED_GENERIC = """
pub fn granule_seeded_of(items: &[u64]) -> Result<u64, Error> {
    Granule::seeded_of(items)
}
"""
# The code of generic functions is made where they are called: here, for each form of a list.
GENERIC = ROOT / "tests" / "house" / "generic.rs"
FORMS = ("Phyr", "Frozen")
# It panics if there is no memory, as it says; `Index::try_new` does not.
PLAIN = {"Index::new"}
# The standard library has these in its own code; no input reaches them.
LIBRARY = {
    "alloc::raw_vec": "a vector grows: there was room, which the compiler does not see",
    "core::slice::sort": "an order that contradicts itself; those here are of numbers",
    "core/src/slice/sort": "the same",
}

PUBLIC = re.compile(
    r"^impl(?:<[^>]*>)? (?:[\w:<>, \[\]&']+ for )?(?P<type>\w+)[^\n]*\{$"
    r"|^(?:    )?pub (?:const )?fn (?P<name>\w+)(?:<[^(]*>)?\([^{;]*?\)"
    r"(?: -> (?P<result>[^{;]*))?[\s{]"
    r"|^\}$",
    re.MULTILINE,
)
SYMBOL = re.compile(
    r"<(?:\w+::)*(\w+)(?:<.*?>)?>::(\w+)(?:::<.*)?$|(?:\w+::)*(\w+)::(\w+)(?:::<.*)?$"
)


def fallible(source: Path) -> set[str]:
    """Return the public functions of the core that return a `Result`, by type or by file."""
    found = set()
    for file in source.rglob("*.rs"):
        if {"python", "sim"} & set(file.relative_to(source).parts):
            continue
        holder = None
        for match in PUBLIC.finditer(file.read_text()):
            if match["name"] is None:
                holder = match["type"]
            elif (match["result"] or "").startswith("Result<"):
                found.add(f"{holder or file.stem}::{match['name']}")
    return found


def short(symbol: str) -> str | None:
    """Return the name of a function by type or by file."""
    match = SYMBOL.match(symbol)
    return match and "::".join(part for part in match.groups() if part)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Where each fallible function can panic, in a copy of the source with mistakes in it."""
    if not (shutil.which("rustc") and shutil.which("c++filt")):
        pytest.skip("no rustc or no c++filt here")
    compiler = subprocess.check_output(["rustc", "-vV"], text=True)  # noqa: S607
    if "x86_64-unknown-linux" not in compiler:
        pytest.skip("reads the object files of one machine")
    if int(compiler.split(".")[1]) < OLDEST:
        pytest.skip(f"counted with Rust 1.{OLDEST}: an older one leaves more places in")
    root = tmp_path_factory.mktemp("panics")
    shutil.copytree(ROOT / "src", root / "src")
    shutil.copy(ROOT / "README.md", root)
    with (root / "src" / "granule.rs").open("a") as file:
        file.write(SEEDED)
    for form in FORMS:
        text = GENERIC.read_text().replace("use crate::Phyr as P;", f"use crate::{form} as P;")
        (root / "src" / f"of_{form.lower()}.rs").write_text(text + SEEDED_GENERIC)
    with (root / "src" / "lib.rs").open("a") as file:
        file.writelines(f"mod of_{form.lower()};\n" for form in FORMS)
    subprocess.run([*RUSTC, "-o", "phyr.o", "src/lib.rs"], cwd=root, check=True)  # noqa: S603 - ours
    code = ObjectFile(root / "phyr.o")
    found: dict[str, set[str]] = {}
    wanted = fallible(root / "src")
    for symbol, start in code.functions.items():
        name = short(symbol)
        if name in wanted:
            found.setdefault(name, set()).update(code.places(start))
    # A generic function has code of its own, or is part of the function that calls it here.
    callers = {
        f"of_{form.lower()}::{name.lower().replace('::', '_')}"
        for name in wanted - set(found) - PLAIN
        for form in FORMS
    }
    assert callers <= set(found)
    return found


def test_seeded_panics_are_found(places: dict[str, set[str]]) -> None:
    line = (ROOT / "src" / "granule.rs").read_text().count("\n") + 5
    assert places["Granule::seeded"] == {f"src/granule.rs:{line}"}
    for form in FORMS:
        assert places[f"of_{form.lower()}::granule_seeded_of"] == {f"src/granule.rs:{line + 5}"}
    assert not places["Granule::new"]


def test_no_fallible_function_can_panic(places: dict[str, set[str]]) -> None:
    lines = set().union(*(here for name, here in places.items() if "seeded" not in name))
    own = {
        line for line in lines if not re.sub(r".*/library/|^<", "", line).startswith(tuple(LIBRARY))
    }
    assert sorted(own) == []


def test_what_reads_a_list_cannot_panic(places: dict[str, set[str]]) -> None:
    without = {name for name, here in places.items() if not here}
    assert without >= {
        *("Phyr::chunk", "Phyr::find", "Phyr::pages", "Phyr::translate", "Phyr::validate"),
        *("Phyr::exposes_nothing", "Phyr::try_to_bytes", "Frozen::translate", "Frozen::chunk_at"),
    }
