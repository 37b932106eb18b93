"""The rules of the house that no linter knows: levels, packages, names, Python, unsafe."""

import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import phyr

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.rs"))

# The wings and their files, from the ground up. A file may use those named before it; the face of a
# wing (`mod`) comes last in it.
WINGS = {
    "": "kind wide slices error granule pgsize",
    "storage": "digest entry words shared sorted chain pack leaf writer mod",
    "storage/frozen": "bits block unpack header archive write check mod",
    "list": "walk walk/bulk chunks phyr builder ranges positions/in_node positions bounds reading"
    " partition bits bitmaps overlap pages join collect shift stats validate serial mod",
    "list/frozen": "view chunks list positions extend bytes reading extras layer index both_paths"
    " mod",
    "pagemap": "records decoder folios mod",
    "dma": "plan unmaps alignment error backend iova_map mod",
    "desc": "error limits segments shape layout encode table bvec rdma prp sgl sg requests split"
    " parse parse_nvme memfd distinct kho_vmalloc kho_radix mod",
    "sim": "small counters error store frames vtd leaf_table plan scatter memory alloc table iotlb"
    " domain map bus walk attached mod",
    "python": "made calls error",
    "python/convert": "foreign buffer arrow arrow_made dlpack exchange fits kind shown amounts keys"
    " search numbers items tuple mod",
    "python/list": "held object column positions table walk chunks overlap file"
    " frozen either index fill join phyr builder mod",
    "python/desc": "limits descriptors arrays nvme rdma requests split parse handover mod",
    "python/dma": "iova_map shift failures holds owed mapping plan unmapping mod",
    "python/sim": "memory columns domain transfer mod",
    "python/os": "blocks failure loan area pagemap together proc_records page_lookup page_records"
    " page_reads uring mod",
}
ORDER = [f"{wing}/{name}".lstrip("/") for wing, names in WINGS.items() for name in names.split()]
TOP = ["python/mod", "lib"]

# The only files that may say `unsafe`, and why.
UNSAFE = {
    "slices.rs": "arrays of a slice, as Rust 1.88 makes them, asking for a cache line, and a queue",
    "wide.rs": "calls code made for instructions that the machine was found to have",
    "storage/shared.rs": "shared ownership, of which the standard one aborts without memory",
    "python/convert/buffer.rs": "memory lent to and by Python",
    "python/os/area.rs": "the signature of the slots that lend an area",
    "python/list/frozen.rs": "memory lent by Python, read as words",
    "python/list/column.rs": "the signature of the slot that lends a column",
    "python/desc/descriptors.rs": "the signature of the slot that lends descriptors",
    "python/os/blocks.rs": "an allocator",
    "python/os/page_reads.rs": "a file by its number, and its bytes as words",
    "python/os/uring.rs": "memory registered with a ring",
    "python/convert/arrow.rs": "columns that others hand over in structs of C",
    "python/convert/arrow_made.rs": "columns handed over in structs of C",
    "python/convert/dlpack.rs": "arrays handed over in structs of C",
    "python/convert/foreign.rs": "memory of others, which they may write meanwhile",
    "python/calls.rs": "functions of Python's slots, called once more",
    "python/made.rs": "objects made by calls that say when memory is short",
    "python/mod.rs": "asks which interpreter this is",
    "python/convert/tuple.rs": "tuples made item by item, without a panic",
}


def code_of(source: Path) -> str:
    """Return a Rust file without comments, strings and its tests, which may use everything."""
    text = re.sub(r"//.*", "", source.read_text())
    text = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    return text.partition("#[cfg(test)]\nmod ")[0]


def name_of(source: Path) -> str:
    """Return a file's path below src."""
    return source.relative_to(ROOT / "src").as_posix()


def paths_in(code: str) -> set[str]:
    """Return each path that starts with `crate` or `super`, the groups in braces taken apart."""
    while group := re.search(r"((?:\w+::)+)\{([^{}]*)\}", code):
        names = [name.strip() for name in group[2].split(",") if name.strip()]
        code = code.replace(group[0], ", ".join(group[1] + name for name in names))
    return set(re.findall(r"\b(?:crate|super)(?:::\w+)+", code))


def used_by(source: Path, root: Path = ROOT / "src") -> set[str]:
    """Return the files that a file uses, by their paths below `root` without an ending."""
    found = set()
    for path in paths_in(code_of(source)):
        first, *names = path.split("::")
        at = root if first == "crate" else source.parent
        file = at / "mod.rs" if (at / "mod.rs").exists() else at.with_suffix(".rs")
        file = root / "lib.rs" if at == root else file
        for name in names:
            at /= name
            if at.with_suffix(".rs").exists():
                file = at.with_suffix(".rs")
            elif (at / "mod.rs").exists():
                file = at / "mod.rs"
            else:
                break
        found.add(file.relative_to(root).with_suffix("").as_posix())
    return found


def test_a_use_of_the_crate_is_found_however_it_is_written(tmp_path: Path) -> None:
    for name in ["lib", "one", "wing/mod", "wing/two", "wing/three", "wing/three/part", "some"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).with_suffix(".rs").touch()
    source = tmp_path / "wing/four.rs"
    source.write_text(
        "//! [`crate::some`]\nuse crate::one::One;\npub use crate::{wing::{two::Two, Face},\n"
        "    One};\nuse super::three::{self, Three};\n"
        'fn f() { crate::wing::three::part::f("crate::some") }\n'
        "#[cfg(test)]\nmod tests { use crate::some; }\n"
    )
    parts = {"wing/two", "wing/mod", "wing/three", "wing/three/part"}
    assert used_by(source, tmp_path) == {"one", "lib"} | parts
    part = tmp_path / "wing/three/part.rs"
    part.write_text("use super::Three;\n")
    assert used_by(part, tmp_path) == {"wing/three"}


def test_every_file_has_a_place_in_a_wing() -> None:
    assert sorted(name_of(source)[:-3] for source in SOURCES) == sorted([*ORDER, *TOP])


def test_a_file_uses_those_below_it_only() -> None:
    found = [
        f"{name} uses {used}"
        for at, name in enumerate(ORDER)
        for used in used_by(ROOT / "src" / f"{name}.rs")
        if used not in ORDER[: at + 1]
    ]
    assert found == []


def test_nothing_below_the_bindings_knows_of_python() -> None:
    found = [
        name_of(source)
        for source in SOURCES
        if not name_of(source).startswith("python/")
        and name_of(source) != "lib.rs"
        and re.search(r"pyo3|feature *= *\"python\"", source.read_text(), re.IGNORECASE)
    ]
    assert found == []


def test_nothing_below_the_devices_uses_them() -> None:
    package = ROOT / "python" / "phyr"
    devices = {"_devices", "pci", "vfio", "iommufd"}
    use = re.compile(rf"^\s*(from|import) phyr\.({'|'.join(devices)})\b", re.MULTILINE)
    found = [
        path.relative_to(package).as_posix()
        for path in sorted(package.rglob("*.py"))
        if path.relative_to(package).parts[0].removesuffix(".py") not in devices
        and use.search(path.read_text())
    ]
    assert found == []


def test_every_call_from_python_is_guarded() -> None:
    """Functions and methods name the module that catches a lack of memory: `python/calls`."""
    for source in (ROOT / "src" / "python").rglob("*.rs"):
        lines = source.read_text().splitlines()
        for line, following in itertools.pairwise(lines):
            if line.strip() in ("#[pymethods]", "#[pyfunction]"):
                assert following.strip() == '#[pyo3(crate = "crate::python::calls")]', source


def test_memory_of_others_is_read_and_written_in_one_file() -> None:
    """A copy that Rust takes for its own would race with them: see `python/convert/foreign.rs`."""
    for source in (ROOT / "src" / "python").rglob("*.rs"):
        if source.name == "blocks.rs":  # an allocator, which moves memory of its own
            continue
        code = code_of(source)
        for word in ("copy_nonoverlapping", "read_unaligned", "ptr::copy", "view.as_mut()"):
            assert word not in code, (source, word)


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


@pytest.mark.parametrize(
    "wing", ["desc", "iommu", "iommufd", "pagemap", "pci", "sim", "testing", "vfio"]
)
def test_a_wing_is_loaded_when_it_is_first_used(wing: str) -> None:
    code = f"import phyr; assert '{wing}' in dir(phyr); print(phyr.{wing}.__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert run.stdout == f"phyr.{wing}\n"


def test_a_name_that_phyr_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'phyr' has no attribute 'unpin'"):
        phyr.unpin  # type: ignore[attr-defined] # noqa: B018


def test_what_is_public_is_in_all() -> None:
    modules = {path.stem for path in Path(phyr.__file__).parent.iterdir()}
    names = {name for name in dir(phyr) if not name.startswith("_")} - modules
    assert names == {name for name in phyr.__all__ if not name.startswith("_")} - modules
