"""Lists of kind user: they have lengths and user addresses, and no physical ones."""

import pickle
from collections.abc import Callable

import pytest

import phyr
from phyr import MismatchError, Phyr, desc
from phyr.iommu import Bounce, BusOffset, Direct, Direction, Paging, Staging, dma_map
from phyr.iommufd import Ioas
from phyr.pinning import pinned as module
from phyr.sim import Memory
from phyr.testing import TableDomain
from phyr.vfio import NoIommu, Type1
from support.fake_vfio import FakeKernel
from support.pages import private, where
from support.vfio import BOTH, PAGE, TWO

pytest_plugins = ["support.vfio"]

LIST = Phyr.from_chunks([(0x7F00_0000_0100, 0x2F00)], kind="user")
RAM = Phyr.from_pfns([7, 9])
REFUSED = "a list of kind user has user addresses, and no physical ones"


def test_it_is_told_from_lists_of_the_same_numbers() -> None:
    assert Phyr.from_chunks(list(LIST.chunks)) != LIST
    assert (LIST.kind, LIST[0x1000:].kind, LIST.freeze().kind) == ("user",) * 3
    assert repr(LIST) == "Phyr(0x2f00 bytes, granule 4096, user, 1 chunk: 0x7f0000000100+0x2f00)"
    with pytest.raises(MismatchError, match="user"):
        LIST.overlap(RAM)
    for written in (Phyr.from_bytes(LIST.to_bytes()), pickle.loads(pickle.dumps(LIST))):  # noqa: S301
        assert written == LIST
        assert written.kind == "user"
    assert LIST.freeze().thaw() == LIST


DESCRIPTORS: dict[str, Callable[[Phyr], object]] = {
    "prp": desc.prp,
    "prp of a page": lambda phyr: desc.prp(phyr[:8]),
    "lists of prp": lambda phyr: desc.prp(Phyr.from_pfns([1, 3, 5]), phyr),
    "sgl": desc.sgl,
    "scatterlist": lambda phyr: desc.scatterlist(phyr, vmemmap=1 << 40),
    "bio_vecs": lambda phyr: desc.bio_vecs(phyr, vmemmap=1 << 40),
    "iovecs": lambda phyr: desc.iovecs(phyr, 0),
    "phys_vecs": desc.phys_vecs,
    "vfio_maps": lambda phyr: desc.vfio_maps(phyr, 0x1000),
    "dma_buf_vecs": desc.dma_buf_vecs,
    "memfd_folios": desc.memfd_folios,
    "kho_radix": lambda phyr: desc.kho_radix(phyr, RAM),
    "best_pgsize": lambda phyr: desc.best_pgsize(phyr, 1 << 12, phyr[0]),
    "page_list": lambda phyr: desc.page_list(phyr, PAGE),
    "map_requests": lambda phyr: desc.map_requests(phyr, 0x1000),
}


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_no_descriptor_has_its_addresses(name: str) -> None:
    with pytest.raises(MismatchError, match=REFUSED):
        DESCRIPTORS[name](LIST[0xF00:])


@pytest.mark.parametrize(
    "backend",
    [
        Direct(),
        BusOffset(0),
        BusOffset(PAGE),
        Paging(TableDomain()),
        Bounce(Staging(Memory(1 << 20), Memory(1 << 20)), dma_mask=2**32 - 1),
        NoIommu(sysfs=True),
    ],
    ids=repr,
)
def test_backends_that_need_physical_addresses_refuse_it(backend: phyr.iommu.DmaBackend) -> None:
    for each in (LIST, LIST[0x200:0x300]):
        with pytest.raises(MismatchError, match=REFUSED):
            backend.map(each, BOTH)
        with pytest.raises(MismatchError, match=REFUSED):
            dma_map(each, backend, BOTH)


def test_simulated_memory_has_no_bytes_under_it() -> None:
    with pytest.raises(MismatchError, match=REFUSED):
        Memory(1 << 20).read(LIST)


@pytest.mark.parametrize("make", [Type1, Ioas])
def test_the_list_of_a_pin_without_rights_is_mapped_by_its_slices(
    kernel: FakeKernel, make: Callable[[], Type1 | Ioas], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(uaddr: int, length: int) -> None:
        raise phyr.HiddenPagesError(f"hidden: {uaddr:#x}+{length:#x}")

    monkeypatch.setattr(module, "own_pages", hidden)
    buffer = private(3 * PAGE)
    uaddr, _ = where(buffer)
    with make() as backend:
        backend.open(TWO)
        with phyr.pin((uaddr + 8, 2 * PAGE), backend=backend) as pinned:
            whole = pinned.phyr
            assert whole.kind == "user"
            assert (whole.length, whole.uaddr) == (2 * PAGE, uaddr + 8)
            assert [tuple(chunk) for chunk in whole.chunks] == [(uaddr + 8, 2 * PAGE)]
            with dma_map(whole[PAGE : PAGE + 64], backend, Direction.TO_DEVICE) as mapping:
                assert mapping.dma.kind == "ram"
                assert mapping.dma.length == 64
                assert (mapping.dma[0] - 8, uaddr + PAGE, PAGE, 1) in {
                    (iova, *map_) for iova, map_ in kernel.maps.items()
                }
                assert pinned.mappings == 1
                desc.prp(mapping.dma)
            with pytest.raises(phyr.HiddenPagesError, match="hidden"):
                pinned.moved()
        assert kernel.maps == {}
