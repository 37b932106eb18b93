"""NUMA nodes: which one physical memory belongs to."""

from bisect import bisect_right
from pathlib import Path
from typing import Self

from phyr._phyr import Phyr
from phyr.errors import PhyrError

__all__ = ["Nodes"]


class Nodes:
    """Ranges of physical memory, each with its node.

    Examples:
        >>> nodes = Nodes([(0, 0x1000, 0), (0x1000, 0x3000, 1)])
        >>> nodes.of(0x1800), nodes.of(0x9000)
        (1, None)
        >>> nodes.split(Phyr.from_chunks([(0, 0x4000)]))
        {0: 4096, 1: 8192, None: 4096}
    """

    def __init__(self, ranges: list[tuple[int, int, int]]) -> None:
        """Take (start, end, node), end excluded, in bytes."""
        self._ranges = sorted(ranges)
        self._starts = [start for start, _, _ in self._ranges]

    @classmethod
    def of_system(cls, system: Path = Path("/sys/devices/system")) -> Self:
        """Read them off the running system.

        Raises:
            PhyrError: It does not tell.

        Source:
            ``/sys/devices/system/node``, Documentation/admin-guide/mm/memory-hotplug.rst, Linux.
        """
        try:
            block = int((system / "memory/block_size_bytes").read_text(), 16)
            ranges = [
                (
                    int(memory.name[6:]) * block,
                    (int(memory.name[6:]) + 1) * block,
                    int(node.name[4:]),
                )
                for node in (system / "node").glob("node[0-9]*")
                for memory in node.glob("memory[0-9]*")
            ]
        except (OSError, ValueError):
            ranges = []
        if not ranges:
            raise PhyrError(f"this system does not tell its NUMA nodes: nothing in {system}/node")
        return cls(ranges)

    def joined(self) -> list[tuple[int, int, int]]:
        """Give (start, end, node) of each stretch, neighbours of one node joined.

        Examples:
            >>> Nodes([(0, 4096, 0), (4096, 8192, 0), (8192, 9000, 1)]).joined()
            [(0, 8192, 0), (8192, 9000, 1)]
        """
        found: list[tuple[int, int, int]] = []
        for start, end, node in self._ranges:
            if found and found[-1][1:] == (start, node):
                found[-1] = (found[-1][0], end, node)
            else:
                found.append((start, end, node))
        return found

    def of(self, paddr: int) -> int | None:
        """Give the node of an address; None where there is no memory."""
        number = bisect_right(self._starts, paddr) - 1
        if number >= 0 and paddr < self._ranges[number][1]:
            return self._ranges[number][2]
        return None

    def split(self, phyr: Phyr) -> dict[int | None, int]:
        """Count the bytes of a list on each node."""
        found: dict[int | None, int] = {}
        for paddr, length in phyr.chunks:
            at, end = paddr, paddr + length
            while at < end:
                number = bisect_right(self._starts, at) - 1
                inside = number >= 0 and at < self._ranges[number][1]
                if inside:
                    stop, node = self._ranges[number][1], self._ranges[number][2]
                else:
                    node = None
                    stop = self._starts[number + 1] if number + 1 < len(self._starts) else end
                part = min(stop, end) - at
                found[node] = found.get(node, 0) + part
                at += part
        return found
