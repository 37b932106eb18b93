"""Acts as another system: `other_system.py darwin|win32` uses phyr without what is not there.

With `demo` as a second word it runs that command.

The extension of another system lacks the classes that Linux alone, or Unix, compiles. Windows lacks
modules and functions of Python that its documentation marks "Availability: Unix".
"""

import importlib.util
import mmap
import os
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}
LINUX = ["eventfd", "memfd_create", "pidfd_open", "sched_getaffinity"]
UNIX = ["fork", "getuid", "geteuid", "pread", "preadv", "pwrite", "readv", "sysconf", "uname"]


class Without(MetaPathFinder):
    """Refuses modules."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:  # noqa: ARG002
        if fullname in MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def act(system: str) -> None:
    """Take away what the other system lacks."""
    found = importlib.util.find_spec("phyr")
    assert found is not None
    assert found.origin is not None
    name = "phyr._phyr"
    spec = importlib.util.spec_from_file_location(
        name, next(Path(found.origin).parent.glob("_phyr.*"))
    )
    assert spec is not None
    assert spec.loader is not None
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    del extension.Ring
    for function in LINUX:
        delattr(os, function)
    for constant in ["MAP_POPULATE", "MAP_STACK", "MADV_HUGEPAGE"]:
        delattr(mmap, constant)
    if system == "win32":
        del extension.PagemapReads, extension.FolioScan, extension.page_records
        for function in UNIX:
            delattr(os, function)
        for constant in [name for name in dir(mmap) if name.startswith(("MAP_", "MADV_"))]:
            delattr(mmap, constant)
        for module in MODULES & set(sys.modules):
            del sys.modules[module]
        sys.meta_path.insert(0, Without())
    sys.modules[name] = extension
    sys.platform = system


def say(name: str, what: object) -> None:
    """Print a line."""
    sys.stdout.write(f"{name} {what}\n")


def live() -> None:
    """Use what needs no operating system, and ask for what does."""
    from phyr import FrozenPhyr, Phyr, PhyrError, alloc, desc  # noqa: PLC0415
    from phyr.iommu import Direction, Paging, dma_map  # noqa: PLC0415
    from phyr.sim import Device, Memory, SimDomain  # noqa: PLC0415

    phyr = Phyr.from_pfns([3, 4, 9])
    assert FrozenPhyr.open(phyr.freeze().to_bytes()) == phyr
    assert Phyr.from_bytes(phyr.to_bytes()) == phyr
    assert len(bytes(desc.bio_vecs(phyr, vmemmap=0xFFFF_EA00 << 32))) == 2 * 16
    memory = Memory(1 << 24)
    domain = SimDomain(memory)
    buffer = memory.scatter(0x4000, seed=1)
    memory.write(buffer, bytes(range(256)) * 64)
    with dma_map(buffer, Paging(domain), Direction.TO_DEVICE) as mapping:
        assert Device(memory, domain).read(mapping.dma.chunks[0].paddr, 256) == bytes(range(256))
    try:
        alloc(4096)
    except PhyrError as error:
        say("alloc", error)
    try:
        from phyr import pin  # noqa: PLC0415

        pin(bytearray(4096))
    except (PhyrError, ImportError) as error:
        say("pin", error)
    for module in ["pagemap", "pci", "vfio", "iommufd", "testing"]:
        try:
            importlib.import_module(f"phyr.{module}")
        except ImportError as error:
            say(module, error)
        else:
            say(module, "loads")


def demo() -> None:
    """Run the command that needs no operating system."""
    from phyr.__main__ import main  # noqa: PLC0415

    sys.argv = ["phyr", "demo"]
    main()


if __name__ == "__main__":
    if sys.argv[2:] == ["demo"]:
        import click  # noqa: F401 - it has parts of its own for Windows
        import rich.console  # noqa: F401 - likewise
    act(sys.argv[1])
    demo() if sys.argv[2:] == ["demo"] else live()
