//! The plan of a mapping, and the tables of a list: every byte once, in order, where it belongs.

use phyr::desc::{Fill, Limits, Place, Prp, Segments, Table, from_phys_vecs, from_prp};
use std::collections::BTreeMap;

use phyr::{Alignment, DmaBackend, IommuDomain, Linear, PageSizes, Phyr, Plan, Prot};

use crate::source::{Said, Source};

/// Segments and calls that are walked.
const MOST: usize = 1 << 12;

/// Makes a list of the bytes; plans, cuts and describes it.
pub fn plan(bytes: &[u8]) {
    let mut source = Source(bytes);
    let phyr = source.list();
    let (iova, bitmap) = (source.edge(), source.number() | 1 << (source.byte() % 48));
    if let Some(sizes) = PageSizes::new(bitmap).said() {
        mapped(&phyr, iova, sizes);
        let Alignment { align, residue } = phyr.alignment(sizes);
        assert!(align.is_power_of_two() && residue < align);
        mapped(&phyr, residue, sizes);
    }
    segments(&phyr, &mut source);
    prp(&phyr);
    linear(&phyr, iova, bitmap, source.byte());
}

fn mapped(phyr: &Phyr, iova: u64, sizes: PageSizes) {
    let Some(plan) = Plan::new(phyr, iova, sizes).said() else { return };
    let (granule, mut next) = (sizes.granule(), iova & !(sizes.granule() - 1));
    let mut position = 0_u64;
    for call in plan.clone().take(MOST) {
        assert_eq!(call.iova, next);
        assert!(sizes.bitmap() & call.pgsize == call.pgsize && call.pgcount > 0);
        assert_eq!((call.iova | call.paddr) & (call.pgsize - 1), 0);
        // The first byte of the list that the call maps is where the list has it.
        let at = position.max(call.iova.saturating_sub(iova));
        let into = iova.wrapping_add(at).wrapping_sub(call.iova);
        assert_eq!(phyr.translate(at), Ok(call.paddr + into));
        position = at;
        next = next.wrapping_add(call.length());
    }
    if !phyr.is_empty() && plan.clone().take(MOST).count() < MOST {
        let whole = iova.wrapping_sub(next).wrapping_neg();
        assert!(whole >= phyr.length() && whole - phyr.length() < granule);
        let unmapped = plan.clone().unmaps().map(|call| call.pgsize * call.pgcount).sum::<u64>();
        assert_eq!(unmapped, plan.map(|call| call.length()).sum::<u64>());
    }
}

/// A domain that takes some calls and refuses the next.
struct Domain {
    sizes: PageSizes,
    calls: BTreeMap<(u64, u64), u64>,
    left: u8,
}

impl IommuDomain for Domain {
    type Error = u64;

    fn page_sizes(&self) -> PageSizes {
        self.sizes
    }

    fn map_pages(&mut self, iova: u64, _: u64, size: u64, count: u64, _: Prot) -> Result<(), u64> {
        self.left = self.left.checked_sub(1).ok_or(iova)?;
        for page in 0..count.min(MOST as u64) {
            assert_eq!(self.calls.insert((iova + page * size, size), count), None);
        }
        Ok(())
    }

    fn unmap_pages(&mut self, iova: u64, size: u64, count: u64) -> Result<(), u64> {
        for page in 0..count.min(MOST as u64) {
            self.calls.remove(&(iova + page * size, size)).ok_or(iova)?;
        }
        Ok(())
    }

    fn iova_to_phys(&self, _: u64) -> Option<u64> {
        None
    }
}

/// Mapped by a domain that may refuse a call: all of it, or nothing.
fn linear(phyr: &Phyr, iova: u64, bitmap: u64, left: u8) {
    let Some(sizes) = PageSizes::new(bitmap).said() else { return };
    let mut domain = Domain { sizes, calls: BTreeMap::new(), left };
    // Calls that are longer are remembered in part.
    let is_short = |plan: &Plan<'_>| plan.clone().all(|call| call.pgcount < 64);
    if !Plan::new(phyr, iova, sizes).is_ok_and(|plan| is_short(&plan)) {
        return;
    }
    match Linear::new(&mut domain, iova).map(phyr, Prot::READ | Prot::WRITE) {
        Ok(dma) => {
            assert_eq!(dma.length(), phyr.length());
            assert!(phyr.is_empty() || dma.translate(0) == Ok(iova));
            assert!(domain.calls.is_empty() == phyr.is_empty());
            Linear::new(&mut domain, iova).unmap(phyr, &dma).expect("all was mapped");
            assert!(Linear::new(&mut domain, iova).unmap(phyr, &dma).is_err() || phyr.is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert!(domain.calls.is_empty(), "nothing is left");
}

fn segments(phyr: &Phyr, source: &mut Source<'_>) {
    let limits = Limits {
        max_segment_size: source.edge(),
        seg_boundary_mask: source.edge() | u64::MAX >> (source.byte() & 63),
        virt_boundary_mask: source.edge(),
    };
    let Some(segments) = Segments::new(phyr, limits).said() else { return };
    let mut position = 0;
    for segment in segments.clone().take(6 * MOST) {
        assert!(segment.length > 0 && segment.length <= limits.max_segment_size);
        assert_eq!(
            segment.paddr & !limits.seg_boundary_mask,
            segment.last() & !limits.seg_boundary_mask
        );
        assert_eq!(phyr.translate(position), Ok(segment.paddr));
        position += segment.length;
    }
    let table = Table::phys_vecs(phyr, limits).expect("limits that were taken");
    // Where limits cut at no regular distance, counting is a walk over all segments.
    if table.least() > MOST as u64 {
        return;
    }
    let count = table.count();
    assert_eq!(count.records, segments.count() as u64);
    assert_eq!(position, phyr.length());
    // Written in pieces of any size, it is one table.
    let mut bytes = vec![0; count.records as usize * 16];
    let (mut place, mut at) = (Place::default(), 0);
    while at < bytes.len() {
        let end = bytes.len().min(at + 16 + usize::from(source.byte()) * 16);
        at += table.fill(&mut place, &mut bytes[at..end]);
    }
    assert!(table.is_done(&place));
    assert_eq!(from_phys_vecs(&bytes, phyr.granule()).as_ref(), Ok(phyr));
}

/// PRP lists, read back by the reader of a controller.
fn prp(phyr: &Phyr) {
    const SIZE: u64 = 4096;
    // List pages one after the other, where no data is.
    const LISTS: u64 = 1 << 60;
    let mut builder = phyr::Builder::new();
    builder.append(LISTS, 64 * SIZE).expect("list pages");
    let lists = builder.finish();
    let Some(prp) = Prp::new(phyr, &lists, SIZE).said() else { return };
    if prp.lists.least() > MOST as u64 {
        return;
    }
    let mut memory = vec![0; 64 * SIZE as usize];
    prp.lists.fill(&mut Place::default(), &mut memory);
    let read = |address: u64, out: &mut [u8]| {
        let at = usize::try_from(address.wrapping_sub(LISTS)).unwrap_or(usize::MAX);
        let from = memory.get(at..).and_then(|from| from.get(..out.len())).ok_or(address)?;
        out.copy_from_slice(from);
        Ok::<(), u64>(())
    };
    let back = from_prp(prp.prp1, prp.prp2, phyr.length(), SIZE, phyr.granule(), read);
    // A list of another granule may be cut where this one is not, so only whole pages have to come back.
    if let Some(back) = back.said() {
        assert_eq!(back.length(), phyr.length());
        assert!(back.chunks().map(|chunk| chunk.paddr).eq(phyr.chunks().map(|chunk| chunk.paddr)));
    }
}
