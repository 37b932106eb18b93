"""Refusals and error messages of examples/nvme.py; all else of it is tested in a guest."""

import struct
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from phyr import Phyr
from support.drive import BLOCK, BLOCKS, MOST, drive, nvme


def complete(blocks: nvme.Queue, number: int, status: int) -> None:
    """Do as a drive does: the next completion, with the phase of the first round."""
    blocks.answers[blocks.head] = number | status << 17 | 1 << 16


@pytest.mark.parametrize(
    ("block", "length", "words"),
    [
        (0, 700, "700 bytes are not whole blocks of 512"),
        (0, 0, "0 bytes from block 0 on are not in the drive's 1000 blocks"),
        (BLOCKS, BLOCK, "512 bytes from block 1000 on are not in"),
        (BLOCKS - 1, 2 * BLOCK, "1024 bytes from block 999 on are not in"),
        (-1, BLOCK, "512 bytes from block -1 on are not in"),
        (0, MOST + BLOCK, "66048 bytes are more than 65536 a transfer"),
    ],
)
def test_a_transfer_that_cannot_be_is_refused(block: int, length: int, words: str) -> None:
    opened = drive()
    with pytest.raises(ValueError, match=words):
        opened.submit(nvme.READ, block, Phyr.from_chunks([(0x10000, MOST * 2)])[:length])
    assert opened.blocks.tail == 0
    assert len(opened.blocks.free) == nvme.IN_FLIGHT


@pytest.mark.parametrize("block", [BLOCKS, BLOCKS + 1])
def test_reading_from_the_end_on_is_refused_and_writes_no_file(tmp_path: Path, block: int) -> None:
    target = tmp_path / "target"
    opened: Any = drive()
    opened.model = opened.serial = "?"
    options = {"file": str(target), "block": block, "count": 0, "size": 0}
    arguments: Any = SimpleNamespace(action="read", **options)
    with pytest.raises(ValueError, match=f"from block {block} on are not in"):
        nvme.run(opened, arguments)
    assert not target.exists()


def test_a_transfer_is_as_the_specification_says() -> None:
    opened = drive()
    number = opened.submit(nvme.WRITE, 3 | 1 << 3, Phyr.from_pfns([7, 9])[8 : 8 + 4096])
    command = nvme.COMMAND.unpack_from(opened.blocks.ring)
    opcode, flags, name, nsid, _, _, data, low, high, count, *rest = command
    assert (opcode, flags, name, nsid) == (nvme.WRITE, 0, number, 1)
    assert struct.unpack("<QQ", data) == (0x7008, 0x9000)
    assert (low, high, count, *rest) == (11, 0, 7, 0, 0, 0)
    assert opened.blocks.bar.u32[(0x1000 + 2 * 4) // 4] == 1, "its doorbell"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        # Success of the do-not-retry kind does not exist: DNR is bit 14 of the status.
        (
            1 << 14 | 0x80,
            "opcode 0x2, block 3, failed with status code 0x80 of type 0 .do not retry",
        ),
        (
            2 << 8 | 0x81,
            "opcode 0x2, block 3, failed with status code 0x81 of type 2 .may be retried",
        ),
    ],
)
def test_a_command_that_failed_says_which_and_why(status: int, words: str) -> None:
    opened = drive()
    number = opened.submit(nvme.READ, 3, Phyr.from_pfns([7]))
    complete(opened.blocks, number, status)
    with pytest.raises(nvme.CommandError, match=f"command {number}, {words}") as caught:
        opened.blocks.wait()
    error = caught.value
    assert (error.code, error.code_type) == (status & 0xFF, status >> 8 & 7)
    assert (error.opcode, error.block) == (2, 3)
    assert error.do_not_retry == bool(status >> 14)
    assert number in opened.blocks.free
    number = opened.submit(nvme.READ, 0, Phyr.from_pfns([7]))
    complete(opened.blocks, number, 0)
    assert opened.blocks.wait() == number


def test_a_drive_that_does_not_answer_is_waited_for_no_longer_than_said() -> None:
    opened = drive()
    opened.submit(nvme.READ, 0, Phyr.from_pfns([7]))
    waited = array("d")
    irq: Any = SimpleNamespace(wait=waited.append)
    for opened.blocks.irq in (None, irq):
        with pytest.raises(TimeoutError, match=r"for 0\.01 s"):
            opened.blocks.wait(0.01)
    assert 0 < max(waited) <= 0.01
