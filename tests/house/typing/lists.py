"""The types of lists: test_typing.py compares a type checker's with the remarks."""

# ruff: noqa: F821

from phyr import Chunk, Phyr

phyr = Phyr.from_pfns([1, 2, 9])

reveal_type(phyr)  # Phyr
reveal_type(phyr[5])  # int
reveal_type(phyr[5:])  # Phyr
reveal_type(phyr + phyr)  # Phyr
reveal_type(phyr == 5)  # bool
reveal_type(len(phyr))  # int
reveal_type(phyr.length)  # int
reveal_type(phyr.granule)  # int
reveal_type(phyr.kind)  # str
reveal_type(hash(phyr))  # int
reveal_type(phyr.split(4096))  # tuple[Phyr, Phyr]
reveal_type(phyr.compact())  # Phyr
reveal_type(phyr.to_bytes())  # bytes
reveal_type(Phyr.from_bytes(b""))  # Phyr
reveal_type(phyr.orders())  # dict[int, int]
reveal_type(phyr.stats())  # Stats
reveal_type(phyr.stats().nr_entries)  # int
reveal_type(phyr.validate)  # def ()

reveal_type(phyr.chunks)  # Chunks
reveal_type(phyr.chunks[0])  # Chunk
reveal_type(phyr.chunks[1:])  # Chunks
reveal_type(phyr.chunks[0].paddr)  # int
reveal_type([chunk.length for chunk in phyr.chunks])  # list[int]
reveal_type(list(reversed(phyr.chunks)))  # list[Chunk]
reveal_type(phyr.chunks.find(5))  # int
reveal_type(phyr.chunks.position(0))  # int
reveal_type(phyr.chunks.paddrs)  # Column
reveal_type(phyr.chunks.lengths[0])  # int
reveal_type(phyr.chunks.lengths[:2])  # list[int]
reveal_type(memoryview(phyr.chunks.paddrs))  # memoryview[int]
reveal_type(phyr.pages(4096))  # Column
reveal_type(phyr.translate([0]))  # Column
reveal_type(phyr.translate([0], out=bytearray(8)))  # bytearray
reveal_type(Phyr.join([phyr, phyr]))  # Phyr

paddr, length = phyr.chunks[0]
reveal_type((paddr, length))  # tuple[int, int]
reveal_type(Chunk(0, 1).length)  # int
