"""Mappings of frozen lists that lie in a file, whose words change while they are mapped."""

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from phyr import FormatError, FrozenPhyr, Phyr
from phyr.iommu import Bounce, Direction, Otherwise, Paging, Staging, dma_map, plan_map
from phyr.sim import Memory, SimDomain

PAGE = 4096
WORD = struct.Struct("<Q")


def listed(seed: int, count: int = 300) -> Phyr:
    """Return a list of some runs, which freezing makes an archive."""
    rng = random.Random(seed)  # noqa: S311 - cases, not secrets
    pfns = rng.sample(range(1, 1 << 13), count)
    return Phyr.from_chunks([(pfn << 16, rng.randint(1, 16) * PAGE) for pfn in pfns])


def changes(words: bytes, seed: int) -> Iterator[tuple[int, int]]:
    """Yield places in a file behind its header, and a word for each."""
    rng = random.Random(seed)  # noqa: S311 - cases, not secrets
    for at in range(8 * WORD.size, len(words), WORD.size):
        (word,) = WORD.unpack_from(words, at)
        yield at, rng.choice([0, (1 << 64) - 1, rng.getrandbits(64), word ^ 1 << rng.randrange(64)])


def opened(tmp_path: Path, phyr: Phyr) -> tuple[FrozenPhyr, Path]:
    """Return a list that lies in a file, and the file."""
    path = tmp_path / "list"
    path.write_bytes(phyr.freeze().to_bytes())
    assert path.read_bytes()[:4] == b"PHYF"
    return FrozenPhyr.open(path), path


@pytest.mark.parametrize("otherwise", [Otherwise.ERROR, Otherwise.LIST])
def test_a_list_is_unmapped_by_the_words_it_was_mapped_by(
    tmp_path: Path, otherwise: Otherwise
) -> None:
    phyr = listed(1)
    frozen, path = opened(tmp_path, phyr)
    domain = SimDomain(Memory(64 << 20))
    backend = Paging(domain, otherwise=otherwise)
    written = path.read_bytes()
    for number, (at, word) in enumerate(changes(written, 2)):
        if number % 4:
            continue
        with path.open("r+b", buffering=0) as file:
            mapping = dma_map(frozen, backend, Direction.TO_DEVICE)
            first = mapping.dma[0]
            assert domain.iova_to_phys(mapping.dma[len(phyr) - 1]) == phyr[-1]
            file.seek(at)
            file.write(WORD.pack(word))
            mapping.unmap()
            file.seek(0)
            file.write(written)
        left = [iova for iova in range(first, first + len(phyr), PAGE) if domain.iova_to_phys(iova)]
        assert left == []


def test_bounce_pages_go_back_to_where_they_came_from(tmp_path: Path) -> None:
    memory = Memory(64 << 20)
    phyr = Phyr.from_pfns([(1 << 12) + page * 37 % 4001 for page in range(400)])
    frozen, path = opened(tmp_path, phyr)
    backend = Bounce(Staging(memory, memory), dma_mask=(16 << 20) - 1)
    data = random.Random(3).randbytes(len(phyr))  # noqa: S311 - cases, not secrets
    mapping = dma_map(frozen, backend, Direction.FROM_DEVICE)
    memory.write(mapping.dma, data)
    with path.open("r+b", buffering=0) as file:
        file.seek(8 * WORD.size)
        file.write(bytes(path.stat().st_size - 8 * WORD.size))
    mapping.unmap()
    assert memory.read(phyr) == data


def test_a_device_reaches_no_more_than_was_looked_at(tmp_path: Path) -> None:
    memory = Memory(64 << 20)
    near = Phyr.from_pfns([page * 37 % 401 for page in range(300)])
    far = Phyr.from_pfns([(1 << 20) + page * 37 % 401 for page in range(300)])
    frozen, path = opened(tmp_path, near)
    backend = Bounce(Staging(memory, memory), dma_mask=(16 << 20) - 1)
    words = far.freeze().to_bytes()
    assert len(words) == path.stat().st_size
    with dma_map(frozen, backend, Direction.TO_DEVICE) as mapping:
        with path.open("r+b", buffering=0) as file:
            file.write(words)
        assert frozen == far
        assert mapping.dma == near
    with dma_map(near, backend, Direction.TO_DEVICE) as mapping:
        assert mapping.dma is near


def test_a_plan_is_that_of_a_list_or_none(tmp_path: Path) -> None:
    """Words that are no list made a plan of millions of calls."""
    phyr = listed(4)
    frozen, path = opened(tmp_path, phyr)
    written = path.read_bytes()
    refused = 0
    for at, word in changes(written, 5):
        with path.open("r+b", buffering=0) as file:
            file.seek(at)
            file.write(WORD.pack(word))
            try:
                plan = plan_map(frozen, phyr[0] % PAGE, 1 << 12)
            except FormatError:
                refused += 1
            else:
                calls = list(plan)
                assert len(calls) == len(plan) <= 1 << 16
                assert sum(pgsize * pgcount for _, _, pgsize, pgcount in calls) == len(phyr)
            file.seek(0)
            file.write(written)
    assert refused > 10
    assert list(plan_map(frozen, 0, 1 << 12)) == list(plan_map(phyr, 0, 1 << 12))


def test_a_plan_stays_as_it_was_made(tmp_path: Path) -> None:
    phyr = listed(6)
    frozen, path = opened(tmp_path, phyr)
    plan = plan_map(frozen, 0, 1 << 12)
    with path.open("r+b", buffering=0) as file:
        file.write(bytes(path.stat().st_size))
    assert list(plan) == list(plan_map(phyr, 0, 1 << 12))
    assert plan.phyr == phyr
    assert type(plan.phyr) is FrozenPhyr
    with pytest.raises(FormatError):
        plan_map(frozen, 0, 1 << 12)
