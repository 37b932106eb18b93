"""Page-table pieces: the plan that mappings use, for whoever fills page tables of their own."""

import pytest

from phyr import Phyr, desc
from phyr.iommu import plan_map

SIZES = 1 << 12 | 1 << 21 | 1 << 30


@pytest.mark.parametrize("va", [0x4000_1000, 0x8000_1000, 0x8000_0000, 0x8000_2000])
def test_an_unaligned_4_mib_run_at_0x4000_1000_never_becomes_misaligned_2_mib_pieces(
    va: int,
) -> None:
    phyr = Phyr.from_chunks([(0x4000_1000, 4 << 20)])
    covered = 0
    for start, paddr, size, count in plan_map(phyr, va, SIZES):
        assert start % size == 0
        assert paddr % size == 0
        assert (start, paddr) == (va + covered, 0x4000_1000 + covered)
        covered += size * count
    assert covered == 4 << 20
    sizes = {size for _, _, size, _ in plan_map(phyr, va, SIZES)}
    # Both sides reach a multiple of 2 MiB at once only where they agree modulo 2 MiB.
    assert sizes == ({4096, 2 << 20} if va % (2 << 20) == 0x1000 else {4096})


def test_plan_map_has_one_home() -> None:
    assert not hasattr(desc, "plan_map")
