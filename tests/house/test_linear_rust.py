"""No operation of the public Rust API is worse than linear: instructions at N and at four times N.

The operations are in `benches/linear/`, and are all public functions and methods of the sources.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FEW = 1 << 10
MOST = 1.3
"""Searches and sorting take a step more for each doubling."""

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
def bench() -> str:
    """Build the program that does each operation."""
    command = ["cargo", "bench", "--no-run", "--bench", "linear", "--message-format=json"]
    build = subprocess.run(  # noqa: S603 - the command is ours
        command, cwd=ROOT, check=True, capture_output=True, text=True
    )
    messages = map(json.loads, build.stdout.splitlines())
    [program] = [found for message in messages if (found := message.get("executable"))]
    return str(program)


@cache
def names() -> list[str]:
    """Return the operations, as ``Type::method`` or ``function``, in the order of their counts."""
    run = subprocess.run([bench(), "names"], check=True, capture_output=True, text=True)  # noqa: S603 - ours
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
    counts = tmp_path / "counts"
    options = [f"--callgrind-out-file={counts}", "--dump-before=getpid", "--combine-dumps=no"]
    command = ["valgrind", "--tool=callgrind", *options, bench(), str(FEW), str(4 * FEW)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - the command is ours
    # Each dump ends at a call of `getpid`: every second one is an operation.
    dumps = sorted(tmp_path.glob("counts.*"), key=lambda path: int(path.suffix[1:]))
    totals = [
        int(re.findall(r"^(?:totals|summary): (\d+)", dump.read_text(), re.MULTILINE)[-1])
        for dump in dumps
    ]
    costs = totals[1::2]
    assert len(costs) == 2 * len(names())
    worse = []
    for name, few, many in zip(names(), costs[: len(names())], costs[len(names()) :], strict=True):
        print(f"{name}: {few / FEW:.1f} and {many / FEW / 4:.1f} instructions a chunk")  # noqa: T201 - figures to report
        if many > 4 * MOST * few:
            worse.append(f"{name}: {few} and {many}")
    assert worse == []
