"""Mistakes that a type checker finds; mypy says so if one of these is none."""

from phyr import Builder, Chunk, Phyr

phyr = Phyr.from_pfns([1])

Phyr.from_pfns(["1"])  # type: ignore[list-item]
Phyr.from_pfns([1], 512)  # type: ignore[call-arg]
Phyr.from_pfns([1], kind=5)  # type: ignore[arg-type]
Phyr.from_bytes("text")  # type: ignore[arg-type]
phyr + b"bytes"  # type: ignore[operator]
_ = phyr < 5  # type: ignore[operator]
phyr["1"]  # type: ignore[call-overload]
phyr.length = 5  # type: ignore[misc]
phyr.chunks[0] = Chunk(1, 2)  # type: ignore[index]
phyr.chunks[0].paddr = 5  # type: ignore[misc]
phyr.append(1, 2)  # type: ignore[attr-defined]
Builder().append(0x1000)  # type: ignore[call-arg]
Builder(granule="4096")  # type: ignore[arg-type]


class Child(Phyr):  # type: ignore[misc]
    """A list is final."""
