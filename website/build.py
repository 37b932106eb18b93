"""Builds the documentation site into target/site; `scripts/site` runs it. Warnings are errors."""

import shutil
import subprocess
import sys
from pathlib import Path

import pages
import reference

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "target"

RUST = """# Rust

The crate has the same wings as the package. Its reference is made by rustdoc:

- [phyr](rust/phyr/index.html): all modules, the simulated machine (feature `sim`) among them
- [Phyr](rust/phyr/struct.Phyr.html), [Builder](rust/phyr/struct.Builder.html),
  [FrozenPhyr](rust/phyr/struct.FrozenPhyr.html): the list, how to make one, the form to keep

- [phyr_vm_memory](rust/phyr_vm_memory/index.html): guest memory of the crate vm-memory, in a crate
  of its own ([how](with/vm-memory.md))
"""


def main() -> int:
    """Gather the pages, and have the site made of them."""
    gathered = pages.Pages(TARGET / "site-pages")
    gathered.gather()
    reference.copied(HERE.parent / "python" / "phyr", TARGET / "site-python" / "phyr")
    for name, text in reference.pages().items():
        gathered.write(name, text)
    gathered.write("rust.md", RUST)
    gathered.write("style.css", (HERE / "style.css").read_text())
    shutil.copytree(TARGET / "site-rust" / "doc", gathered.folder / "rust")
    shutil.rmtree(TARGET / "site", ignore_errors=True)
    config = shutil.copy(HERE / "zensical.toml", TARGET / "site.toml")
    zensical = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file"]
    done = subprocess.run(  # noqa: S603 - ours
        [*zensical, config],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end="")  # noqa: T201 - a script
    # Complaints of docstrings are warnings to the generator, which it does not count.
    return done.returncode or int("griffe: " in done.stdout)


if __name__ == "__main__":
    sys.exit(main())
