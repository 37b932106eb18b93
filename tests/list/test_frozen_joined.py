"""Frozen lists are joined and appended as the lists that they are; bad words change nothing."""

import random
from typing import Any

import pytest

from phyr import AlignmentError, Builder, FormatError, FrozenPhyr, MismatchError, Phyr, _phyr


class Held:
    """An owner that nobody asks anything."""

    def hold(self) -> None:
        """Hold it."""

    def release(self) -> None:
        """Release it."""


def scattered(seed: int, *, longest: int = 1, count: int = 700) -> Phyr:
    """Return a list of some blocks of runs, none of which touch."""
    source = random.Random(seed)  # noqa: S311 - a test
    runs = [(source.randrange(1 << 20) << 12, source.randint(1, longest)) for _ in range(count)]
    return Phyr.from_chunks([(pfn << 12, pages << 12) for pfn, pages in runs])


@pytest.mark.parametrize("longest", [1, 9, 5000])
def test_joined_parts_are_the_parts_of_the_joined(longest: int) -> None:
    one, other = scattered(1, longest=longest), scattered(2, longest=longest)
    source = random.Random(longest)  # noqa: S311 - a test
    for _ in range(20):
        start, end = sorted(source.randrange(one.length >> 12) << 12 for _ in range(2))
        head = source.choice([0, 5, 4095])
        parts = [one[start + head : end + 4096], other[: other.length - head]]
        expected = Phyr.join(parts)
        frozen = [part.freeze() for part in parts]
        views = [one.freeze()[start + head : end + 4096], other.freeze()[: other.length - head]]
        mixed: list[list[Phyr | FrozenPhyr]] = [[*frozen], [*views]]
        mixed += [[frozen[0], parts[1]], [parts[0], views[1]]]
        for lists in mixed:
            joined = Phyr.join(lists)
            joined.validate()
            assert joined == expected
            builder = Builder()
            for part in lists:
                builder.extend(part)
            assert builder.length == expected.length
            assert builder.finish() == expected


def test_a_sum_of_either_form_is_the_sum_of_lists() -> None:
    one, other = scattered(6), scattered(7, longest=9)
    expected = one + other
    for left in (one, one.freeze()):
        for right in (other, other.freeze()):
            found = left + right
            assert isinstance(found, Phyr)
            assert found == expected
    owner, frozen = Held(), one.freeze()
    held = _phyr.held(one, owner, 0x7000)
    assert (held.freeze() + frozen[:0]).owner is owner
    assert (held.freeze()[:4096] + held[4096:]).uaddr == 0x7000
    with pytest.raises(MismatchError, match="granule"):
        _ = frozen + Phyr.from_pfns([1], granule=512)
    with pytest.raises(AlignmentError):
        _ = frozen[:17] + frozen
    others: list[tuple[Any, Any]] = [(frozen, [1]), ([1], frozen), (frozen, 1), (one, None)]
    for first, second in others:
        with pytest.raises(TypeError):
            first + second


def test_a_joint_inside_a_granule_is_one_of_the_same_byte() -> None:
    whole = scattered(3)
    cut = 300 * 4096 + 17
    one, other = whole[:cut].freeze(), whole[cut:].freeze()
    assert Phyr.join([one, other]) == whole
    builder = Builder()
    builder.extend(one)
    with pytest.raises(AlignmentError):
        builder.extend(one)
    assert builder.length == cut
    with pytest.raises(MismatchError):
        builder.extend(Phyr.from_pfns(range(0, 999, 3), granule=512).freeze())
    builder.extend(other)
    assert builder.finish() == whole


def test_bad_words_are_appended_whole_or_refused() -> None:
    phyr = scattered(4, longest=9)
    words = bytearray(phyr.freeze().to_bytes())
    source = random.Random(5)  # noqa: S311 - a test
    refused = 0
    for _ in range(300):
        copy = bytearray(words)
        for _ in range(source.randint(1, 8)):
            at = source.randrange(40 * 8, len(copy))  # the data of the blocks
            copy[at] = source.randrange(256)
        frozen = FrozenPhyr.open(copy, validate=False)
        builder = Builder()
        builder.extend_pfns([1])
        try:
            builder.extend(frozen)
        except FormatError as failure:
            refused += 1
            assert str(phyr.length) in str(failure) or hex(phyr.length) in str(failure)  # noqa: PT017
            assert builder.length == 4096
            with pytest.raises(FormatError):
                frozen.thaw()
            continue
        joined = builder.finish()
        joined.validate()
        assert joined.length == 4096 + phyr.length
        assert joined[4096:] == frozen
    assert refused > 0
