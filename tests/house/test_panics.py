"""Where public functions that return a `Result` can panic, read from the core's object file."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
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
# A mistake made on purpose, in a file that has no other.
SEEDED = """
impl Granule {
    /// Panics if there is no item.
    pub fn seeded(items: &[u64]) -> Result<u64, Error> {
        Ok(*items.first().unwrap())
    }
}
"""
# Generic functions: their code is made where they are called.
GENERIC = {
    "Frozen::intersect",
    "Frozen::overlap",
    "Index::new",
    "IovaMap::map",
    "IovaMap::try_unmap",
    "IovaMap::try_unmap_with",
    "PagemapDecoder::try_ram",
    "PagemapDecoder::try_zero",
    "Phyr::from_chunks",
    "Phyr::intersect",
    "Phyr::overlap",
    "Plan::new",
    "Prp::new",
    "SegmentList::new",
    "Segments::new",
    "Table::bio_vecs",
    "Table::iovecs",
    "Table::scatterlist",
    "kho_radix::from_kho_radix",
    "parse_nvme::from_prp",
    "rdma::best_pgsize",
    "requests::map_requests",
}
# The standard library has these in its own code; no input reaches them.
LIBRARY = {
    "alloc::raw_vec": "a vector grows: there was room, which the compiler does not see",
    "core::slice::sort": "an order that contradicts itself; those here are of numbers",
}
# Places of each file that can still panic. Each checks what a list itself holds, such as an index
# that every valid list has, and no input is known that fails one. A number may only fall.
LEFT = Counter({"storage/shared.rs": 2})
# In `storage/shared.rs`: the crate breaks its own promise of so many items, or a list has 2^63
# owners. No answer to either would be honest.

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
    """Where each fallible function can panic, in a copy of the source with a mistake in it."""
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
    subprocess.run([*RUSTC, "-o", "phyr.o", "src/lib.rs"], cwd=root, check=True)  # noqa: S603 - ours
    code = ObjectFile(root / "phyr.o")
    found: dict[str, set[str]] = {}
    wanted = fallible(root / "src")
    for symbol, start in code.functions.items():
        name = short(symbol)
        if name in wanted:
            found.setdefault(name, set()).update(code.places(start))
    assert wanted - set(found) == GENERIC
    return found


def test_a_seeded_panic_is_found(places: dict[str, set[str]]) -> None:
    line = (ROOT / "src" / "granule.rs").read_text().count("\n") + 5
    assert places["Granule::seeded"] == {f"src/granule.rs:{line}"}
    assert not places["Granule::new"]


def test_a_fallible_function_panics_only_where_it_is_written_down(
    places: dict[str, set[str]],
) -> None:
    lines = set().union(*(here for name, here in places.items() if name != "Granule::seeded"))
    files = Counter(re.sub(r".*/library/|^<|^src/|:\d+$", "", line) for line in lines)
    own = {file: count for file, count in files.items() if not file.startswith(tuple(LIBRARY))}
    assert Counter(own) <= LEFT, sorted(lines)


def test_what_reads_a_list_cannot_panic(places: dict[str, set[str]]) -> None:
    without = {name for name, here in places.items() if not here}
    assert without >= {
        *("Phyr::chunk", "Phyr::find", "Phyr::pages", "Phyr::translate", "Phyr::validate"),
        *("Phyr::exposes_nothing", "Phyr::try_to_bytes", "Frozen::translate", "Frozen::chunk_at"),
    }
