"""Checks of many mappings: as many as the kernel takes, and random ones beside its trace."""

import random
import struct

from backends import BOTH, edu_of, iommufd
from harness import IOMMUS, PAGE, Checks, mapped_in, raises, scattered, traced, uaddr_of

import phyr
from phyr import LimitError
from phyr._devices import uapi
from phyr.iommu import Mapping, Prot, dma_map
from phyr.iommufd import Ioas
from phyr.vfio import Type1

checks = Checks()
_MAP_DMA, _UNMAP_DMA = 0x3B71, 0x3B72


@checks.on("intel")
def type1_takes_no_more_mappings_than_its_limit() -> dict[str, int]:
    """Reach it: most mappings by requests of this check, the last ones by phyr's."""
    buffer, few, far = scattered(2 * PAGE), 5, 1 << 36
    uaddr = uaddr_of(buffer)
    with edu_of(backend := Type1()), phyr.pin(buffer) as pinned:
        limit = backend.entry_limit
        assert limit == 65535
        many = limit - few
        for number in range(many):
            # Not side by side: each is a mapping of its own.
            iova = far + number * 2 * PAGE
            uapi.ioctl(
                backend.fd, _MAP_DMA, bytearray(struct.pack("=IIQQQ", 32, 3, uaddr, iova, PAGE))
            )
        iovas = [backend.map_user(uaddr, PAGE, Prot.READ) for _ in range(few)]
        before = repr(backend)
        for _ in range(3):
            with raises(LimitError, limit=limit, mapped=few):
                dma_map(pinned.phyr, backend, BOTH)
            with raises(LimitError, limit=limit, mapped=few):
                backend.map_buffer(buffer)
            assert repr(backend) == before
        # Its address is free again, and one less makes room for one.
        backend.unmap_user(iovas.pop())
        with dma_map(pinned.phyr, backend, BOTH) as mapping:
            assert mapping.dma.length == len(buffer)
            with raises(LimitError, limit=limit, mapped=few):
                backend.map_user(uaddr, PAGE, Prot.READ)
        request = bytearray(struct.pack("=IIQQ", 24, 0, far, many * 2 * PAGE))
        uapi.ioctl(backend.fd, _UNMAP_DMA, request)
        assert struct.unpack_from("=Q", request, 16)[0] == many * PAGE
    return {"mappings": limit}


def driver_is_told_random_maps(backend: Type1 | Ioas) -> dict[str, int]:
    """Map and unmap random slices in random order: the trace has these runs, and no others."""
    drawn = random.Random(7)  # noqa: S311
    buffer = scattered(256 * PAGE, seed=8)
    live: list[Mapping] = []
    wanted: list[tuple[int, int, int]] = []
    with edu_of(backend), phyr.pin(buffer) as pinned, traced() as trace:
        for _ in range(200):
            if live and drawn.random() < 0.45:
                live.pop(drawn.randrange(len(live))).unmap()
                continue
            start = drawn.randrange(len(buffer))
            length = drawn.choice([1, 100, PAGE, drawn.randrange(1, 40 * PAGE)])
            part = pinned.phyr[start : start + length]
            live.append(dma_map(part, backend, drawn.choice(list(type(BOTH)))))
            iova = live[-1].dma[0] & -PAGE
            assert live[-1].dma[0] - iova == start % PAGE
            pages = pinned.phyr[start & -PAGE : start + part.length + -(start + part.length) % PAGE]
            for paddr, size in pages.chunks:
                wanted.append((iova, paddr, size))
                iova += size
        for mapping in live:
            mapping.unmap()
        got = trace()
    lines = [
        f" map: IOMMU: iova={at:#x} - 0x0 paddr={to:#x} size={size}" for at, to, size in wanted
    ]
    assert got.maps == mapped_in("\n".join(lines))
    assert got.unmapped == sum(size for *_, size in wanted)
    return {"maps": len(wanted), "bytes": got.unmapped}


@checks.on(*IOMMUS)
def type1_driver_is_told_random_maps() -> object:
    return driver_is_told_random_maps(Type1())


@checks.on(*IOMMUS)
def iommufd_driver_is_told_random_maps() -> object:
    return driver_is_told_random_maps(iommufd())
