"""Descriptors: where a limit cuts a chunk, and where the links of a chain of blocks stand."""

from __future__ import annotations

import z3

from proof.build import Mutant
from proof.law import (
    Call,
    Code,
    Law,
    above,
    at_most,
    law,
    low_mask,
    number,
    numbers,
    power_of_two,
    wide,
)

TOP = (1 << 64) - 1


def cut(
    more: z3.BitVecRef, align: z3.BitVecRef, boundary: z3.BitVecRef, virt: z3.BitVecRef
) -> list[z3.BoolRef]:
    """Return what holds of every cut that was made: consistent limits, as `cut_new` leaves them."""
    return [
        *(low_mask(align), low_mask(boundary), low_mask(virt)),
        *(at_most(align, more), at_most(virt, more), at_most(virt, boundary)),
        *(more != TOP, (more + 1) & align == 0),
    ]


def chunk(paddr: z3.BitVecRef, length: z3.BitVecRef) -> list[z3.BoolRef]:
    """Return what holds of every chunk: it has bytes, and ends at 2^64 or below."""
    return [length != 0, at_most(wide(paddr) + wide(length), 1 << 64)]


@law(breaks=[Mutant("limits", "if size < least {", "if size < least && size == 0 {")])
def limits_that_are_taken_are_consistent(code: Code) -> Law:
    size, boundary, virt, most, align = numbers("size boundary virt most align")
    made = code.cut_new(size, boundary, virt, most, align)
    given = [made.value == 0, power_of_two(align), at_most(align, 0x1_0000), above(TOP, most)]
    return Law(z3.And(*cut(made[0], made[1], made[2], made[3])), given=given)


@law(breaks=[Mutant("limits", "if !is_low_mask(mask)", "if !is_low_mask(mask) && mask & 1 == 0")])
def limits_are_refused_by_mask_then_boundaries_then_size(code: Code) -> Law:
    size, boundary, virt, most, align = numbers("size boundary virt most align")
    answer = code.cut_new(size, boundary, virt, most, align).value
    masks = z3.And(low_mask(boundary), low_mask(virt))
    smaller = z3.If(at_most(size, most), size, most) & ~(align - 1)
    least = wide((align - 1) | virt) + 1
    enough = z3.Or(at_most(least, wide(smaller)), z3.And(virt == TOP, smaller == TOP))
    none, size_error = z3.BitVecVal(0, 32), z3.BitVecVal(3, 32)
    why = z3.If(
        z3.Not(masks),
        z3.BitVecVal(1, 32),
        z3.If(z3.ULT(boundary, virt), z3.BitVecVal(2, 32), z3.If(enough, none, size_error)),
    )
    given = [power_of_two(align), at_most(align, 0x1_0000)]
    return Law(answer == why, given=given)


@law(breaks=[Mutant("limits", "let length = more + 1;", "let length = more;")])
def a_segment_has_bytes_and_stays_in_its_chunk(code: Code) -> Law:
    more, align, boundary, virt, paddr, length = numbers("more align boundary virt paddr length")
    segment = code.cut_length(more, align, boundary, virt, paddr, length).value
    claim = z3.And(segment != 0, at_most(segment, length))
    # Inside a list, what is behind the first chunk starts where `virt` allows a cut.
    given = [*cut(more, align, boundary, virt), *chunk(paddr, length), paddr & virt == 0]
    return Law(claim, given=given)


@law(
    breaks=[
        Mutant(
            "limits",
            "let by_boundary = self.boundary - (chunk.paddr & self.boundary);",
            "let by_boundary = self.boundary;",
        )
    ]
)
def no_segment_crosses_a_boundary(code: Code) -> Law:
    """As the scatterlist's boundary mask says: first and last byte lie in one window of it."""
    more, align, boundary, virt, paddr, length = numbers("more align boundary virt paddr length")
    segment = code.cut_length(more, align, boundary, virt, paddr, length).value
    last = paddr + (segment - 1)
    given = [*cut(more, align, boundary, virt), *chunk(paddr, length), paddr & virt == 0]
    return Law(paddr & ~boundary == last & ~boundary, given=given)


@law(
    breaks=[
        Mutant(
            "limits",
            "let by_size = self.more - (chunk.paddr & self.align);",
            "let by_size = self.more + 1;",
        )
    ]
)
def no_segment_is_longer_than_the_limit(code: Code) -> Law:
    more, align, boundary, virt, paddr, length = numbers("more align boundary virt paddr length")
    segment = code.cut_length(more, align, boundary, virt, paddr, length).value
    given = [*cut(more, align, boundary, virt), *chunk(paddr, length), paddr & virt == 0]
    return Law(at_most((paddr & align) + (segment - 1), more), given=given)


@law(
    breaks=[
        Mutant(
            "limits",
            "length - ((chunk.paddr + length) & self.virt)",
            "length - (length & self.virt)",
        )
    ]
)
def what_is_cut_is_cut_where_the_virt_boundary_allows(code: Code) -> Law:
    more, align, boundary, virt, paddr, length = numbers("more align boundary virt paddr length")
    segment = code.cut_length(more, align, boundary, virt, paddr, length).value
    is_cut = segment != length
    given = [
        *cut(more, align, boundary, virt),
        *chunk(paddr, length),
        is_cut,
        at_most((paddr & virt) + 1, number(0) + 1 + virt),
    ]
    return Law((paddr + segment) & virt == 0, given=given)


@law(
    breaks=[Mutant("limits", "if more == chunk.length - 1 {", "if more + 1 == chunk.length - 1 {")]
)
def a_cut_is_as_late_as_the_limits_allow(code: Code) -> Law:
    """With the block that a cut may not fall in, the segment would break the size or the boundary."""
    more, align, boundary, virt, paddr, length = numbers("more align boundary virt paddr length")
    segment = code.cut_length(more, align, boundary, virt, paddr, length).value
    last = wide(paddr) + wide(segment) + wide(virt)
    too_long = above((wide(paddr & align)) + wide(segment) + wide(virt), wide(more))
    crosses = last & ~wide(boundary) != wide(paddr) & ~wide(boundary)
    given = [
        *cut(more, align, boundary, virt),
        *chunk(paddr, length),
        paddr & virt == 0,
        segment != length,
    ]
    return Law(z3.Or(too_long, crosses), given=given)


@law(
    breaks=[
        Mutant(
            "limits",
            "if self.boundary == u64::MAX { self.more - self.align }",
            "if self.boundary == u64::MAX { self.more + 2 }",
        )
    ]
)
def where_nothing_can_be_cut_nothing_is(code: Code) -> Law:
    more, align, boundary, virt, paddr, length, total = numbers(
        "more align boundary virt paddr length total"
    )
    segment = code.cut_length(more, align, boundary, virt, paddr, length).value
    idle = code.cut_is_idle(more, align, boundary, virt, total).holds
    given = [*cut(more, align, boundary, virt), *chunk(paddr, length), at_most(length, total), idle]
    return Law(segment == length, given=given)


@law(
    breaks=[
        Mutant(
            "limits", "furthest(self.align) <= self.more", "furthest(self.align) <= self.more + 1"
        )
    ]
)
def what_is_said_not_to_be_cut_is_not(code: Code) -> Law:
    more, align, boundary, virt, paddr, length = numbers("more align boundary virt paddr length")
    segment = code.cut_length(more, align, boundary, virt, paddr, length).value
    leaves = code.cut_leaves(more, align, boundary, virt, paddr, length).holds
    given = [*cut(more, align, boundary, virt), *chunk(paddr, length), leaves]
    return Law(segment == length, given=given)


@law(
    breaks=[
        Mutant(
            "limits",
            "let step = NonZeroU64::new((self.more + 1) & !unit)",
            "let step = NonZeroU64::new(self.more & !unit)",
        )
    ]
)
def a_step_is_the_length_of_every_segment_that_is_cut_off(code: Code) -> Law:
    more, align, boundary, virt, paddr, length = numbers("more align boundary virt paddr length")
    step = code.cut_step(more, align, boundary, virt, paddr).value
    segment = code.cut_length(more, align, boundary, virt, paddr, length).value
    given = [*cut(more, align, boundary, virt), *chunk(paddr, length), step != 0, segment != length]
    return Law(segment == step, given=given)


@law(
    breaks=[
        Mutant(
            "limits",
            "is_block.then_some((self.more, self.more.trailing_ones()))",
            "is_block.then_some((self.more, self.more.count_zeros()))",
        )
    ]
)
def blocks_are_told_with_their_size(code: Code) -> Law:
    more, align, boundary, virt = numbers("more align boundary virt")
    block = code.cut_block(more, align, boundary, virt)
    claim = z3.And(block[0] == more, (number(1) << block[1]) - 1 == more)
    return Law(claim, given=[*cut(more, align, boundary, virt), block.holds])


@law(
    breaks=[
        Mutant(
            "shape",
            "1 + nr_data.saturating_sub(slots).div_ceil(slots - 1)",
            "nr_data.div_ceil(slots)",
        )
    ]
)
def a_scatterlist_of_65535_links_blocks_of_128_only_as_far_as_records_need_them(code: Code) -> Law:
    (data,) = numbers("data")
    return Law(z3.And(*chained(code.shape_128(data), data, 128)), given=[data != 0, fits(data)])


@law(
    breaks=[
        Mutant(
            "shape",
            "self.nr_data + self.nr_blocks.saturating_sub(1)",
            "self.nr_data + self.nr_blocks",
        )
    ]
)
def a_prp_list_of_65535_links_pages_of_512_only_as_far_as_records_need_them(code: Code) -> Law:
    (data,) = numbers("data")
    return Law(z3.And(*chained(code.shape_512(data), data, 512)), given=[data != 0, fits(data)])


def fits(data: z3.BitVecRef) -> z3.BoolRef:
    """Return whether there are so few records that z3 can do with a division by 127 or 511."""
    return at_most(data, 0xFFFF)


def chained(shape: Call, data: z3.BitVecRef, slots: int) -> list[z3.BoolRef]:
    """Return what holds of blocks of `slots` records, the last of each a link but in the last block."""
    blocks, records = shape[0], shape[1]
    before = (blocks - 1) * (slots - 1)
    return [
        records == data + (blocks - 1),
        at_most(blocks, data),
        # All data that is not in the blocks before fits the last block, and is more than one link.
        at_most(before, data),
        at_most(data - before, slots),
        z3.Or(blocks == 1, above(data - before, 1)),
    ]


@law(
    breaks=[
        Mutant(
            "shape",
            "if block + 1 < self.nr_blocks { self.slots }",
            "if block < self.nr_blocks { self.slots }",
        )
    ]
)
def of_65535_records_every_block_but_the_last_is_full_and_the_last_has_the_rest(code: Code) -> Law:
    data, block = numbers("data block")
    shape = code.shape_512(data)
    records = code.records_in_512(data, block).value
    rest = shape[1] - (shape[0] - 1) * 512
    claim = z3.If(block == shape[0] - 1, records == rest, records == 512)
    return Law(claim, given=[data != 0, fits(data), z3.ULT(block, shape[0])])


@law(
    breaks=[
        Mutant(
            "shape",
            "let slots = slots.unwrap_or(u64::MAX).max(2);",
            "let slots = slots.unwrap_or(0x1_0000_0000).max(2);",
        )
    ]
)
def a_table_in_one_piece_has_no_links(code: Code) -> Law:
    (data,) = numbers("data")
    shape = code.shape_in_one_piece(data)
    return Law(z3.And(shape[0] == 1, shape[1] == data), given=[data != 0])
