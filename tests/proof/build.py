"""Compiles the crate as it is released, with a door into its private functions, to LLVM IR.

The sources are copied. To each file that has a namesake in `exposed/` that one is added as a module
of its own, with functions of C's calling convention around the file's own: nothing else is changed,
so what is proved is what the release compiles. A mutant is the same with one piece of one file
replaced.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WORK = ROOT / "target" / "proof"

# Where each file that is proved lies below `src`.
SOURCES = {
    "entry": "storage/entry.rs",
    "words": "storage/words.rs",
    "digest": "storage/digest.rs",
    "granule": "granule.rs",
    "pgsize": "pgsize.rs",
    "walk": "list/walk.rs",
    "phyr": "list/phyr.rs",
    "builder": "list/builder.rs",
    "pages": "list/pages.rs",
    "records": "pagemap/records.rs",
    "plan": "dma/plan.rs",
    "limits": "desc/limits.rs",
    "shape": "desc/shape.rs",
}

# As the release is compiled: see the profile in Cargo.toml. Without the feature `std`, so that a
# loop of `wide!` does not ask the machine which instructions it has.
RUSTC = [
    *("rustc", "--edition", "2024", "--crate-name", "phyr", "--crate-type", "cdylib"),
    *("--cap-lints", "allow"),
    *("-C", "opt-level=3", "-C", "codegen-units=1"),
]


@dataclass(frozen=True)
class Mutant:
    """One piece of one file, and what stands there instead."""

    source: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        """Return the file with the piece replaced, which it must have once."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.source}: {self.old!r} is there {found} times")
        return text.replace(self.old, self.new)


def exposed(source: str) -> Path:
    """Return the file of the door into a source."""
    return HERE / "exposed" / f"{source}.rs"


def copy(to: Path, mutant: Mutant | None) -> None:
    """Copy the sources, with doors, and with one piece replaced if a mutant is asked for."""
    if to.exists():
        shutil.rmtree(to)
    shutil.copytree(ROOT / "src", to)
    shutil.copy(ROOT / "README.md", to.parent)
    for source, place in SOURCES.items():
        text = (ROOT / "src" / place).read_text()
        if mutant is not None and mutant.source == source:
            text = mutant.apply(text)
        (to / place).write_text(f'{text}\n#[path = "{exposed(source)}"]\nmod exposed;\n')
    # A shared library needs a panic handler.
    with (to / "lib.rs").open("a") as root:
        root.write("extern crate std;\n")


def digest(mutant: Mutant | None) -> str:
    """Return a name for what is compiled, and with what."""
    parts = [repr(mutant), repr(RUSTC), subprocess.check_output(["rustc", "-vV"], text=True)]  # noqa: S607
    files = sorted([*(ROOT / "src").rglob("*.rs"), *HERE.glob("exposed/*.rs")])
    parts += [f"{path} {path.read_text()}" for path in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def compiled(mutant: Mutant | None = None, emit: str = "llvm-ir") -> Path:
    """Return the module of the crate, or of a mutant, compiled if it was not before."""
    suffix = {"llvm-ir": "ll", "link": "so"}[emit]
    work = WORK / digest(mutant)
    module = work / f"phyr.{suffix}"
    if not module.exists():
        # Another process may compile the same.
        own = work / str(os.getpid())
        copy(own / "src", mutant)
        made = own / f"new.{suffix}"
        command = [*RUSTC, f"--emit={emit}", "-o", str(made), str(own / "src" / "lib.rs")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if done.returncode != 0:
            raise RuntimeError(f"{mutant} does not compile:\n{done.stderr}")
        made.rename(module)
        shutil.rmtree(own)
    return module
