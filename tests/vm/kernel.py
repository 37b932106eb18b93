#!/usr/bin/env python3
"""Find or make the guest's kernel.

    tests/vm/kernel.py NAME       print the kernel image, making it first if need be
    tests/vm/kernel.py --list     the names

A Debian kernel is fetched with apt and only unpacked, never installed.  Those named "iommufd" and
"newest" are built from Debian's source packages, with guest.config and newest.config, because
Debian's own builds leave iommufd and VFIO's no-IOMMU mode out; where a copy built by this very
recipe is at hand (see `PREBUILT`), that is unpacked instead.
"""

import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("PHYR_VM_CACHE") or "~/.cache/phyr-vm").expanduser().absolute()
# Where a kernel may lie ready made: the project itself carries no binary.
BESIDE = HERE.parents[2] / "shared" / "vm" / "prebuilt"
PREBUILT = Path(os.environ.get("PHYR_VM_PREBUILT") or BESIDE).expanduser().absolute()
SUITES = ["bookworm", "bookworm-backports", "trixie", "trixie-backports", "sid"]
BUILT = {
    "iommufd": ("trixie", "linux-source-6.12"),
    "newest": ("trixie-backports", "linux-source-7.3"),
}
KERNELS = [*BUILT, *SUITES, "PATH of a kernel image with all built in"]
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TOOLS = ["gcc", "make", "flex", "bison", "bc", "libelf-dev", "libc6-dev", "xz-utils", "perl"]

# Modules to load, in this order, with arguments.  One that is built in, or that a kernel does not
# have, is left out.
MODULES = [
    ("virtio_pci", ""),
    ("virtio_iommu", ""),
    ("9pnet_virtio", ""),
    ("9p", ""),
    ("overlay", ""),
    ("virtio_console", ""),
    ("nvme", ""),
    ("vfio_iommu_type1", "allow_unsafe_interrupts=1"),
    ("vfio_pci", ""),
    ("uio_pci_generic", ""),
]


class Kernel(NamedTuple):
    """A kernel to boot."""

    name: str
    image: Path
    folder: Path | None
    """Where its modules are, with a file `order`."""


def say(*words: str) -> None:
    print("vm:", *words, file=sys.stderr, flush=True)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=cwd).stdout


def as_root(*command: str, environment: Mapping[str, str]) -> bool:
    sudo = [] if os.getuid() == 0 else ["sudo"]
    done = subprocess.run(
        [*sudo, *command], env=environment, stdout=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0


def install(*packages: str) -> None:
    say("installing", *packages)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    get = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    # The lists first: they may be older than the mirror.
    as_root("apt-get", "update", "-q", environment=environment)
    if not as_root(*get, environment=environment):
        raise SystemExit(f"vm: cannot install {' '.join(packages)}")


def need(program: str, package: str) -> str:
    """Return the program's path; its package is installed if it is missing."""
    if not shutil.which(program):
        install(package)
    found = shutil.which(program)
    if not found:
        raise SystemExit(f"vm: {package} brought no {program}")
    return found


def missing(*packages: str) -> list[str]:
    """Return which of the packages are not installed."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return [name for name in packages if f"{name} installed\n" not in done.stdout]


class Suite:
    """One Debian suite, from the mirror that the system already uses.

    Read through apt's own client, but apart from the system's lists.
    """

    def __init__(self, name: str) -> None:
        folder = CACHE / "apt" / name
        (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (folder / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        form = "$(LABEL)|$(COMPONENT)|$(REPO_URI)"
        targets = run("apt-get", "indextargets", "--format", form, "Created-By: Packages")
        lines = targets.splitlines()
        mirrors = [line.split("|")[2] for line in lines if line.startswith("Debian|main|")]
        if not mirrors:
            raise SystemExit("vm: apt knows no Debian mirror; run apt-get update first")
        source = folder / "sources.list"
        source.write_text(f"deb [signed-by={KEYRING}] {mirrors[0]} {name} main\n")
        self.options = [
            f"-oDir::Etc::sourcelist={source}",
            "-oDir::Etc::sourceparts=-",
            f"-oDir::State::lists={folder}/lists",
            f"-oDir::Cache={folder}/cache",
            "-oDir::State::status=/dev/null",
            "-oAcquire::Languages=none",
            "-oAPT::Sandbox::User=",
        ]
        run("apt-get", *self.options, "-q", "update")

    def depends(self, package: str) -> list[str]:
        """Return the kernel packages that a package depends on."""
        shown = run("apt-cache", *self.options, "show", "--no-all-versions", package)
        line = re.search(r"^Depends: (.*)$", shown, re.MULTILINE)
        return re.findall(r"linux-[\w.+-]+", line[1]) if line else []

    def unpack(self, package: str, into: Path) -> None:
        """Fetch a package and unpack it."""
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            run("apt-get", *self.options, "-q", "download", package, cwd=Path(folder))
            for archive in Path(folder).iterdir():
                run("dpkg-deb", "-x", archive, into)


def vmlinux(image: bytes) -> bytes:
    """Return the ELF kernel inside a bzImage.

    To unpack it here, once, is far cheaper than in the guest at every boot.
    """
    start = (image[0x1F1] + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
    size = int.from_bytes(image[0x24C:0x250], "little")
    packed = image[start : start + size]
    if packed.startswith(b"\x1f\x8b"):
        return gzip.decompress(packed[:-4])
    if packed.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(packed)
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        # Four bytes of size follow the stream.
        command = [need("zstd", "zstd"), "-dc"]
        done = subprocess.run(command, input=packed[:-4], check=True, stdout=subprocess.PIPE)
        return done.stdout
    raise SystemExit(f"vm: unknown compression of the kernel: {packed[:4].hex()}")


def pick_modules(tree: Path, folder: Path) -> None:
    """Copy the MODULES and what they depend on, plain, in load order."""
    found = {path.name.split(".ko")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    order: dict[str, str] = {}

    def add(name: str, args: str) -> None:
        if name not in found or name in order:
            return
        data = found[name].read_bytes()
        if found[name].suffix == ".xz":
            data = lzma.decompress(data)
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in depends[1].decode().replace("-", "_").split(",") if depends else ():
            add(other, "")
        order[name] = args
        (folder / f"{name}.ko").write_bytes(data)

    for name, args in MODULES:
        add(name, args)
    (folder / "order").write_text("".join(f"{name}.ko {args}\n" for name, args in order.items()))


def fetch(suite: str, folder: Path) -> None:
    """Put Debian's own kernel into the folder."""
    source = Suite(suite)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        tree = Path(name)
        images = source.depends("linux-image-amd64")
        image = next(name for name in images if name.startswith("linux-image-"))
        say("fetching", image, "of", suite)
        part = re.compile("linux-(binary|modules|base)-[0-9]")
        for package in [image, *filter(part.match, source.depends(image))]:
            source.unpack(package, tree)
        files = [path for path in tree.rglob("*") if path.is_file()]
        packed = next(path for path in files if path.name.startswith("vmlinuz"))
        config = next(path for path in files if re.match(r"config(-|$)", path.name))
        (folder / "vmlinux").write_bytes(vmlinux(packed.read_bytes()))
        shutil.copyfile(config, folder / "config")
        pick_modules(tree, folder)


def wanted_by(name: str) -> Path:
    """Return the configuration asked of a kernel that is built: its own, or that of all."""
    own = HERE / f"{name}.config"
    return own if own.is_file() else HERE / "guest.config"


def build(name: str, folder: Path) -> None:
    """Build a kernel with its configuration into the folder."""
    suite, package = BUILT[name]
    absent = missing(*TOOLS)
    if absent:
        install(*absent)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        tree = Path(scratch)
        say("building a kernel from", package, "of", suite, "(some 20 minutes, once)")
        Suite(suite).unpack(package, tree)
        archive = tree / "usr" / "src" / f"{package}.tar.xz"
        run("tar", "-C", tree, "--no-same-owner", "-xJf", archive)
        source = tree / package
        wanted = wanted_by(name)
        run("make", "-s", "tinyconfig", cwd=source)
        run("scripts/kconfig/merge_config.sh", "-m", ".config", wanted, cwd=source)
        run("make", "-s", "olddefconfig", cwd=source)
        config = source / ".config"
        asked = wanted.read_text().splitlines()
        lost = {line for line in asked if not line.startswith("#") and "=n" not in line}
        lost -= set(config.read_text().splitlines())
        if lost:
            raise SystemExit(f"vm: the kernel's configuration lost {', '.join(sorted(lost))}")
        run("make", "-s", f"-j{len(os.sched_getaffinity(0))}", "vmlinux", cwd=source)
        run("strip", "-s", "-o", folder / "vmlinux", source / "vmlinux")
        shutil.copyfile(config, folder / "config")
        (folder / "order").touch()


def label_of(name: str) -> str:
    """Return what the kernel's folder is called: its recipe is in it, so a change makes a new one.

    Raises:
        SystemExit: There is no kernel of that name.
    """
    if name in BUILT:
        recipe = wanted_by(name).read_bytes() + repr(BUILT[name]).encode()
    elif name in SUITES:
        recipe = repr(MODULES).encode()
    else:
        raise SystemExit(f"vm: no kernel named {name}; there are: {', '.join(KERNELS)}")
    return f"{name}-{hashlib.sha256(recipe).hexdigest()[:8]}"


def folder_of(label: str) -> Path:
    """Return where the kernel is kept."""
    return CACHE / "kernels" / label


def packed_of(label: str) -> Path:
    """Return where the kernel may lie ready made."""
    return PREBUILT / f"{label}.vmlinux.xz"


def at_hand(name: str) -> bool:
    """Tell whether a kernel is there without fetching or building."""
    if Path(name).is_file():
        return True
    label = label_of(name)
    return folder_of(label).is_dir() or packed_of(label).is_file()


def make(name: str, folder: Path) -> None:
    """Put the kernel into the folder: unpacked, built or fetched."""
    packed = packed_of(label_of(name))
    if packed.is_file():
        with lzma.open(packed) as file, (folder / "vmlinux").open("wb") as out:
            shutil.copyfileobj(file, out)
        (folder / "order").touch()
    elif name in BUILT:
        build(name, folder)
    else:
        fetch(name, folder)


def find_kernel(name: str) -> Kernel:
    """Return the kernel of that name, made if it is not there yet."""
    if Path(name).is_file():
        return Kernel(name, Path(name), None)
    folder = folder_of(label_of(name))
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
        try:
            make(name, part)
            part.chmod(0o755)
            # Another run may have been as quick: either copy does.
            try:
                part.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return Kernel(name, folder / "vmlinux", folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print("\n".join(KERNELS) if sys.argv[1] == "--list" else find_kernel(sys.argv[1]).image)
