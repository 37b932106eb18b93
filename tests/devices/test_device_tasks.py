"""The tasks of docs/real-devices.md: each example runs, and each error reads as it stands there."""

import errno
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import phyr
from phyr import Phyr, PhyrError, pci
from phyr.iommu import Direct, Prot, dma_map
from phyr.iommufd import Ioas
from phyr.vfio import NoIommu, Type1
from support.fake_vfio import FakeKernel
from support.live import shown, uring
from support.pages import private
from support.vfio import BOTH, ONE, PAGE, TWO, UADDR, Pin, buffer_of

pytest_plugins = ["support.vfio"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="devices need Linux")

TEXT = (Path(__file__).parents[2] / "docs" / "real-devices.md").read_text()
SECTION = re.compile(r"^##+ ([^\n]+)\n(.*?)(?=^## |^### |\Z)", re.MULTILINE | re.DOTALL)
SECTIONS = dict(SECTION.findall(TEXT))
EXAMPLES = {
    title: code
    for title, text in SECTIONS.items()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
}
(NAMES,) = re.findall(r"```python\n(import phyr\n.*?)```", TEXT, re.DOTALL)


def test_each_task_has_one_example_at_most() -> None:
    assert len(EXAMPLES) == TEXT.count("```python\n") - 1, "all but the names"
    for title in EXAMPLES:
        assert "**When**" in SECTIONS[title], title


@shown
@uring
@pytest.mark.parametrize("title", EXAMPLES)
@pytest.mark.filterwarnings("ignore:asked for thp")
def test_the_example_of_a_task_runs(kernel: FakeKernel, title: str) -> None:
    kernel.bus = [TWO]
    buffer = private(4 * PAGE)
    buffer[:] = bytes(4 * PAGE)
    names: dict[str, Any] = {"buffer": buffer, "backend": Direct()}
    exec(NAMES, names)  # noqa: S102 - our own document
    exec(EXAMPLES[title], names)  # noqa: S102 - our own document
    assert kernel.maps == {}
    assert pci.Function(ONE).driver == "nvme"


def asleep(backend: Type1) -> None:
    device = backend.open(TWO)
    # Ports, as BAR 1 of this kernel's devices has them.
    device.region(1)


def beyond(backend: Type1) -> None:
    backend.open(TWO).registers(0).read_int(0x2000, 4)


def without_a_pin(backend: Type1) -> None:
    backend.open(TWO)
    dma_map(Phyr.from_pfns([3]), backend, BOTH)


def parts(backend: Type1) -> None:
    backend.open(TWO)
    backend.map_user(UADDR, 5, Prot.READ)


def too_many(backend: Type1) -> None:
    backend.open(TWO)
    while True:
        backend.map_user(UADDR, PAGE, Prot.READ)


def not_masked(backend: Type1) -> None:
    (irq,) = backend.open(TWO).irqs["msix"].enable(1)
    irq.mask()


def alone_on_no_bus(backend: Type1) -> None:
    backend.open(TWO).hot_reset()


def of_another_space(_: Type1) -> None:
    with Ioas() as one, Ioas(beside=one) as two:
        two.copy(Phyr.from_chunks([(0x1000, PAGE)]), one)


def not_held(_: Type1) -> None:
    with NoIommu() as backend, backend.open(TWO):
        dma_map(buffer_of(7), backend, BOTH)


def out_of_reach(_: Type1) -> None:
    with NoIommu(sysfs=True, dma_mask=0xFFF) as backend:
        dma_map(buffer_of(7, owner=Pin("io_uring")), backend, BOTH)


@pytest.mark.parametrize(
    ("title", "words", "work"),
    [
        ("Registers and configuration", "has no memory behind BAR 1, or none that can", asleep),
        ("Registers and configuration", "is not inside the 0x2000 bytes", beyond),
        ("Map a buffer for a device", "does not know its user addresses", without_a_pin),
        ("Map a buffer for a device", "takes no more than its 3 mappings", too_many),
        ("Without root", "is not whole granules of 0x1000 bytes", parts),
        ("Interrupts", "the kernel does not mask those of this kind", not_masked),
        ("A device that sleeps or hangs", "has no bridge to be reset by", alone_on_no_bus),
        ("Guest memory", "is not mapped in Ioas", of_another_space),
        ("Without an IOMMU", "no pin holds the pages", not_held),
        ("Without an IOMMU", "ends above the DMA mask", out_of_reach),
    ],
)
def test_what_goes_wrong_reads_as_it_stands_there(
    kernel: FakeKernel, title: str, words: str, work: Callable[[Type1], None]
) -> None:
    kernel.limit = 3
    with Type1() as backend, pytest.raises(PhyrError, match=re.escape(words)):
        work(backend)
    # A real kernel allows some more mappings than this one.
    assert words.replace(" 3 ", " 65535 ") in " ".join(SECTIONS[title].split())


def test_every_error_that_is_named_exists() -> None:
    for name in re.findall(r"`(E[A-Z]{3,})`", TEXT):
        assert hasattr(errno, name), name
    for name in re.findall(r"`([A-Z]\w+Error)`", TEXT):
        assert hasattr(phyr, name) or name == "BufferError", name
