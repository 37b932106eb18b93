"""The accesses that a direction needs, by the kind of the memory."""

import pytest

from phyr import RangeError
from phyr.iommu import Direction, Prot

DIRECTIONS = {
    Direction.TO_DEVICE: Prot.READ,
    Direction.FROM_DEVICE: Prot.WRITE,
    Direction.BIDIRECTIONAL: Prot.READ | Prot.WRITE,
}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("ram", 0),
        ("user", 0),
        ("mmio", Prot.MMIO),
        ("mmio:0", Prot.MMIO),
        ("mmio:4294967295", Prot.MMIO),
    ],
)
def test_only_the_memory_of_a_device_is_mmio(kind: str, more: int) -> None:
    for direction, access in DIRECTIONS.items():
        assert Prot.of(direction, kind) == access | more


@pytest.mark.parametrize("kind", ["nonsense", "", "RAM", "mmio:", "mmio:x", "mmio:4294967296"])
def test_a_kind_that_is_none_is_refused(kind: str) -> None:
    with pytest.raises(RangeError, match=f'kind "{kind}" is not "ram", "user", "mmio"'):
        Prot.of(Direction.TO_DEVICE, kind)


@pytest.mark.parametrize("kind", ["ram", "mmio"])
@pytest.mark.parametrize("direction", [1, None, "TO_DEVICE"])
def test_a_direction_that_is_none_is_refused(direction: object, kind: str) -> None:
    with pytest.raises(TypeError, match=f"direction is of {type(direction)}, not a Direction"):
        Prot.of(direction, kind)  # type: ignore[arg-type]


def test_a_kind_is_a_text() -> None:
    with pytest.raises(TypeError, match="kind"):
        Prot.of(Direction.TO_DEVICE, 5)  # type: ignore[arg-type]
