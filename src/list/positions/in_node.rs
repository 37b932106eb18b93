//! The addresses of positions in one node.

use crate::granule::Granule;
use crate::storage::chain::{LEAF_WORDS, Node};
use crate::storage::entry::{Entry, Run};
use crate::storage::words;
use crate::wide::wide;

/// Positions in a node that are worth decoding all of it.
const WORTH: usize = 24;
/// Chunks in a node for each position that ascends: with more, a search is faster than a walk.
const CHUNKS_A_POSITION: usize = 4;
/// Pages in a node for each position that ascends: with more, most of a table of them is not read.
const PAGES_A_POSITION: u64 = 4;
/// Pages in a node for each word: with more, its chunks are so long that a walk is faster than a table.
const PAGES_A_WORD: u64 = 64;

/// Translates positions that ascend and are in this node.
pub(super) fn translate_ascending_in(
    node: &Node<'_>,
    granule: Granule,
    offset: u64,
    positions: &mut [u64],
) {
    let nr_words = node.words.len() as u64;
    let most_pages = (positions.len() as u64 * PAGES_A_POSITION).min(nr_words * PAGES_A_WORD);
    if node.is_single() || positions.len() < node.words.len() / CHUNKS_A_POSITION {
        translate_in(node, granule, offset, positions.iter_mut());
    } else if node.end_page().is_some_and(|end| end - node.first_page <= most_pages) {
        look_up_in_node(node.words, node.first_page, granule, offset, positions);
    } else {
        merge_in_node(node.words, node.first_page, granule, offset, positions);
    }
}

/// Translates positions that are in this node.
pub(super) fn translate_in<'p>(
    node: &Node<'_>,
    granule: Granule,
    offset: u64,
    positions: impl ExactSizeIterator<Item = &'p mut u64>,
) {
    if node.is_single() {
        translate_in_single(node.words, node.first_page, granule, offset, positions);
    } else if positions.len() >= WORTH {
        translate_in_node(node.words, node.first_page, granule, offset, positions);
    } else {
        for position in positions {
            let at = offset + *position;
            let place = node.find_page(granule.floor(at));
            *position = granule.to_bytes(place.run().pfn) + (at - granule.to_bytes(place.page));
        }
    }
}

wide! {
    /// Translates positions in a node of single pages.
    fn translate_in_single['p](
        words: &[u64],
        first: u64,
        granule: Granule,
        offset: u64,
        positions: impl Iterator<Item = &'p mut u64>,
    ) {
        for position in positions {
            let at = offset + *position;
            let word = usize::try_from(granule.floor(at) - first).unwrap_or(usize::MAX);
            // The position is in the node, so there is such a word.
            debug_assert!(word < words.len(), "no page at {word} of {}", words.len());
            let pfn = Entry::stored(words.get(word).copied().unwrap_or_default()).pfn();
            *position = granule.to_bytes(pfn) | at & granule.mask();
        }
    }
}

/// Room for the chunks of a node; a power of two.
const CHUNKS: usize = LEAF_WORDS.next_power_of_two();

wide! {
    /// Translates positions in a node, all of which is decoded.
    fn translate_in_node['p](
        words: &[u64],
        first: u64,
        granule: Granule,
        offset: u64,
        positions: impl Iterator<Item = &'p mut u64>,
    ) {
        // For each chunk, the page of the chain where it starts, and what to add to such a page to
        // have its number.
        let (mut starts, mut moves) = ([u64::MAX; CHUNKS], [0; CHUNKS]);
        let (mut page, mut word) = (first, 0);
        for (start, by) in starts.iter_mut().zip(&mut moves) {
            if word == words.len() {
                break;
            }
            let (run, len) = words::decode(words, word);
            (*start, *by) = (page, run.pfn.wrapping_sub(page));
            page += run.nr_pages;
            word += len;
        }
        for position in positions {
            let at = offset + *position;
            let page = granule.floor(at);
            // A search without branches: the processor cannot predict where it ends.
            let (mut chunk, mut step) = (0, CHUNKS / 2);
            while step > 0 {
                chunk += step * usize::from(starts[(chunk + step) % CHUNKS] <= page);
                step /= 2;
            }
            let pfn = page.wrapping_add(moves[chunk % CHUNKS]);
            *position = granule.to_bytes(pfn) | at & granule.mask();
        }
    }
}

/// The number that leads from a position in a run, which starts at a page of the chain, to its address.
#[inline(always)]
fn leads(run: Run, page: u64, granule: Granule, offset: u64) -> u64 {
    granule.to_bytes(run.pfn).wrapping_sub(granule.to_bytes(page)).wrapping_add(offset)
}

wide! {
    /// Translates positions that ascend in a node: both are walked together.
    fn merge_in_node(
        words: &[u64],
        first: u64,
        granule: Granule,
        offset: u64,
        positions: &mut [u64],
    ) {
        let (mut at, mut page, mut word) = (0, first, 0);
        while word < words.len() && at < positions.len() {
            let (run, len) = words::decode(words, word);
            // The last position in the chunk. A view may start behind the chunk.
            let last = granule.to_bytes(page + (run.nr_pages - 1)) | granule.mask();
            let by = leads(run, page, granule, offset);
            if let Some(last) = last.checked_sub(offset) {
                while at < positions.len() && positions[at] <= last {
                    positions[at] = positions[at].wrapping_add(by);
                    at += 1;
                }
            }
            page += run.nr_pages;
            word += len;
        }
        debug_assert_eq!(at, positions.len(), "positions of {} words", words.len());
    }
}

/// Pages in a table of addresses: 4 KiB.
const TABLE: usize = 1 << 9;
/// Pages of a chunk that are written at once, without a branch on how many it has.
const AT_ONCE: usize = 16;

wide! {
    /// Translates positions that ascend in a node of short chunks: each is looked up by its page. In a
    /// walk of both, the processor could not predict where each chunk ends.
    fn look_up_in_node(
        words: &[u64],
        first: u64,
        granule: Granule,
        offset: u64,
        positions: &mut [u64],
    ) {
        // For each page from `first` on, what leads from a position in it to its address.
        let mut table = [0; TABLE + AT_ONCE];
        let (mut first, mut word, mut at) = (first, 0, 0);
        // Of the last chunk that was decoded: the pages that had no room, and what leads to them.
        let (mut pages_left, mut by) = (0, 0);
        while at < positions.len() && (pages_left > 0 || word < words.len()) {
            let mut filled = 0;
            while filled < TABLE {
                if pages_left == 0 {
                    if word >= words.len() {
                        break;
                    }
                    let (run, len) = words::decode(words, word);
                    by = leads(run, first + filled as u64, granule, offset);
                    pages_left = run.nr_pages;
                    word += len;
                }
                let rest = table.get_mut(filled..).unwrap_or_default();
                let Some((few, more)) = rest.split_first_chunk_mut::<AT_ONCE>() else { break };
                let room = TABLE - filled;
                let count = usize::try_from(pages_left).map_or(room, |pages| pages.min(room));
                *few = [by; AT_ONCE];
                if let Some(beyond) = count.checked_sub(AT_ONCE) {
                    more.get_mut(..beyond).unwrap_or_default().fill(by);
                }
                filled += count;
                pages_left -= count as u64;
            }
            let table = table.get(..filled).unwrap_or_default();
            for position in positions.get_mut(at..).unwrap_or_default() {
                let page = usize::try_from(granule.floor(offset + *position) - first);
                let by = page.ok().and_then(|page| table.get(page));
                let Some(by) = by else { break };
                *position = position.wrapping_add(*by);
                at += 1;
            }
            first += filled as u64;
        }
        debug_assert_eq!(at, positions.len(), "positions of {} words", words.len());
    }
}
