//! The addresses of many positions at once.
//!
//! Positions are dealt out to the nodes that hold them; each node is then decoded once. So nothing waits
//! for a search of the tree, and the words of a node are read while they are close.

mod in_node;

use alloc::vec::Vec;

use crate::error::Error;
use crate::list::phyr::Phyr;
use crate::list::positions::in_node::{translate_ascending_in, translate_in};
use crate::slices::take_mut;
use crate::storage::chain::{Located, Node};
use crate::wide::wide;

/// Positions dealt out together: 6 MiB of memory.
const BLOCK: usize = 1 << 18;
/// So few are looked up one by one.
const FEW: usize = 64;
/// Chunks that the list may have for each position: with more, most nodes would hold no position.
const CHUNKS_EACH: u64 = 1 << 8;

impl Phyr {
    /// Replaces each of these positions by the physical address of the byte there.
    ///
    /// The same as [`Self::translate`] of each. Positions that ascend are one walk. Many others are
    /// sorted by node, in blocks of 6 MiB of memory; few others, or any where there is no memory, are
    /// looked up one by one.
    ///
    /// # Errors
    ///
    /// [`Error::Position`] with the first that is not below the length; all of them are then as they
    /// were.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut builder = phyr::Builder::new();
    /// builder.extend_pfns(&[7, 3])?;
    /// let phyr = builder.finish();
    /// let mut positions = [0x1002, 0x10];
    /// phyr.translate_all(&mut positions)?;
    /// assert_eq!(positions, [0x3002, 0x7010]);
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn translate_all(&self, positions: &mut [u64]) -> Result<(), Error> {
        let is_sorted = ascend_in(positions, self.length())?;
        let Some((_, nr_chunks)) = self.chain().totals() else {
            // One node has them all.
            let (granule, offset) = (self.granule(), self.offset());
            let mut positions = Some(positions);
            self.chain().for_each_node(|node| {
                let positions = positions.take().unwrap_or_default();
                if is_sorted {
                    translate_ascending_in(&node, granule, offset, positions);
                } else {
                    translate_in(&node, granule, offset, positions.iter_mut());
                }
            });
            return Ok(());
        };
        let is_many = positions.len() >= FEW && nr_chunks / CHUNKS_EACH <= positions.len() as u64;
        if is_sorted && is_many {
            self.translate_ascending(positions);
        } else if is_sorted {
            let mut translator = Translator::new(self);
            for position in positions {
                *position = translator.translate(*position);
            }
        } else {
            let nodes = if is_many { Nodes::new(self, positions.len().min(BLOCK)) } else { None };
            let Some(mut nodes) = nodes else { return self.translate_each(positions) };
            for block in positions.chunks_mut(BLOCK) {
                if nodes.translate(self, block)?.is_none() {
                    self.translate_each(block)?;
                }
            }
        }
        Ok(())
    }

    /// Translates positions one by one.
    fn translate_each(&self, positions: &mut [u64]) -> Result<(), Error> {
        for position in positions {
            *position = self.translate(*position)?;
        }
        Ok(())
    }

    /// Translates positions that ascend and are inside the list.
    fn translate_ascending(&self, mut positions: &mut [u64]) {
        let (granule, offset) = (self.granule(), self.offset());
        let mut translate = |node: Node<'_>, end: u64| {
            // The positions in this node.
            let count = if end == u64::MAX {
                positions.len()
            } else {
                let end = granule.to_bytes(end) - offset.min(granule.to_bytes(end));
                ascending_below(positions, end)
            };
            let count = count.min(positions.len());
            let (here, rest) = core::mem::take(&mut positions).split_at_mut(count);
            positions = rest;
            translate_ascending_in(&node, granule, offset, here);
        };
        let mut last: Option<Node<'_>> = None;
        self.chain().for_each_node(|node| {
            if let Some(last) = last.replace(node) {
                translate(last, node.first_page);
            }
        });
        if let Some(last) = last {
            translate(last, u64::MAX);
        }
    }
}

/// Returns true if all these positions ascend.
///
/// # Errors
///
/// [`Error::Position`] with the first that is not below `length`.
pub(crate) fn ascend_in(positions: &[u64], length: u64) -> Result<bool, Error> {
    let (highest, is_sorted) = look(positions);
    if highest >= length && !positions.is_empty() {
        let position = positions.iter().copied().find(|&position| position >= length);
        return Err(Error::Position { position: position.unwrap_or(highest), length });
    }
    Ok(is_sorted)
}

/// How many of these ascending positions are below `end`. O(log count).
pub(crate) fn ascending_below(positions: &[u64], end: u64) -> usize {
    let mut most = 1;
    while positions.get(most).is_some_and(|&position| position < end) {
        most *= 2;
    }
    let close = &positions[..positions.len().min(most + 1)];
    close.partition_point(|&position| position < end)
}

wide! {
    /// The highest position, and true if all ascend.
    fn look(positions: &[u64]) -> (u64, bool) {
        let highest = positions.iter().fold(0, |highest, &position| position.max(highest));
        let next = positions.get(1..).unwrap_or_default();
        let falls = positions.iter().zip(next).fold(0, |falls, (one, next)| falls | u64::from(one > next));
        (highest, falls == 0)
    }
}

/// The nodes of a list, and positions dealt out to them.
struct Nodes {
    /// The first page of each node.
    starts: Vec<u64>,
    /// The node of the first page of each stretch of `1 << lg2` pages, and of what follows the last.
    stretches: Vec<u32>,
    lg2: u32,
    /// For each node, where its positions begin; while they are dealt out, where the next goes.
    places: Vec<usize>,
    /// The node of each position.
    found: Vec<u32>,
    /// The positions in the order of their nodes, and where each came from.
    dealt: Vec<(u64, usize)>,
}

impl Nodes {
    /// Room for blocks of `count` positions; `None` if there is no memory.
    fn new(phyr: &Phyr, count: usize) -> Option<Self> {
        /// Stretches of pages for each node, about.
        const EACH: u64 = 4;

        let chain = phyr.chain();
        let nr_pages = chain.nr_pages();
        let mut starts = Vec::new();
        let mut is_short = false;
        chain.for_each_node(|node| {
            is_short |= starts.try_reserve(1).is_err();
            if !is_short {
                starts.push(node.first_page);
            }
        });
        let nr_nodes = u32::try_from(starts.len()).ok().filter(|_| !is_short)?;
        let lg2 = nr_pages.checked_div(EACH * u64::from(nr_nodes))?.max(1).ilog2();
        let nr_stretches = (nr_pages >> lg2) + 2;
        let mut stretches = room(usize::try_from(nr_stretches).ok()?)?;
        let mut node = 0;
        for stretch in 0..nr_stretches {
            while starts.get(node as usize + 1).is_some_and(|&start| start <= stretch << lg2) {
                node += 1;
            }
            stretches.push(node);
        }
        let places = room(starts.len() + 1)?;
        let (found, mut dealt) = (room(count)?, room(count)?);
        dealt.resize(count, (0, 0));
        Some(Self { starts, stretches, lg2, places, found, dealt })
    }

    /// The node that holds a page; `None` if the list has no such page.
    #[inline(always)]
    fn find(&self, page: u64) -> Option<u32> {
        let stretch = usize::try_from(page >> self.lg2).ok()?;
        let &[first, last] = self.stretches.get(stretch..)?.first_chunk()?;
        if first == last {
            return Some(first);
        }
        let between = self.starts.get(first as usize + 1..=last as usize)?;
        // As many as there are nodes at most, whose numbers fit.
        Some(first + u32::try_from(between.partition_point(|&start| start <= page)).ok()?)
    }

    /// Translates positions inside the list, no more than there is room for. Returns `None`, and
    /// changes none, if one is not inside or there are more.
    ///
    /// # Errors
    ///
    /// [`Error::Position`] if a position has no place any more, which only a mistake in phyr could
    /// make.
    fn translate(&mut self, phyr: &Phyr, block: &mut [u64]) -> Result<Option<()>, Error> {
        let dealt = self.deal(phyr, block);
        debug_assert!(dealt.is_some(), "{} positions, {} nodes", block.len(), self.starts.len());
        if dealt.is_none() {
            return Ok(None);
        }
        self.translate_dealt(phyr, block).map(Some)
    }

    /// Deals out the positions of a block to the nodes.
    #[inline(always)]
    fn deal(&mut self, phyr: &Phyr, block: &[u64]) -> Option<()> {
        let (granule, offset) = (phyr.granule(), phyr.offset());
        self.places.clear();
        self.places.resize(self.starts.len() + 1, 0);
        self.found.clear();
        for &position in block {
            let node = self.find(granule.floor(offset + position))?;
            self.found.push(node);
            *self.places.get_mut(node as usize + 1)? += 1;
        }
        let mut before = 0;
        for place in &mut self.places {
            before += *place;
            *place = before;
        }
        for (at, (&position, &node)) in block.iter().zip(&self.found).enumerate() {
            let place = self.places.get_mut(node as usize)?;
            *self.dealt.get_mut(*place)? = (position, at);
            *place += 1;
        }
        Some(())
    }

    /// Translates the positions that were dealt out, and writes the addresses to their block.
    #[inline(always)]
    fn translate_dealt(&mut self, phyr: &Phyr, block: &mut [u64]) -> Result<(), Error> {
        let (granule, offset, length) = (phyr.granule(), phyr.offset(), block.len());
        // Now each place is where the positions of its node end.
        let (mut rest, mut begin, mut ends) = (&mut *self.dealt, 0, self.places.iter());
        let mut lost = None;
        phyr.chain().for_each_node(|node| {
            let end = ends.next().copied().unwrap_or(begin);
            // Each end is that of all positions dealt so far, for which there was room.
            let left = rest.len();
            let here = take_mut(&mut rest, end - begin);
            debug_assert!(here.is_some(), "positions {begin} to {end}, {left} are left");
            let here = here.unwrap_or_default();
            begin += here.len();
            if here.is_empty() {
                return;
            }
            translate_in(&node, granule, offset, here.iter_mut().map(|(position, _)| position));
            for &mut (paddr, at) in here {
                // It is the number of a position of this block.
                debug_assert!(at < length, "position {at} of {length}");
                match block.get_mut(at) {
                    Some(position) => *position = paddr,
                    None => lost = Some(at),
                }
            }
        });
        debug_assert_eq!(begin, length, "positions translated");
        // No position may pass for an address.
        if begin != length {
            lost = Some(begin);
        }
        match lost {
            Some(at) => Err(Error::Position { position: at as u64, length: length as u64 }),
            None => Ok(()),
        }
    }
}

/// An empty vector with room for `count` items, if there is memory.
fn room<T>(count: usize) -> Option<Vec<T>> {
    let mut items = Vec::new();
    items.try_reserve_exact(count).ok()?;
    Some(items)
}

/// Translates positions that ascend and are inside the list.
struct Translator<'a> {
    phyr: &'a Phyr,
    place: Located<'a>,
    /// The chunk there: its page number, and the page of the chain where it ends; 0 before the first.
    pfn: u64,
    end: u64,
}

impl<'a> Translator<'a> {
    fn new(phyr: &'a Phyr) -> Self {
        Self { phyr, place: Located::default(), pfn: 0, end: 0 }
    }

    #[inline]
    fn translate(&mut self, position: u64) -> u64 {
        let granule = self.phyr.granule();
        let at = self.phyr.offset() + position;
        let page = granule.floor(at);
        if page >= self.end {
            let run = self.phyr.chain().advance(&mut self.place, page);
            (self.pfn, self.end) = (run.pfn, self.place.page + run.nr_pages);
        }
        granule.to_bytes(self.pfn + (page - self.place.page)) | at & granule.mask()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::list::builder::Builder;

    /// A mistake that only phyr could make: where the positions of the last nodes end is lost.
    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "positions translated"))]
    fn a_position_that_is_lost_is_no_address() {
        let pfns: Vec<u64> = (0..4000).map(|page| page * 7 % 4001 + 1).collect();
        let mut builder = Builder::new();
        builder.extend_pfns(&pfns).unwrap();
        let phyr = builder.finish();
        let mut positions: Vec<u64> = (0..4000).rev().map(|page| page << 12).collect();
        let mut nodes = Nodes::new(&phyr, positions.len()).unwrap();
        nodes.deal(&phyr, &positions).unwrap();
        assert!(nodes.places.len() > 2);
        nodes.places.truncate(1);
        let found = nodes.translate_dealt(&phyr, &mut positions).unwrap_err();
        assert!(matches!(found, Error::Position { position: 1.., length: 4000 }), "{found}");
    }
}
