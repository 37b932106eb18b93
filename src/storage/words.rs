//! Slices of packed words: the walks and searches inside one node.
//!
//! A slice holds whole entries of one word or two. A forward walk sees which word starts an entry.
//! A backward walk does not, because the second word of a long chunk can have any value; [`before`]
//! finds out.

use crate::storage::entry::{Entry, Run};
use crate::wide::wide;

/// Decodes the entry that starts at index `word`. Also returns the number of its words.
///
/// The entry is there in every list. Where it were not, there would be no pages.
#[inline]
pub(crate) fn decode(words: &[u64], word: usize) -> (Run, usize) {
    debug_assert!(word < words.len(), "no entry at {word} of {}", words.len());
    let Some(&first) = words.get(word) else { return (Run::default(), 1) };
    let entry = Entry::stored(first);
    if entry.is_escape() {
        let next = words.get(word + 1).copied().unwrap_or_default();
        // A stored chunk has at most 2^52 pages.
        let nr_pages = entry.nr_pages_with(next).unwrap_or(u64::MAX);
        (Run { pfn: entry.pfn(), nr_pages }, 2)
    } else {
        (Run { pfn: entry.pfn(), nr_pages: entry.nr_pages() }, 1)
    }
}

/// The index where the entry that ends before `word` starts. `word` is the start of an entry or the
/// end of the slice, and is not 0.
pub(crate) fn before(words: &[u64], word: usize) -> usize {
    // A word whose count field is not 0 is the last word of its entry, so the next word starts an
    // entry. After it, words with count field 0 come in pairs: first, second, first, second.
    let previous = word - 1;
    let earlier = words.get(..previous).unwrap_or_default();
    let zeros = earlier.iter().rev().take_while(|&&w| Entry::stored(w).is_escape());
    if zeros.count() % 2 == 1 { previous - 1 } else { previous }
}

/// The most words, `room` at most, that are whole entries; the slice starts with an entry.
pub(crate) fn whole(words: &[u64], room: usize) -> usize {
    let end = room.min(words.len());
    // As in `before`: an odd number of words with field 0 ends with the first of two.
    let zeros = words[..end].iter().rev().take_while(|&&w| Entry::stored(w).is_escape());
    end - zeros.count() % 2
}

wide! {
    /// All bits that are set in any of the items.
    pub(crate) fn any_bit(items: &[u64]) -> u64 {
        items.iter().fold(0, |any, item| any | item)
    }
}

wide! {
    /// Returns true if every word is a chunk of one unit: an aligned block.
    pub(crate) fn are_blocks(words: &[u64]) -> bool {
        words.iter().fold(0, |other, &word| other | (Entry::stored(word).count() ^ 1)) == 0
    }
}

/// A chunk found in a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Index of its first word.
    pub(crate) word: usize,
    /// Chunks before it.
    pub(crate) chunks: u64,
    /// Pages before it.
    pub(crate) pages: u64,
}

wide! {
    /// Finds the first chunk for which `reached(pages, chunks)` holds. Both arguments count up to that
    /// chunk, itself included. Returns the end of the slice if there is no such chunk. The search
    /// begins at `start`, which must not be after the chunk to find.
    pub(crate) fn find(words: &[u64], start: Found, reached: impl Fn(u64, u64) -> bool) -> Found {
        /// Words summed at a time. After large blocks, small ones: they leave fewer words to
        /// decode.
        const BLOCK_WORDS: usize = 32;
        const SMALL: usize = 8;

        let mut at = start;
        while at.word < words.len() {
            skip::<BLOCK_WORDS>(words, &mut at, &reached);
            skip::<SMALL>(words, &mut at, &reached);
            // The chunk is among the next few, or one of them has two words, or the slice ends.
            let stop = words.len().min(at.word + SMALL);
            while at.word < stop {
                let (run, len) = decode(words, at.word);
                if reached(at.pages + run.nr_pages, at.chunks + 1) {
                    return at;
                }
                at.pages += run.nr_pages;
                at.chunks += 1;
                at.word += len;
            }
        }
        at
    }
}

/// Skips blocks of one-word entries, up to the block in which the search ends.
#[inline(always)]
fn skip<const BLOCK_WORDS: usize>(
    words: &[u64],
    at: &mut Found,
    reached: &impl Fn(u64, u64) -> bool,
) {
    while let Some(block) = words.get(at.word..).and_then(<[u64]>::first_chunk::<BLOCK_WORDS>) {
        let Some(pages) = pages_of_plain(block) else { break };
        if reached(at.pages + pages, at.chunks + BLOCK_WORDS as u64) {
            break;
        }
        at.pages += pages;
        at.chunks += BLOCK_WORDS as u64;
        at.word += BLOCK_WORDS;
    }
}

wide! {
    /// The pages of a block if all its entries have one word; `None` if any has two.
    pub(crate) fn plain_pages(block: &[u64]) -> Option<u64> {
        pages_of_plain(block)
    }
}

/// [`plain_pages`] as a part of other loops.
#[inline(always)]
fn pages_of_plain(block: &[u64]) -> Option<u64> {
    // Multiplies the count by each half of the unit, because wide registers multiply 32 bits by
    // 32. A second word, read as an entry, gives a wrong sum. That sum is never used: the
    // escape before it is in this block, and then the result is `None`, or no block starts at
    // that word.
    let (mut low, mut high, mut escapes) = (0_u64, 0_u64, 0_u64);
    for &word in block {
        let entry = Entry::stored(word);
        let marker = entry.marker();
        low = low.wrapping_add(entry.count() * (marker & u64::from(u32::MAX)));
        high = high.wrapping_add(entry.count() * (marker >> 32));
        escapes |= u64::from(entry.is_escape());
    }
    (escapes == 0).then_some(Entry::pages_of_halves(low, high))
}

wide! {
    /// Returns true if every entry is known to have fewer pages than `limit`. True is certain; false
    /// means look. It sums a few entries at a time: each entry has a page at least, so none of n
    /// entries has more than the sum less n - 1.
    pub(crate) fn are_shorter(words: &[u64], limit: u64) -> bool {
        const FEW: usize = 32;

        words.chunks(FEW).all(|block| {
            let pages = pages_of_plain(block);
            pages.is_some_and(|pages| pages - (block.len() as u64 - 1) < limit)
        })
    }
}

/// Returns true if all entries have one word.
#[inline(always)]
pub(crate) fn is_plain(words: &[u64]) -> bool {
    words.iter().fold(0, |any, &word| any | u64::from(Entry::stored(word).is_escape())) == 0
}

wide! {
    /// How many chunks a slice holds, and the pages of the longest.
    pub(crate) fn longest(words: &[u64]) -> (u64, u64) {
        if is_plain(words) {
            let most = words.iter().fold(0, |most, &word| Entry::stored(word).nr_pages().max(most));
            return (words.len() as u64, most);
        }
        let (mut word, mut chunks, mut most) = (0, 0, 0);
        while word < words.len() {
            let (run, len) = decode(words, word);
            most = run.nr_pages.max(most);
            word += len;
            chunks += 1;
        }
        (chunks, most)
    }
}

wide! {
    /// How many chunks a slice holds.
    pub(crate) fn count(words: &[u64]) -> u64 {
        if is_plain(words) {
            return words.len() as u64;
        }
        let (mut word, mut chunks) = (0, 0);
        while word < words.len() {
            word += if Entry::stored(words[word]).is_escape() { 2 } else { 1 };
            chunks += 1;
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Packs runs, and notes where each starts.
    fn pack(runs: &[Run]) -> (Vec<u64>, Vec<usize>) {
        let (mut words, mut starts) = (Vec::new(), Vec::new());
        for &run in runs {
            starts.push(words.len());
            let (entry, count) = Entry::pack(run);
            words.push(entry.word());
            if entry.is_escape() {
                words.push(count);
            }
        }
        (words, starts)
    }

    fn runs() -> impl Strategy<Value = Vec<Run>> {
        // Counts around the escape, and second words that look like escapes themselves.
        let nr_pages =
            prop_oneof![1_u64..4, 2046_u64..2052, (1_u64..9).prop_map(|n| n << 12 | 2048)];
        let run = (0_u64..1 << 40, nr_pages).prop_map(|(pfn, nr_pages)| Run { pfn, nr_pages });
        prop::collection::vec(run, 0..120)
    }

    proptest! {
        #[test]
        fn before_finds_the_start_of_every_entry(runs in runs()) {
            let (words, starts) = pack(&runs);
            let mut end = words.len();
            for &start in starts.iter().rev() {
                prop_assert_eq!(before(&words, end), start);
                end = start;
            }
        }

        #[test]
        fn whole_entries_are_as_many_as_fit(runs in runs(), room in 0_usize..150) {
            let (words, starts) = pack(&runs);
            let ends = starts.iter().skip(1).copied().chain([words.len()]);
            let fit = ends.take_while(|&end| end <= room).last().unwrap_or(0);
            prop_assert_eq!(whole(&words, room), fit);
        }

        #[test]
        fn find_stops_where_a_plain_walk_does(runs in runs(), by_page in any::<bool>(), percent in 0_u64..110) {
            let (words, starts) = pack(&runs);
            let total: u64 = runs.iter().map(|run| run.nr_pages).sum();
            let target = percent * if by_page { total } else { runs.len() as u64 } / 100;
            let found = find(&words, Found::default(), |pages, chunks| target < if by_page { pages } else { chunks });
            let (mut pages, mut number) = (0, 0);
            while number < runs.len()
                && target >= if by_page { pages + runs[number].nr_pages } else { number as u64 + 1 }
            {
                pages += runs[number].nr_pages;
                number += 1;
            }
            let word = starts.get(number).copied().unwrap_or(words.len());
            prop_assert_eq!(found, Found { word, chunks: number as u64, pages });
        }

        #[test]
        fn plain_pages_is_the_sum_up_to_2_64(
            orders in prop::collection::vec((0_u32..52, 1_u64..2048), 1..120)
        ) {
            let runs: Vec<Run> = orders
                .into_iter()
                .map(|(order, count)| Run { pfn: 0, nr_pages: (count << order).min(1 << 52) })
                .collect();
            let (words, starts) = pack(&runs);
            let plain = words.len() == starts.len();
            let total = runs.iter().map(|run| u128::from(run.nr_pages)).sum::<u128>();
            prop_assert_eq!(plain_pages(&words).map(u128::from), plain.then_some(total));
        }

        #[test]
        fn decode_is_the_inverse_of_pack(runs in runs()) {
            let (words, starts) = pack(&runs);
            for (run, &start) in runs.iter().zip(&starts) {
                prop_assert_eq!(decode(&words, start).0, *run);
            }
            prop_assert_eq!(is_plain(&words), words.len() == runs.len());
            prop_assert_eq!(count(&words), runs.len() as u64);
            let is_block = |run: &Run| {
                run.nr_pages.is_power_of_two() && run.pfn % run.nr_pages == 0
            };
            prop_assert_eq!(are_blocks(&words), runs.iter().all(is_block));
            let longest = runs.iter().map(|run| run.nr_pages).max().unwrap_or(0);
            prop_assert!(!are_shorter(&words, longest.max(1)) || runs.is_empty());
            prop_assert_eq!(super::longest(&words), (runs.len() as u64, longest));
            let plain = runs.iter().all(|run| run.nr_pages == 1);
            prop_assert!(are_shorter(&words, 2) == plain);
        }
    }
}
