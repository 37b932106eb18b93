"""Capabilities, numbers of the configuration space, and regions that are read by calls."""

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyr import RangeError, pci
from phyr.pci.config import Capability, Config, Window
from phyr.pci.device import OPEN
from phyr.vfio import Type1
from support.fake_vfio import FakeKernel

ADDRESS = "0000:00:04.0"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    fake = FakeKernel(tmp_path, monkeypatch)
    fake.add(ADDRESS, 4, "vfio-pci")
    yield fake
    assert fake.open_files == []
    assert OPEN == {}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that a configuration space is in."""
    return tmp_path_factory.mktemp("config") / "config"


def walked(space: Path, data: bytes | bytearray) -> list[Capability]:
    """Walk the capabilities of a configuration space."""
    space.write_bytes(data)
    with space.open("rb") as file:
        return list(Config(Window(file.fileno(), 0, len(data))).capabilities())


def with_chains(
    plain: list[tuple[int, int]], extended: list[tuple[int, int]], *, last: int = 0
) -> bytearray:
    """Return a space with chains of (number, offset); the plain one ends in a pointer to `last`."""
    data = bytearray(4096)
    if plain:
        data[6] |= 0x10
        data[0x34] = plain[0][1] | 3  # the lowest bits are reserved
    for (number, at), after in zip(plain, [*(at for _, at in plain[1:]), last], strict=False):
        data[at : at + 2] = bytes([number, after])
    for at_, (number, at) in enumerate(extended):
        after = extended[at_ + 1][1] if at_ + 1 < len(extended) else 0
        struct.pack_into("<I", data, at, number | 1 << 16 | after << 20)
    return data


places = st.lists(st.integers(0x10, 0x3E), unique=True, max_size=20)
beyond = st.lists(st.integers(0x41, 0x3FF), unique=True, max_size=20)


@given(places, beyond, st.data())
def test_chains_are_walked_in_their_order(
    space: Path, plain: list[int], extended: list[int], data: st.DataObject
) -> None:
    numbers = st.integers(1, 255)
    one = [(data.draw(numbers), at * 4) for at in plain]
    # The first extended one is always at 0x100.
    two = [(data.draw(numbers), at * 4) for at in [0x40, *extended]]
    expected = [Capability(*each, is_extended=False) for each in one]
    whole = with_chains(one, two)
    assert walked(space, whole[:256]) == expected
    expected += [Capability(*each, is_extended=True) for each in two]
    assert walked(space, whole) == expected


def test_a_chain_that_comes_back_ends_there(space: Path) -> None:
    data = with_chains([(5, 0x40), (17, 0x50)], [(1, 0x100), (2, 0x200)], last=0x40)
    struct.pack_into("<I", data, 0x200, 2 | 0x100 << 20)
    numbers = [(each.id, each.offset) for each in walked(space, data)]
    assert numbers == [(5, 0x40), (17, 0x50), (1, 0x100), (2, 0x200)]


@given(st.integers(0))
def test_whatever_is_there_the_walk_ends(space: Path, seed: int) -> None:
    data = bytearray(random.Random(seed).randbytes(4096))  # noqa: S311 - no secret
    data[6] |= 0x10
    assert len(walked(space, data)) <= 64 + 1024


@pytest.mark.parametrize("header", [0, 0xFFFF_FFFF])
def test_without_capabilities_there_are_none(space: Path, header: int) -> None:
    data = bytearray(4096)
    data[0x34] = 0x40
    struct.pack_into("<I", data, 0x100, header)
    assert walked(space, data) == []


def test_the_space_of_a_device_has_its_numbers(kernel: FakeKernel) -> None:
    with Type1() as backend, backend.open(ADDRESS) as device:
        config = device.config
        assert (config.vendor, config.device) == (0x1B36, 0x0010)
        config.write_int(0x3C, 1, 0xAB)
        assert config.read_int(0x3C, 4) == 0xAB
        for value, size in ((256, 1), (-1, 1), (1 << 32, 4)):
            with pytest.raises(RangeError, match=f"is no number of {size} bytes"):
                config.write_int(0x3C, size, value)
        with pytest.raises(RangeError, match="is not inside the 0x100 bytes of the configuration"):
            config.read_int(0xFE, 4)
    assert kernel.maps == {}


def test_a_region_is_read_by_calls(kernel: FakeKernel) -> None:
    kernel.mappable = False
    with Type1() as backend, backend.open(ADDRESS) as device:
        with pytest.raises(RangeError, match="has no memory behind BAR 0"):
            device.region(0)
        registers = device.registers(0)
        assert registers.length == 8192
        registers.write_int(8, 4, 0x1234_5678)
        assert registers.read(8, 2) == b"\x78\x56"
        with pytest.raises(RangeError, match="not inside the 0x2000 bytes of the region"):
            registers.read(8190, 4)
        for index in (1, -1, 6, 7):
            with pytest.raises(RangeError, match=f"has no memory behind BAR {index}"):
                device.registers(index)
    with (
        pci.bound(ADDRESS, None) as function,
        function.open() as device,
        pytest.raises(RangeError, match="has no memory behind BAR 0"),
    ):
        device.registers(0)
