"""The packed word, and the words of a node: see docs/encoding.md."""

from __future__ import annotations

import z3

from proof.build import Mutant
from proof.law import Code, Law, above, at_most, law, number, numbers, wide

LIMIT = 1 << 52
FIELD = 2047


def in_reach(pfn: z3.BitVecRef, nr_pages: z3.BitVecRef) -> z3.BoolRef:
    """Return whether there are pages, all numbered below 2^52."""
    return z3.And(nr_pages != 0, at_most(wide(pfn) + wide(nr_pages), LIMIT))


def order_of(pfn: z3.BitVecRef, nr_pages: z3.BitVecRef, order: z3.BitVecRef) -> z3.BoolRef:
    """Return whether 2^order is the largest power of two that divides both numbers."""
    both = pfn | nr_pages
    return z3.And(z3.ULT(order, 64), both & -both == number(1) << order)


def same(a: z3.BoolRef, b: z3.BoolRef) -> z3.BoolRef:
    """Return whether both hold or neither does."""
    return a == b


NO_PAGES = Mutant("entry", "if nr_pages == 0 || pfn", "if pfn")
LAST_PAGE = Mutant("entry", "nr_pages > Self::PFN_LIMIT - pfn", "nr_pages >= Self::PFN_LIMIT - pfn")
ESCAPE_EARLY = Mutant("entry", "if count <= COUNT { count }", "if count < COUNT { count }")
ESCAPE_LATE = Mutant("entry", "if count <= COUNT { count }", "if count <= COUNT + 1 { count }")
ORDER_OF_PFN = Mutant(
    "entry", "let order = (run.pfn | run.nr_pages)", "let order = (run.pfn | 1 << 52)"
)
NO_ORDER = Mutant("entry", "(run.pfn | run.nr_pages).trailing_zeros()", "0_u32")
MARKER_LOW = Mutant(
    "entry", "let marker = 1 << (COUNT_BITS + order)", "let marker = 1 << (10 + order)"
)
PFN_SHIFT = Mutant(
    "entry", "(y & (y.wrapping_sub(1))) >> (COUNT_BITS + 1)", "y >> (COUNT_BITS + 1)"
)


@law(breaks=[NO_PAGES, LAST_PAGE])
def encode_refuses_exactly_what_is_out_of_reach(code: Code) -> Law:
    pfn, nr_pages = numbers("pfn nr_pages")
    return Law(same(code.encode(pfn, nr_pages).holds, in_reach(pfn, nr_pages)))


@law(breaks=[PFN_SHIFT, MARKER_LOW])
def the_page_number_comes_back(code: Code) -> Law:
    pfn, nr_pages = numbers("pfn nr_pages")
    encoded = code.encode(pfn, nr_pages)
    return Law(code.pfn(encoded[0]).value == pfn, given=[encoded.holds])


@law(breaks=[ESCAPE_LATE, Mutant("entry", "marker >> COUNT_BITS", "marker >> 10")])
def the_pages_come_back_whether_the_count_fits_or_not(code: Code) -> Law:
    pfn, nr_pages = numbers("pfn nr_pages")
    encoded = code.encode(pfn, nr_pages)
    decoded = code.nr_pages_with(encoded[0], encoded[1])
    claim = z3.And(decoded.holds, decoded[0] == nr_pages)
    return Law(claim, given=[encoded.holds])


@law(breaks=[ORDER_OF_PFN])
def the_order_is_that_of_the_largest_unit_that_divides_both(code: Code) -> Law:
    pfn, nr_pages = numbers("pfn nr_pages")
    encoded = code.encode(pfn, nr_pages)
    order = z3.ZeroExt(32, code.order(encoded[0]).value)
    return Law(order_of(pfn, nr_pages, order), given=[encoded.holds])


@law(breaks=[ESCAPE_EARLY])
def the_escape_is_there_exactly_above_2047_units(code: Code) -> Law:
    pfn, nr_pages, order = numbers("pfn nr_pages order")
    encoded = code.encode(pfn, nr_pages)
    count = z3.LShR(nr_pages, order)
    escapes = code.is_escape(encoded[0])
    given = [encoded.holds, order_of(pfn, nr_pages, order)]
    return Law(same(escapes.holds, above(count, FIELD)), given=given)


@law(
    breaks=[
        Mutant(
            "entry", "if entry.is_escape() { Some(count)", "if entry.is_escape() { Some(nr_pages)"
        )
    ]
)
def the_second_word_is_the_count_of_units(code: Code) -> Law:
    pfn, nr_pages, order = numbers("pfn nr_pages order")
    encoded = code.encode(pfn, nr_pages)
    given = [encoded.holds, order_of(pfn, nr_pages, order), code.is_escape(encoded[0]).holds]
    return Law(encoded[1] == z3.LShR(nr_pages, order), given=given)


@law(breaks=[ESCAPE_EARLY])
def the_word_is_the_picture_of_the_format(code: Code) -> Law:
    """docs/encoding.md: address, marker and count, each in its place."""
    pfn, nr_pages, order = numbers("pfn nr_pages order")
    encoded = code.encode(pfn, nr_pages)
    count = z3.LShR(nr_pages, order)
    field = z3.If(above(count, FIELD), number(0), count)
    picture = (pfn << 12) + (number(2048) << order) + field
    given = [encoded.holds, order_of(pfn, nr_pages, order)]
    return Law(encoded[0] == picture, given=given)


@law(breaks=[MARKER_LOW])
def a_word_that_was_encoded_has_a_marker(code: Code) -> Law:
    pfn, nr_pages = numbers("pfn nr_pages")
    encoded = code.encode(pfn, nr_pages)
    return Law(code.from_word(encoded[0]).holds, given=[encoded.holds])


@law(breaks=[Mutant("entry", "if word >> COUNT_BITS == 0", "if word == 0")])
def a_word_is_an_entry_exactly_if_one_of_the_upper_53_bits_is_set(code: Code) -> Law:
    (word,) = numbers("word")
    return Law(same(code.from_word(word).holds, above(word, FIELD)))


@law(breaks=[ORDER_OF_PFN])
def no_two_runs_have_one_encoding(code: Code) -> Law:
    pfn, nr_pages, other_pfn, other_pages = numbers("pfn nr_pages other_pfn other_pages")
    one, other = code.encode(pfn, nr_pages), code.encode(other_pfn, other_pages)
    differ = z3.Or(pfn != other_pfn, nr_pages != other_pages)
    given = [one.holds, other.holds, differ]
    return Law(z3.Or(one[0] != other[0], one[1] != other[1]), given=given)


@law(breaks=[NO_ORDER])
def what_decodes_and_encodes_to_itself_has_no_smaller_unit(code: Code) -> Law:
    """A word with an even count, and an address that is as even, is never canonical."""
    (word,) = numbers("word")
    decoded = code.nr_pages_with(word, number(0))
    again = code.encode(code.pfn(word).value, decoded[0])
    is_even = z3.And(word & 1 == 0, word & FIELD != 0)
    address_is_even = code.pfn(word).value & (code.marker(word).value >> 11) == 0
    given = [above(word, FIELD), is_even, address_is_even]
    return Law(z3.Or(z3.Not(again.holds), again[0] != word), given=given)


@law(breaks=[Mutant("entry", "y & y.wrapping_neg()", "y & !y.wrapping_neg()")])
def the_marker_is_the_lowest_set_bit_of_the_upper_53(code: Code) -> Law:
    (word,) = numbers("word")
    upper = word & ~number(FIELD)
    return Law(code.marker(word).value == upper & -upper)


@law(
    breaks=[
        Mutant("entry", "(both.wrapping_add(both) & COUNT << 1)", "(both & COUNT)"),
        Mutant("entry", "self.0.wrapping_sub(1 << COUNT_BITS);", "self.0.wrapping_sub(1);"),
    ]
)
def bytes_are_4096_times_the_pages(code: Code) -> Law:
    pfn, nr_pages = numbers("pfn nr_pages")
    encoded = code.encode(pfn, nr_pages)
    decoded = code.bytes(encoded[0])
    given = [encoded.holds, z3.Not(code.is_escape(encoded[0]).holds)]
    return Law(z3.And(decoded[0] == pfn << 12, decoded[1] == nr_pages << 12), given=given)


@law(
    breaks=[
        Mutant(
            "entry",
            "pfn << (COUNT_BITS + 1) | 1 << COUNT_BITS | 1",
            "pfn << COUNT_BITS | 1 << COUNT_BITS | 1",
        )
    ]
)
def the_word_of_one_page_is_what_encode_makes(code: Code) -> Law:
    (pfn,) = numbers("pfn")
    encoded = code.encode(pfn, number(1))
    return Law(code.one_page(pfn).value == encoded[0], given=[encoded.holds])


@law(
    breaks=[
        Mutant(
            "entry",
            "Some((entry.order(), joined >> (COUNT_BITS + 1)))",
            "Some((entry.order(), joined >> (COUNT_BITS + 2)))",
        )
    ]
)
def words_joined_bound_every_page_number_and_order(code: Code) -> Law:
    a, b = numbers("a b")
    bounds = code.bounds(a | b)
    claim = z3.And(
        bounds.holds,
        at_most(code.pfn(a).value, bounds[1]),
        at_most(bounds[0], z3.ZeroExt(32, code.order(a).value)),
    )
    return Law(claim, given=[above(a, FIELD), above(b, FIELD)])


@law(
    breaks=[
        Mutant(
            "words",
            "let next = words.get(word + 1)",
            "let next = words.get(word)",
        )
    ]
)
def a_node_decodes_to_what_was_encoded(code: Code) -> Law:
    pfn, nr_pages, after = numbers("pfn nr_pages after")
    encoded = code.encode(pfn, nr_pages)
    escapes = code.is_escape(encoded[0]).holds
    decoded = code.decode_words([encoded[0], z3.If(escapes, encoded[1], after)])
    claim = z3.And(
        decoded[0] == pfn,
        decoded[1] == nr_pages,
        decoded[2] == z3.If(escapes, number(2), number(1)),
    )
    return Law(claim, given=[encoded.holds])


@law(
    breaks=[Mutant("entry", "high << (u32::BITS - COUNT_BITS)", "high << u32::BITS >> COUNT_BITS")]
)
def halves_of_markers_add_up_to_pages(code: Code) -> Law:
    """The sum of the lower halves and that of the upper ones are the pages, as long as those fit."""
    low, high = numbers("low high")
    total = z3.LShR(wide(low) + (wide(high) << 32), 11)
    given = [low & FIELD == 0, at_most(total, (1 << 64) - 1)]
    return Law(wide(code.pages_of_halves(low, high).value) == total, given=given)


@law(
    breaks=[
        Mutant(
            "words",
            "high = high.wrapping_add(entry.count() * (marker >> 32))",
            "high = high.wrapping_add(marker >> 32)",
        )
    ]
)
def the_marker_sum_of_a_word_is_its_pages(code: Code) -> Law:
    (word,) = numbers("word")
    summed = code.plain_pages_1([word])
    single = z3.Not(code.is_escape(word).holds)
    pages = code.nr_pages(word).value
    return Law(z3.And(summed.holds == single, z3.Implies(single, summed[0] == pages)))


@law(
    breaks=[
        Mutant(
            "words",
            "low = low.wrapping_add(entry.count() * (marker & u64::from(u32::MAX)));",
            "low = entry.count() * (marker & u64::from(u32::MAX));",
        )
    ]
)
def the_marker_sum_of_two_words_is_the_sum_of_their_pages(code: Code) -> Law:
    a, b = numbers("a b")
    summed = code.plain_pages_2([a, b])
    pages = code.plain_pages_1([a])[0] + code.plain_pages_1([b])[0]
    given = [code.plain_pages_1([a]).holds, code.plain_pages_1([b]).holds]
    return Law(z3.And(summed.holds, summed[0] == pages), given=given)


@law(
    breaks=[
        Mutant(
            "words",
            "u64::from(Entry::stored(word).is_escape())) == 0",
            "u64::from(Entry::stored(word).is_escape())) != 0",
        )
    ]
)
def a_node_is_plain_exactly_if_no_word_is_an_escape(code: Code) -> Law:
    some = numbers("a b c d")
    plain = z3.And(*[z3.Not(code.is_escape(word).holds) for word in some])
    return Law(same(code.is_plain_4(some).holds, plain))
