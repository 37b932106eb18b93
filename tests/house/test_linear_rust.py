"""No operation of the public Rust API is worse than linear: instructions at N and at four times N.

The operations are in `benches/linear/`, and are all public functions and methods of the sources.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from support.callgrind import ROOT, built, costs_between, worse_than_linear

FEW = 1 << 10

NEW = "makes something empty, or of parts that others made"
PLAIN = "reads a field, or computes with a few numbers"
EXCEPTIONS = {
    **dict.fromkeys(
        [
            "Builder.new",
            "Builder.with",
            "Columns.new",
            "FolioTally.new",
            "IovaMap.new",
            "Linear.new",
            "Memory.new",
            "Memory.with_limit",
            "PagemapDecoder.[njrtz]*",
            "SimDomain.new",
            "span",
        ],
        NEW,
    ),
    **dict.fromkeys(
        [
            "*.granule",
            "*.is_empty",
            "*.kind",
            "*.length",
            "*.may_change",
            "*.window_at",
            "Chunk.*",
            "DescError.*",
            "Entry.*",
            "Granule.*",
            "Index.lists",
            "IovaMap.nr_areas",
            "Memory.*_u64",
            "Memory.free_bytes",
            "Memory.resident",
            "Memory.size",
            "PageSizes.*",
            "PageStructs.*",
            "Pages.remaining",
            "Place.*",
            "Plan.sizes",
            "Prot.*",
            "Reason.*",
            "SglDescriptor.*",
            "SimDomain.[alpr]*",
            "SimDomain.counters",
        ],
        PLAIN,
    ),
    "PagemapDecoder.skip": "counts pages that are not there",
    "SimDomain.flush_iotlb": "empties a cache of a fixed size",
}


@cache
def names() -> list[str]:
    """Return the operations, as ``Type::method`` or ``function``, in the order of their counts."""
    run = subprocess.run([built("linear"), "names"], check=True, capture_output=True, text=True)  # noqa: S603 - ours
    return run.stdout.splitlines()


def public() -> Iterator[str]:
    """Yield the public functions, and the methods of public types, as the sources have them."""
    sources = {
        path: path.read_text(encoding="utf-8")
        for path in (ROOT / "src").rglob("*.rs")
        if "python" not in path.parts
    }
    roots = [path for path in sources if path.name in ("lib.rs", "mod.rs")]
    uses = "".join(
        "".join(re.findall(r"^pub use [^;]+;", sources[path], re.MULTILINE)) for path in roots
    )
    known = set(re.findall(r"\w+", uses))
    for text in sources.values():
        owner = ""
        for line in text.splitlines():
            if line.startswith("mod tests"):
                break
            if found := re.match(r"impl(?:<.*?>)? (?:.* for )?(\w+)", line):
                owner = found[1]
            elif found := re.match(r"( *)pub (?:const )?fn (\w+)", line):
                path = f"{owner}.{found[2]}" if found[1] else found[2]
                if path.partition(".")[0] in known:
                    yield path


pytestmark = pytest.mark.skipif(
    shutil.which("cargo") is None, reason="cargo builds what is counted"
)


def counted() -> set[str]:
    """Return the operations as `public` has them. A comma separates how one is called."""
    return {name.partition(",")[0].replace("::", ".") for name in names()}


def test_each_operation_of_rust_is_counted_or_has_a_reason() -> None:
    rest = set(public()) - counted()
    assert (
        sorted(name for name in rest if not any(fnmatchcase(name, key) for key in EXCEPTIONS)) == []
    )


def test_each_exception_of_rust_is_needed() -> None:
    rest = set(public()) - counted()
    assert [key for key in EXCEPTIONS if not any(fnmatchcase(name, key) for name in rest)] == []


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind counts instructions")
def test_no_public_operation_of_rust_is_worse_than_linear(tmp_path: Path) -> None:
    program = [built("linear"), str(FEW), str(4 * FEW)]
    costs = costs_between("getpid", program, tmp_path)
    assert worse_than_linear(names(), costs, FEW, {}) == []
