"""The types of constructors: test_typing.py compares a type checker's with the remarks."""

# ruff: noqa: F821

from array import array

import numpy as np

from phyr import Builder, Phyr

pfns = np.arange(5, dtype=np.uint64)
pairs = [(0x1000, 0x1000)]

reveal_type(Phyr.from_pfns(pfns))  # Phyr
reveal_type(Phyr.from_pfns(array("Q", [1])))  # Phyr
reveal_type(Phyr.from_pfns(bytes(8)))  # Phyr
reveal_type(Phyr.from_pfns(range(9), granule=512, kind="mmio:1", offset=1, length=5))  # Phyr
reveal_type(Phyr.from_pages(pfns << 12))  # Phyr
reveal_type(Phyr.from_chunks(pairs))  # Phyr
reveal_type(Phyr.from_chunks(pfns, pfns))  # Phyr
reveal_type(Phyr.from_chunks(Phyr.from_chunks(pairs).chunks))  # Phyr

builder = Builder(512, kind="mmio")
reveal_type(builder)  # Builder
reveal_type(builder.length)  # int
reveal_type(builder.granule)  # int
reveal_type(builder.kind)  # str
reveal_type(builder.append)  # def (paddr: int, length: int)
builder.extend_pfns(pfns)
builder.extend_pages(iter([4096]))
builder.extend_chunks(pairs)
builder.extend_chunks([4096], lengths=[512])
builder.extend(Phyr.from_chunks(pairs))
reveal_type(builder.finish(offset=1, length=None))  # Phyr
