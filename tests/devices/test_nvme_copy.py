"""Copies of examples/nvme.py with several commands in flight, from and to a drive that answers."""

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.answering_drive import BLOCK, Drive, Memory
from support.drive import nvme

KIB = 1 << 10


@contextmanager
def opened(
    *, poll: bool = True, sgl: bool = False, depth: int = nvme.IN_FLIGHT, **options: int
) -> Iterator[tuple[nvme.Nvme, Drive, Memory]]:
    """Open a drive; at the end it reaches no memory, and none is mapped."""
    memory = Memory()
    drive: Any = Drive(memory, **options)
    backend: Any = memory
    with closing(nvme.Nvme(drive, backend, sgl=sgl, poll=poll, depth=depth)) as found:
        yield found, drive, memory
    assert not drive.bus_master
    assert not drive.registers[nvme.CSTS]
    assert memory.mapped == {}


@pytest.mark.parametrize("depth", [1, 2, 7, nvme.IN_FLIGHT, 63])
@pytest.mark.parametrize("poll", [True, False], ids=["polled", "interrupts"])
@pytest.mark.parametrize("sgl", [True, False], ids=["sgl", "prp"])
@pytest.mark.parametrize(
    ("size", "length"),
    [
        (0, 700 * KIB + BLOCK),  # as is useful
        (BLOCK, 200 * BLOCK),  # more than a ring has places for
        (3 * BLOCK, 100 * BLOCK),  # across pages; the last is shorter
        (4 * KIB, 900 * KIB),
        (4 * KIB, 5 * BLOCK),  # no more than the last
        (64 * KIB, 1900 * KIB + BLOCK),
    ],
)
@pytest.mark.parametrize("opcode", [nvme.READ, nvme.WRITE])
def test_a_copy_moves_each_byte_once(  # noqa: PLR0913 - ways
    *, opcode: int, size: int, length: int, sgl: bool, poll: bool, depth: int
) -> None:
    block = 11
    start, end = block * BLOCK, block * BLOCK + length
    with opened(poll=poll, sgl=sgl, depth=depth) as (found, drive, memory):
        before, mapped = bytes(drive.blocks), set(memory.mapped)
        other = drive.random.randbytes(length)
        file = io.BytesIO(other if opcode == nvme.WRITE else b"")
        found.copy(opcode, file, block, length, size)
        if opcode == nvme.WRITE:
            assert drive.blocks == before[:start] + other + before[end:]
        else:
            assert file.getvalue() == before[start:end]
            assert drive.blocks == before
        lengths = [drive.lengths[at] for at in sorted(drive.lengths)]
        assert sum(lengths) == length
        if size:
            rest = length % size
            assert lengths == [size] * (length // size) + [rest] * (rest > 0)
        assert drive.most == min(depth, len(lengths))
        if poll:  # all are complete at once
            assert drive.rung == [depth] * (len(lengths) // depth) + [len(lengths) % depth] * (
                len(lengths) % depth > 0
            )
        assert drive.pending == []
        assert set(memory.mapped) == mapped, "its buffers are mapped no more"
        assert sorted(found.blocks.free) == list(range(depth))


@pytest.mark.parametrize("sgl", [True, False], ids=["sgl", "prp"])
@pytest.mark.parametrize(
    ("block_size", "count", "size"),
    [
        (8 * KIB, 1, 8 * KIB),
        (8 * KIB, 3, 8 * KIB),
        (8 * KIB, 40, 24 * KIB),  # 20 KiB for each of 16
        (8 * KIB, 500, 128 * KIB),
        (256 * KIB, 3, 256 * KIB),  # a block is more than a piece else is
    ],
)
@pytest.mark.parametrize("opcode", [nvme.READ, nvme.WRITE])
def test_blocks_above_a_page_are_copied_whole(
    *, opcode: int, block_size: int, count: int, size: int, sgl: bool
) -> None:
    start, length = block_size, count * block_size
    with opened(sgl=sgl, blocks=count + 2, block_size=block_size) as (found, drive, _):
        before, other = bytes(drive.blocks), drive.random.randbytes(length)
        file = io.BytesIO(other if opcode == nvme.WRITE else b"")
        found.copy(opcode, file, 1, length)
        if opcode == nvme.WRITE:
            assert drive.blocks == before[:start] + other + before[start + length :]
        else:
            assert file.getvalue() == before[start : start + length]
        lengths = [drive.lengths[at] for at in sorted(drive.lengths)]
        assert lengths == [size] * (length // size) + [length % size] * (length % size > 0)


def test_some_copies_after_each_other() -> None:
    with opened(poll=False, depth=5) as (found, drive, _):
        for _ in range(3):
            drive.lengths.clear()
            file = io.BytesIO()
            found.copy(nvme.READ, file, 1, 77 * BLOCK, 2 * BLOCK)
            assert file.getvalue() == drive.blocks[BLOCK : 78 * BLOCK]


@pytest.mark.parametrize("poll", [True, False])
@pytest.mark.parametrize("depth", [1, 8])
@pytest.mark.parametrize("opcode", [nvme.READ, nvme.WRITE])
def test_a_failure_among_many_says_which_and_leaves_nothing_in_flight(
    *, opcode: int, depth: int, poll: bool
) -> None:
    length, size = 400 * BLOCK, 4 * BLOCK
    with opened(poll=poll, depth=depth) as (found, drive, memory):
        mapped = set(memory.mapped)
        drive.failing[200] = 2 << 8 | 0x81
        file = io.BytesIO(bytes(length))
        words = rf"opcode {opcode:#x}, block 200, failed with status code 0x81 of type 2"
        with pytest.raises(nvme.CommandError, match=words) as caught:
            found.copy(opcode, file, 0, length, size)
        assert (caught.value.opcode, caught.value.block) == (opcode, 200)
        assert caught.value.number == 200 // 4 % depth
        assert not drive.registers[nvme.CSTS], "it is stopped"
        assert drive.pending == []
        assert set(memory.mapped) == mapped
        if opcode == nvme.READ:
            begun = file.tell()
            assert begun <= 200 * BLOCK
            assert file.getvalue()[:begun] == drive.blocks[:begun], "in order"
    assert drive.dropped == 0 or not poll


@pytest.mark.parametrize("opcode", [nvme.READ, nvme.WRITE])
def test_an_interrupt_in_flight_stops_the_drive_before_its_memory_goes(opcode: int) -> None:
    with opened(poll=False, depth=8) as (found, drive, memory):
        mapped = set(memory.mapped)
        waits = 0

        def on_wait() -> None:
            nonlocal waits
            waits += 1
            if waits == 5:
                raise KeyboardInterrupt
            drive.answer_some()

        drive.on_wait = on_wait
        with pytest.raises(KeyboardInterrupt):
            found.copy(opcode, io.BytesIO(bytes(400 * BLOCK)), 0, 400 * BLOCK, 4 * BLOCK)
        assert drive.dropped > 0, "some were in flight; their memory was there when it stopped"
        assert drive.pending == []
        assert set(memory.mapped) == mapped


def test_closing_in_flight_stops_the_drive_before_its_memory_goes() -> None:
    with opened(poll=False) as (found, drive, memory), found.memory(4 * nvme.PAGE) as (_, dma):
        found.submit(nvme.READ, 3, dma)
        found.close()
        assert drive.dropped == 1, "its list of pages was there when it stopped"
        assert len(memory.mapped) == 1, "what is still the caller's"


def test_a_file_that_ends_early_is_an_error() -> None:
    with opened(depth=2) as (found, drive, memory):
        mapped = set(memory.mapped)
        with pytest.raises(EOFError, match="the file has become shorter"):
            found.copy(nvme.WRITE, io.BytesIO(bytes(BLOCK)), 0, 8 * BLOCK, BLOCK)
        assert set(memory.mapped) == mapped
        assert drive.lengths == {}


@pytest.mark.parametrize("depth", [0, 64, -1])
def test_a_depth_that_a_ring_has_no_room_for_is_refused(depth: int) -> None:
    words = f"1 to 63 commands can be in flight, not {depth}"
    with pytest.raises(ValueError, match=words), opened(depth=depth):
        pass


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (700, "700 bytes are not whole blocks of 512"),
        (-BLOCK, "-512 bytes from block 0 on are not in"),
        (2 << 20, "1310720 bytes are more than 1048576 a transfer"),
    ],
)
def test_a_size_that_cannot_be_is_refused_and_changes_nothing(
    tmp_path: Path, size: int, words: str
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    options = {"file": str(target), "block": 0, "count": 1280 * KIB // BLOCK, "size": size}
    with opened() as (found, drive, memory):
        top = memory.top
        with pytest.raises(ValueError, match=words):
            found.copy(nvme.READ, io.BytesIO(), 0, 1280 * KIB, size)
        arguments: Any = SimpleNamespace(action="read", **options)
        with pytest.raises(ValueError, match=words):
            nvme.run(found, arguments)
        assert target.read_bytes() == b"kept"
        assert drive.rung == []
        assert memory.top == top, "none was mapped"
        assert drive.registers[nvme.CSTS] == 1, "it still runs"
        arguments.size = BLOCK
        nvme.run(found, arguments)
        assert target.read_bytes() == drive.blocks[: 1280 * KIB]


def test_a_copy_beside_other_commands_is_refused() -> None:
    with opened() as (found, _, memory), found.memory(nvme.PAGE) as (_, dma):
        mapped = set(memory.mapped)
        number = found.submit(nvme.READ, 3, dma)
        with pytest.raises(ValueError, match="other commands are in flight"):
            found.copy(nvme.READ, io.BytesIO(), 0, BLOCK)
        assert found.blocks.wait() == number
        assert set(memory.mapped) == mapped
