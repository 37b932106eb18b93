"""Granules, chunks, views and what builds them; page sizes and the plan; records."""

from __future__ import annotations

import z3

from proof.build import Mutant
from proof.law import Code, Law, above, at_most, each, law, number, numbers, power_of_two, wide

TOP = (1 << 64) - 1


def granule(lg2: z3.BitVecRef) -> z3.BitVecRef:
    """Return the bytes of a granule."""
    return number(1) << lg2


def ends_in_space(paddr: z3.BitVecRef, length: z3.BitVecRef) -> z3.BoolRef:
    """Return whether a chunk has bytes, and ends at 2^64 or below."""
    return z3.And(length != 0, at_most(wide(paddr) + wide(length), 1 << 64))


@law(
    breaks=[
        Mutant(
            "granule",
            "bytes.is_power_of_two() && bytes <= Self::MAX",
            "bytes <= Self::MAX && bytes != 0",
        )
    ]
)
def a_granule_is_a_power_of_two_up_to_64_kib(code: Code) -> Law:
    (size,) = numbers("size")
    made = code.granule_new(size)
    is_one = z3.And(power_of_two(size), at_most(size, 0x1_0000))
    return Law(z3.And(made.holds == is_one, z3.Implies(is_one, granule(made[0]) == size)))


@law(breaks=[Mutant("granule", "self.bytes() - 1", "self.bytes() >> 1")])
def the_mask_is_the_bits_below_the_granule(code: Code) -> Law:
    (lg2,) = numbers("lg2")
    claim = z3.And(
        code.granule_mask(lg2).value == granule(lg2) - 1,
        code.granule_bytes(lg2).value == granule(lg2),
    )
    return Law(claim, given=[at_most(lg2, 16)])


@law(
    breaks=[
        Mutant(
            "granule", "let address_bits = 64 - self.lg2();", "let address_bits = 63 - self.lg2();"
        )
    ]
)
def granules_are_numbered_with_52_bits_or_up_to_the_last_address(code: Code) -> Law:
    (lg2,) = numbers("lg2")
    reach = code.granule_reach(lg2).value
    claim = z3.If(above(12, lg2), reach == 1 << 52, wide(reach) << wide(lg2) == 1 << 64)
    return Law(claim, given=[at_most(lg2, 16)])


@law(breaks=[Mutant("granule", "u64::MAX >> self.lg2", "u64::MAX >> self.lg2 << 1")])
def the_most_granules_are_those_whose_bytes_still_fit(code: Code) -> Law:
    (lg2,) = numbers("lg2")
    most = code.granule_most(lg2).value
    claim = z3.And(at_most(wide(most) << wide(lg2), TOP), above((wide(most) + 1) << wide(lg2), TOP))
    return Law(claim, given=[at_most(lg2, 16)])


@law(breaks=[Mutant("granule", "granules << self.lg2", "granules << (self.lg2 + 1)")])
def bytes_and_granules_are_inverse_up_to_the_rest(code: Code) -> Law:
    lg2, size = numbers("lg2 size")
    whole = code.granule_to_bytes(lg2, code.granule_floor(lg2, size).value).value
    return Law(whole + (size & (granule(lg2) - 1)) == size, given=[at_most(lg2, 16)])


@law(breaks=[Mutant("granule", "nr_pages: last_pfn - pfn + 1", "nr_pages: last_pfn - pfn")])
def a_span_and_what_it_leaves_of_both_ends_are_whole_granules(code: Code) -> Law:
    lg2, paddr, length = numbers("lg2 paddr length")
    span = code.span(lg2, paddr, length)
    pfn, nr_pages, head, tail = (span[index] for index in range(4))
    last = pfn + (nr_pages - 1)
    claim = z3.And(
        (wide(pfn) << wide(lg2)) + wide(head) == wide(paddr),
        nr_pages != 0,
        at_most(pfn, last),
        # The last byte of the last granule is `tail` bytes behind the last of the chunk.
        (wide(last) << wide(lg2)) + wide(granule(lg2) - 1)
        == wide(paddr) + wide(length - 1) + wide(tail),
        z3.ULT(head, granule(lg2)),
        z3.ULT(tail, granule(lg2)),
    )
    given = [at_most(lg2, 16), span.value == 0]
    return Law(claim, given=given)


@law(breaks=[Mutant("granule", "if last_pfn >= granule.reach()", "if pfn >= granule.reach()")])
def a_span_is_refused_exactly_if_empty_or_out_of_the_space_or_of_reach(code: Code) -> Law:
    lg2, paddr, length = numbers("lg2 paddr length")
    answer = code.span(lg2, paddr, length).value
    last = wide(paddr) + wide(length) - 1
    out_of_reach = z3.UGE(last >> wide(lg2), 1 << 52)
    none, empty, wraps, reach = (z3.BitVecVal(answer, 32) for answer in range(4))
    refused = z3.If(above(last, TOP), wraps, z3.If(out_of_reach, reach, none))
    return Law(answer == z3.If(length == 0, empty, refused), given=[at_most(lg2, 16)])


@law(breaks=[Mutant("walk", "self.paddr.checked_add(more)", "self.paddr.checked_add(self.length)")])
def the_last_byte_of_a_chunk_is_found_up_to_the_end_of_the_space(code: Code) -> Law:
    paddr, length = numbers("paddr length")
    last = code.chunk_last(paddr, length).value
    return Law(wide(last) + 1 == wide(paddr) + wide(length), given=[ends_in_space(paddr, length)])


@law(
    breaks=[Mutant("walk", "Chunk { paddr: paddr + self.skip, length }", "Chunk { paddr, length }")]
)
def the_first_chunk_is_trimmed_at_its_start_and_the_last_at_its_end(code: Code) -> Law:
    """Of a run, `skip` bytes are before the view, and `left` bytes of the view are still to come."""
    lg2, pfn, nr_pages, skip, left = numbers("lg2 pfn nr_pages skip left")
    chunk = code.chunk_trimmed(lg2, pfn, nr_pages, skip, left)
    start, size = wide(pfn) << wide(lg2), wide(nr_pages) << wide(lg2)
    rest = size - wide(skip)
    given = [
        *(at_most(lg2, 16), at_most(start + size, 1 << 64), at_most(size, TOP)),
        *(at_most(nr_pages, 1 << 52), at_most(pfn, 1 << 52), above(size, wide(skip)), left != 0),
    ]
    claim = z3.And(
        wide(chunk[0]) == start + wide(skip),
        wide(chunk[1]) == z3.If(above(rest, wide(left)), wide(left), rest),
        ends_in_space(chunk[0], chunk[1]),
    )
    return Law(claim, given=given)


@law(
    breaks=[
        Mutant("phyr", "start > end || end > self.length", "start > end || start > self.length")
    ]
)
def a_slice_lies_in_its_view_or_is_refused(code: Code) -> Law:
    offset, length, start, end = numbers("offset length start end")
    cut = code.view_slice(offset, length, start, end)
    fits = z3.And(at_most(start, end), at_most(end, length))
    inside = z3.And(cut[0] == offset + start, cut[1] == end - start)
    given = [at_most(wide(offset) + wide(length), TOP)]
    return Law(z3.And(cut.holds == fits, z3.Implies(fits, inside)), given=given)


@law(
    breaks=[
        Mutant(
            "phyr",
            "(first, self.granule.floor(self.offset + more) - first + 1)",
            "(first, self.granule.floor(more) + 1)",
        )
    ]
)
def a_view_touches_the_granules_from_that_of_its_first_byte_to_that_of_its_last(code: Code) -> Law:
    lg2, offset, length = numbers("lg2 offset length")
    touched = code.view_granules(lg2, offset, length)
    first, behind = touched[0], touched[0] + touched[1]
    claim = z3.And(z3.LShR(offset, lg2) == first, z3.LShR(offset + length - 1, lg2) == behind - 1)
    given = [at_most(lg2, 16), length != 0, at_most(wide(offset) + wide(length), TOP)]
    return Law(claim, given=given)


@law(
    breaks=[
        Mutant("builder", "span.head == self.granule.bytes() - self.tail", "span.head == self.tail")
    ]
)
def a_chunk_continues_inside_a_page_exactly_at_the_very_next_byte(code: Code) -> Law:
    lg2, pfn, nr_pages, tail, page, head = numbers("lg2 pfn nr_pages tail page head")
    end = (wide(pfn + nr_pages) << wide(lg2)) - wide(tail)
    start = (wide(page) << wide(lg2)) + wide(head)
    given = [
        *(at_most(lg2, 16), nr_pages != 0, at_most(wide(pfn) + wide(nr_pages), 1 << 52)),
        *(z3.ULT(tail, granule(lg2)), z3.ULT(head, granule(lg2)), at_most(page, 1 << 52)),
    ]
    told = code.continues_inside(lg2, pfn, nr_pages, tail, page, head)
    claim = told.holds == z3.And(tail != 0, start == end)
    return Law(claim, given=given, cases=each(lg2, range(17)))


@law(
    breaks=[
        Mutant(
            "builder",
            "if nr_pages <= self.granule.most() - self.nr_pages",
            "if nr_pages < self.granule.most()",
        )
    ]
)
def there_is_room_exactly_while_the_length_fits_64_bits(code: Code) -> Law:
    lg2, nr_pages, more = numbers("lg2 nr_pages more")
    size = (wide(nr_pages) + wide(more)) << wide(lg2)
    given = [at_most(lg2, 16), at_most(wide(nr_pages) << wide(lg2), TOP)]
    return Law(code.has_room(lg2, nr_pages, more).holds == at_most(size, TOP), given=given)


@law(
    breaks=[
        Mutant(
            "pages",
            "(chunk.last_of_list() >> lg2) - (chunk.paddr >> lg2) + 1",
            "(chunk.length >> lg2) + 1",
        )
    ]
)
def blocks_cover_a_chunk_from_that_of_its_first_byte_to_that_of_its_last(code: Code) -> Law:
    paddr, length, lg2 = numbers("paddr length lg2")
    size = number(1) << lg2
    blocks = code.page_blocks(paddr, length, size).value
    last = paddr + (length - 1)
    given = [ends_in_space(paddr, length), z3.ULT(lg2, 64)]
    claim = blocks == z3.LShR(last, lg2) - z3.LShR(paddr, lg2) + 1
    return Law(claim, given=given, cases=each(lg2, range(64)))


@law(
    breaks=[
        Mutant(
            "pgsize",
            "self.bitmap & self.bitmap.wrapping_neg()",
            "self.bitmap & !self.bitmap.wrapping_neg()",
        )
    ]
)
def the_granule_of_a_table_is_its_smallest_size(code: Code) -> Law:
    bitmap, lg2 = numbers("bitmap lg2")
    smallest = code.sizes_granule(bitmap).value
    size = number(1) << lg2
    given = [bitmap != 0, z3.ULT(lg2, 64), bitmap & size != 0]
    return Law(
        z3.And(power_of_two(smallest), bitmap & smallest != 0, at_most(smallest, size)), given=given
    )


@law(breaks=[Mutant("pgsize", "!(pgsize | pgsize.wrapping_sub(1))", "!pgsize.wrapping_sub(1)")])
def the_next_size_is_above_and_none_lies_between(code: Code) -> Law:
    bitmap, size, other = numbers("bitmap size other")
    found = code.sizes_above(bitmap, size)
    between = z3.And(power_of_two(other), bitmap & other != 0, above(other, size))
    claim = z3.And(
        z3.Implies(between, z3.And(found.holds, at_most(found[0], other))),
        z3.Implies(found.holds, z3.And(above(found[0], size), bitmap & found[0] == found[0])),
    )
    return Law(claim, given=[power_of_two(size)])


@law(
    breaks=[
        Mutant(
            "pgsize",
            "largest(self.bitmap & up_to(length) & dividing(iova | paddr))",
            "largest(self.bitmap & up_to(length) & dividing(iova))",
        )
    ]
)
def the_largest_page_that_fits_divides_both_addresses_and_none_larger_does(code: Code) -> Law:
    bitmap, iova, paddr, length, other = numbers("bitmap iova paddr length other")
    found = code.largest_fit(bitmap, iova, paddr, length)

    def fits(size: z3.BitVecRef) -> z3.BoolRef:
        inside = (iova | paddr) & (size - 1) == 0
        return z3.And(power_of_two(size), bitmap & size != 0, inside, at_most(size, length))

    claim = z3.And(
        z3.Implies(found.holds, fits(found[0])),
        z3.Implies(fits(other), z3.And(found.holds, at_most(other, found[0]))),
    )
    return Law(claim)


@law(breaks=[Mutant("pgsize", "number ^ number.wrapping_sub(1)", "number.wrapping_neg() ^ number")])
def the_best_single_page_divides_all_and_none_larger_does(code: Code) -> Law:
    """As ``ib_umem_find_best_pgsz()`` ends: the largest size that divides every boundary."""
    bitmap, merged, other = numbers("bitmap merged other")
    found = code.best_single(bitmap, merged)

    def divides(size: z3.BitVecRef) -> z3.BoolRef:
        return z3.And(power_of_two(size), bitmap & size != 0, merged & (size - 1) == 0)

    claim = z3.And(
        z3.Implies(found.holds, divides(found[0])),
        z3.Implies(divides(other), z3.And(found.holds, at_most(other, found[0]))),
    )
    return Law(claim)


def up_to_highest(bits: z3.BitVecRef) -> z3.BitVecRef:
    """Return all bits up to the highest that is set: ``GENMASK_ULL(__fls(bits), 0)``."""
    for by in (1, 2, 4, 8, 16, 32):
        bits = bits | z3.LShR(bits, by)
    return bits


def up_to_lowest(bits: z3.BitVecRef) -> z3.BitVecRef:
    """Return all bits up to the lowest that is set: ``GENMASK_ULL(__ffs(bits), 0)``."""
    return bits ^ (bits - 1)


def fitting(
    bitmap: z3.BitVecRef, iova: z3.BitVecRef, paddr: z3.BitVecRef, size: z3.BitVecRef
) -> z3.BitVecRef:
    """Return the sizes that fit, as the first half of ``iommu_pgsize()`` finds them."""
    merged = iova | paddr
    short = bitmap & up_to_highest(size)
    return z3.If(merged != 0, short & up_to_lowest(merged), short)


def bytes_of_the_next_call(
    bitmap: z3.BitVecRef,
    iova: z3.BitVecRef,
    paddr: z3.BitVecRef,
    size: z3.BitVecRef,
    pgsize: z3.BitVecRef,
) -> z3.BitVecRef:
    """Return the bytes to map by a page size, as its second half does.

    Source:
        ``iommu_pgsize()``, drivers/iommu/iommu.c, Linux 6.12.
    """
    larger = bitmap & ~(pgsize | (pgsize - 1))
    following = larger & -larger
    # The kernel joins both addresses; where they are alike below `following`, either will do.
    offset = following - (iova & (following - 1))
    end = offset + following
    is_near = z3.And(
        larger != 0,
        (iova ^ paddr) & (following - 1) == 0,
        z3.Not(z3.ULT(end, offset)),
        at_most(end, size),
    )
    return z3.If(is_near, offset, size)


@law(
    breaks=[
        Mutant("pgsize", "if needed <= length", "if needed < length"),
        Mutant("pgsize", "(iova ^ paddr) & (next - 1) == 0", "(iova | paddr) & (next - 1) == 0"),
        Mutant(
            "pgsize", "let ahead = next - (iova & (next - 1));", "let ahead = next - (iova & next);"
        ),
    ]
)
def the_next_piece_of_the_plan_is_what_the_kernel_maps_next(code: Code) -> Law:
    bitmap, iova, paddr, size, lg2 = numbers("bitmap iova paddr size lg2")
    pgsize = number(1) << lg2
    length = bytes_of_the_next_call(bitmap, iova, paddr, size, pgsize)
    piece = code.fit(bitmap, iova, paddr, size)
    claim = z3.And(piece.holds, piece[0] == pgsize, piece[1] == z3.LShR(length, lg2))
    # The largest that fits is 2^lg2: ``__fls(pgsizes)``.
    is_largest = z3.LShR(fitting(bitmap, iova, paddr, size), lg2) == 1
    return Law(claim, given=[size != 0, is_largest, z3.ULT(lg2, 64)], cases=each(lg2, range(64)))


@law(
    breaks=[
        Mutant(
            "pgsize",
            "if length == 0 { 0 } else { u64::MAX >> length.leading_zeros() }",
            "u64::MAX >> (length.leading_zeros() % 64)",
        )
    ]
)
def there_is_no_next_piece_exactly_if_no_size_fits(code: Code) -> Law:
    bitmap, iova, paddr, size = numbers("bitmap iova paddr size")
    none = z3.Or(size == 0, fitting(bitmap, iova, paddr, size) == 0)
    return Law(code.fit(bitmap, iova, paddr, size).holds == z3.Not(none), given=[bitmap != 0])


@law(
    breaks=[
        Mutant(
            "plan",
            "self.paddr = paddr.wrapping_add(length);",
            "self.paddr = paddr.wrapping_add(pgsize);",
        )
    ]
)
def a_call_takes_off_what_it_maps_on_both_sides_alike(code: Code) -> Law:
    iova, paddr, left, lg2, pgcount = numbers("iova paddr left lg2 pgcount")
    pgsize = number(1) << lg2
    after = code.rest_call(iova, paddr, left, pgsize, pgcount)
    mapped = pgcount << lg2
    claim = z3.And(
        *(after[index] == part for index, part in enumerate((iova, paddr, pgsize, pgcount))),
        *(after[4] == iova + mapped, after[5] == paddr + mapped, after[6] == left - mapped),
    )
    given = [z3.ULT(lg2, 64), at_most(wide(pgcount) << wide(lg2), wide(left))]
    return Law(claim, given=given)


@law(breaks=[Mutant("digest", "y ^ (y >> 32)", "y ^ (y & 0xffff_ffff)")])
def no_two_words_take_the_digest_one_step_to_the_same_place(code: Code) -> Law:
    """A step is ``y ^ y >> 32`` with ``y = x * odd``: both parts can be undone, so the step can."""
    x, y = numbers("x y")
    odd = 0x9E3779B97F4A7C15
    folded = y ^ z3.LShR(y, 32)
    multiplied = x * odd
    claim = z3.And(
        code.digest_step(x).value == multiplied ^ z3.LShR(multiplied, 32),
        folded ^ z3.LShR(folded, 32) == y,
        number(odd) * pow(odd, -1, 1 << 64) == 1,
    )
    return Law(claim)


@law(
    breaks=[
        Mutant("records", "record & (SWAPPED | GUARD) == SWAPPED", "record & SWAPPED == SWAPPED")
    ]
)
def a_page_map_record_is_swapped_if_bit_62_says_so_and_bit_58_does_not(code: Code) -> Law:
    (record,) = numbers("record")
    swapped, guard = (z3.Extract(at, at, record) == 1 for at in (62, 58))
    return Law(code.record_is_swapped(record).holds == z3.And(swapped, z3.Not(guard)))


@law(
    breaks=[
        Mutant(
            "records",
            "expected = expected.wrapping_add(1);",
            "expected = expected.wrapping_add(0);",
        )
    ]
)
def records_are_one_run_exactly_if_all_are_present_and_numbers_count_up(code: Code) -> Law:
    block = numbers("a b c d")
    pfn = [record & ((1 << 55) - 1) for record in block]
    present = [z3.Extract(63, 63, record) == 1 for record in block]
    follow = [pfn[at] + 1 == pfn[at + 1] for at in range(3)]
    return Law(code.records_are_one_run(block).holds == z3.And(*present, *follow))


@law(
    breaks=[
        Mutant(
            "records",
            "differ & (PRESENT | SWAPPED | GUARD) == 0",
            "differ & (PRESENT | SWAPPED) == 0",
        )
    ]
)
def records_are_in_one_state_exactly_if_bits_63_62_and_58_agree(code: Code) -> Law:
    *block, record = numbers("a b c d record")
    mask = 1 << 63 | 1 << 62 | 1 << 58
    agree = z3.And(*[other & mask == record & mask for other in block])
    return Law(code.records_are_one_state(block, record).holds == agree)
