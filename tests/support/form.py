"""The serialised form in plain Python, written from docs/encoding.md: true lists, and forged ones.

A `Form` is the fields as they stand in the bytes. `write` gives them the right digest, whatever
they say, so that a reader cannot hide behind it.
"""

import struct
from dataclasses import dataclass

from support.model import Model

MASK = (1 << 64) - 1


def _step(number: int) -> int:
    product = number * 0x9E37_79B9_7F4A_7C15 & MASK
    return product ^ product >> 32


def digest(words: list[int]) -> int:
    """Return the digest of some words of 64 bits."""
    lanes = [0] * 8
    for number, word in enumerate(words):
        lanes[number % 8] = _step(lanes[number % 8] ^ word)
    total = _step(len(words))
    for lane in lanes:
        total = _step(total ^ lane)
    return total


def entry(pfn: int, nr_pages: int) -> list[int]:
    """Return the one or two words of a run of granules."""
    order = 0
    while pfn % (2 << order) == 0 and nr_pages % (2 << order) == 0:
        order += 1
    count = nr_pages >> order
    word = pfn << 12 | 1 << (11 + order)
    return [word | count] if count <= 2047 else [word, count]


@dataclass(frozen=True)
class Form:
    """The fields of a serialised list; None for a number of words that is true."""

    words: tuple[int, ...]
    length: int
    offset: int = 0
    granule_lg2: int = 12
    kind: int = 0
    provider: int = 0
    magic: bytes = b"PHYR"
    version: int = 1
    nr_words: int | None = None

    def write(self) -> bytes:
        """Return the bytes."""
        nr_words = len(self.words) if self.nr_words is None else self.nr_words
        head = struct.pack(
            "<4sHBBQQQQ",
            *(self.magic, self.version, self.granule_lg2, self.kind),
            *(self.provider, self.offset, self.length, nr_words),
        )
        covered = [*struct.unpack("<5Q", head), *self.words]
        return head + struct.pack(f"<{1 + len(self.words)}Q", digest(covered), *self.words)


def form_of(model: Model) -> Form:
    """Return the one form of a list."""
    kind, _, provider = model.kind.partition(":")
    return Form(
        words=tuple(word for run in model.granules() for word in entry(*run)),
        length=model.length,
        offset=model.pieces[0][0] % model.granule if model.pieces else 0,
        granule_lg2=model.granule.bit_length() - 1,
        kind=["ram", "mmio", "user"].index(kind),
        provider=int(provider or 0),
    )
