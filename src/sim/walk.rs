//! Translation as the hardware does it: IOTLB, walk, permissions, accessed and dirty bits.

use super::bus::{Access, Bus, Reason, Target};
use super::domain::{MOST_LEVELS, SimDomain};
use super::iotlb::Cached;
use super::memory::Memory;
use super::table::{entry, is_memory};
use super::vtd::{Pte, index, shift};

impl SimDomain {
    /// Translates one access, and sets the bits of the entries that it used; see [`Bus::resolve`].
    fn translate(
        &mut self,
        memory: &mut Memory,
        iova: u64,
        access: Access,
    ) -> Result<Cached, Reason> {
        if iova >> self.width() != 0 {
            return Err(Reason::BeyondWidth);
        }
        let write = access == Access::Write;
        if let Some(cached) = self.iotlb.lookup(iova) {
            let permitted = if write { cached.writes } else { cached.reads };
            if permitted && (cached.dirty || !write) {
                self.counters.iotlb_hits += 1;
                return Ok(cached);
            }
        }
        self.counters.iotlb_misses += 1;
        let cached = self.walk(memory, iova, access)?;
        self.iotlb.insert(cached);
        Ok(cached)
    }

    fn walk(&self, memory: &mut Memory, iova: u64, access: Access) -> Result<Cached, Reason> {
        let write = access == Access::Write;
        let mut path = [(0, 0, Pte::EMPTY); MOST_LEVELS as usize];
        let (mut reads, mut writes) = (true, true);
        let (mut table, mut level) = (self.root, self.levels);
        for used in 1.. {
            let at = index(iova, level);
            let pte = entry(memory, table, at);
            reads &= pte.reads();
            writes &= pte.writes();
            if !(if write { writes } else { reads }) {
                return Err(if write { Reason::NoWrite } else { Reason::NoRead });
            }
            if pte.has_reserved(level, self.sizes.bitmap()) {
                return Err(Reason::ReservedBits);
            }
            path[used - 1] = (table, at, pte);
            if pte.is_leaf(level) {
                for (&(table, at, pte), number) in path[..used].iter().zip(1..) {
                    let marked = pte.used(write && number == used);
                    // The entry was read from this page, so the page is present.
                    if marked != pte {
                        if let Some(page) = memory.present_mut(table) {
                            page.words_mut()[at] = marked.to_bytes();
                        }
                    }
                }
                let (page, paddr) = (iova >> shift(level), pte.leaf_address(level));
                let dirty = write || pte.dirty();
                return Ok(Cached { page, level, paddr, reads, writes, dirty });
            }
            if !is_memory(memory, pte.address()) {
                return Err(Reason::TablePointer);
            }
            (table, level) = (pte.address(), level - 1);
        }
        Err(Reason::TablePointer)
    }
}

impl Bus for SimDomain {
    fn resolve(
        &mut self,
        memory: &mut Memory,
        dma_addr: u64,
        access: Access,
    ) -> Result<Target, Reason> {
        match self.translate(memory, dma_addr, access) {
            Ok(cached) => {
                let below = (1 << shift(cached.level)) - 1;
                let into = dma_addr & below;
                Ok(Target { paddr: cached.paddr + into, more: below - into })
            }
            Err(reason) => {
                self.counters.faults += 1;
                Err(reason)
            }
        }
    }
}
