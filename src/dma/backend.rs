//! Mapping a list for a device: the result is the same list, or a list of one entry.
//!
//! ```text
//! backend      what the device's bus sees            the list of bus addresses
//! Direct       physical addresses                    the same one, shared
//! Linear       a window of an I/O address space      one entry, whatever is underneath
//! ```
//!
//! A bus that adds a constant needs no backend: [`Phyr::shift`] makes the list of bus addresses.

use core::convert::Infallible;
use core::ops::BitOr;

use crate::dma::error::MapError;
use crate::dma::plan::{MapCall, Plan};
use crate::dma::unmaps::UnmapCall;
use crate::error::Error;
use crate::list::builder::Builder;
use crate::list::frozen::Frozen;
use crate::list::phyr::Phyr;
use crate::list::reading::List;
use crate::pgsize::PageSizes;

/// The accesses that a device may make to mapped pages, and the kind of the pages: a set of flags.
///
/// The bits are those of `IOMMU_READ` and so on, include/linux/iommu.h, Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prot(u32);

impl Prot {
    /// The device may read.
    pub const READ: Self = Self(1 << 0);
    /// The device may write.
    pub const WRITE: Self = Self(1 << 1);
    /// Accesses are coherent with the CPU's caches.
    pub const CACHE: Self = Self(1 << 2);
    /// The device must not execute.
    pub const NOEXEC: Self = Self(1 << 3);
    /// The pages are a device's own, not RAM.
    pub const MMIO: Self = Self(1 << 4);

    /// The flags as bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Makes flags from bits. Unknown bits are kept.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns true if all of `flags` are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for Prot {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An I/O address space: a page table and its owner.
pub trait IommuDomain {
    /// Why pages could not be mapped or unmapped.
    type Error;

    /// The page sizes of the table.
    fn page_sizes(&self) -> PageSizes;

    /// Maps `pgcount` pages of `pgsize` bytes at `iova` to those at `paddr`.
    ///
    /// # Errors
    ///
    /// The domain's own error. None of the pages is mapped then.
    fn map_pages(
        &mut self,
        iova: u64,
        paddr: u64,
        pgsize: u64,
        pgcount: u64,
        prot: Prot,
    ) -> Result<(), Self::Error>;

    /// Unmaps `pgcount` pages of `pgsize` bytes at `iova`. Must not allocate.
    ///
    /// # Errors
    ///
    /// The domain's own error if pages of that size are not mapped there; then the domain unmaps
    /// nothing. Pages of this size that were mapped by one call, or by several calls next to each
    /// other, can be unmapped by one call.
    fn unmap_pages(&mut self, iova: u64, pgsize: u64, pgcount: u64) -> Result<(), Self::Error>;

    /// The physical address that `iova` is mapped to.
    fn iova_to_phys(&self, iova: u64) -> Option<u64>;
}

/// How one device's bus sees physical memory.
pub trait DmaBackend<P: List = Phyr> {
    /// Why a list could not be mapped.
    type Error;

    /// Maps `phyr` for the device. Returns the list of bus addresses, byte for byte.
    ///
    /// # Errors
    ///
    /// The backend's own error; nothing is mapped then.
    fn map(&mut self, phyr: &P, prot: Prot) -> Result<P, Self::Error>;

    /// Undoes the [`Self::map`] call that made `dma` from `phyr`. Allocates nothing.
    ///
    /// # Errors
    ///
    /// Only if `dma` was not made from `phyr`.
    fn unmap(&mut self, phyr: &P, dma: &P) -> Result<(), Self::Error>;
}

/// A bus that sees physical addresses: the list is its own mapping. O(1), no allocation.
///
/// # Examples
///
/// ```
/// use phyr::{Builder, Direct, DmaBackend, Prot};
///
/// let mut builder = Builder::new();
/// builder.append(0x7000, 0x1000)?;
/// let phyr = builder.finish();
/// assert_eq!(Direct.map(&phyr, Prot::READ), Ok(phyr));
/// # Ok::<(), phyr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl<P: List> DmaBackend<P> for Direct {
    type Error = Infallible;

    fn map(&mut self, phyr: &P, _prot: Prot) -> Result<P, Infallible> {
        Ok(phyr.clone())
    }

    fn unmap(&mut self, _phyr: &P, _dma: &P) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A bus that sees a window of an I/O address space: one entry, however fragmented the memory is.
///
/// Byte `i` of the list appears at `iova + i`. The owner of the address space chooses the window;
/// [`Phyr::alignment`] recommends a place.
///
/// The contract is that of Python's `phyr.iommu.Paging`, without its allocator. If a map call
/// fails, the calls before it are undone. If an unmap call fails, all other calls are still made.
/// The error names the call.
///
/// A list is unmapped by its own words. So thaw a frozen list whose words others may change
/// ([`Frozen::thaw`]), and map that: else the pages of a changed one may stay mapped.
#[derive(Debug)]
pub struct Linear<'d, D> {
    domain: &'d mut D,
    iova: u64,
}

impl<'d, D: IommuDomain> Linear<'d, D> {
    /// A window of `domain` whose first byte is at `iova`.
    pub fn new(domain: &'d mut D, iova: u64) -> Self {
        Self { domain, iova }
    }

    /// Unmaps all of a list, even if some calls fail. Returns the first failure, or tells that the list
    /// has changed.
    fn unmap_all(&mut self, phyr: &impl List, sizes: PageSizes) -> Result<(), MapError<D::Error>> {
        // The last byte that is unmapped, or the first failure.
        let mut result = Ok(None);
        Plan::checked(phyr, self.iova, sizes).unmaps().for_each(|call| {
            let UnmapCall { iova, pgsize, pgcount } = call;
            let done = self.domain.unmap_pages(iova, pgsize, pgcount);
            if result.is_ok() {
                // No call passes the end of the 64-bit space, and each has a page.
                let last = iova.wrapping_add(pgsize.wrapping_mul(pgcount).wrapping_sub(1));
                result = done.map(|()| Some(last)).map_err(|error| MapError::Unmap { call, error });
            }
        });
        // The first page may start before the window.
        let unmapped = result?.map_or(0, |last| last.saturating_sub(self.iova).saturating_add(1));
        let length = phyr.length();
        if unmapped < length { Err(MapError::Changed { unmapped, length }) } else { Ok(()) }
    }
}

impl<D: IommuDomain, P: List> DmaBackend<P> for Linear<'_, D> {
    type Error = MapError<D::Error>;

    fn map(&mut self, phyr: &P, prot: Prot) -> Result<P, Self::Error> {
        let sizes = self.domain.page_sizes();
        let dma = window_at(phyr, self.iova).map_err(MapError::List)?;
        let plan = Plan::new(phyr, self.iova, sizes).map_err(MapError::List)?;
        // Walks whole nodes at a time. After a failure the walk goes on, but does nothing.
        let domain = &mut *self.domain;
        let failed = plan.fold(None, |failed, call| {
            if failed.is_some() {
                return failed;
            }
            let MapCall { iova, paddr, pgsize, pgcount } = call;
            domain.map_pages(iova, paddr, pgsize, pgcount, prot).err().map(|error| (call, error))
        });
        if let Some((call, error)) = failed {
            // Undo the calls before this one: they have mapped the window up to the start of this
            // call.
            let done = call.iova.saturating_sub(self.iova).min(phyr.length());
            let mapped = phyr.slice(0, done).map_err(MapError::List)?;
            let undo = match self.unmap_all(&mapped, sizes) {
                Ok(()) => None,
                Err(MapError::Unmap { call, error }) => Some((call, error)),
                Err(changed) => return Err(changed),
            };
            return Err(MapError::Map { call, error, undo });
        }
        Ok(P::kept(dma))
    }

    fn unmap(&mut self, phyr: &P, _dma: &P) -> Result<(), Self::Error> {
        let sizes = self.domain.page_sizes();
        Plan::check(phyr, self.iova, sizes).map_err(MapError::List)?;
        self.unmap_all(phyr, sizes)
    }
}

impl Phyr {
    /// The list of a window at `iova` for this list: one entry of the same length and kind, with
    /// the same offset inside the granule. No allocation.
    ///
    /// # Errors
    ///
    /// [`Error::Skew`] if `iova` and the list's first byte have different offsets inside the
    /// granule; [`Error::Window`] or [`Error::Reach`] if there is no such window.
    pub fn window_at(&self, iova: u64) -> Result<Self, Error> {
        window_at(self, iova)
    }

    /// Checks that whole pages of `sizes` hold no byte beyond the list: the first byte of the list
    /// starts a smallest page, and the last byte ends one. O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::Exposes`] if a device could reach more than the list.
    pub fn exposes_nothing(&self, sizes: PageSizes) -> Result<(), Error> {
        exposes_nothing(self, sizes)
    }
}

impl Frozen {
    /// As [`Phyr::window_at`].
    ///
    /// # Errors
    ///
    /// As for [`Phyr::window_at`].
    pub fn window_at(&self, iova: u64) -> Result<Phyr, Error> {
        window_at(self, iova)
    }

    /// As [`Phyr::exposes_nothing`].
    ///
    /// # Errors
    ///
    /// [`Error::Exposes`] if a device could reach more than the list.
    pub fn exposes_nothing(&self, sizes: PageSizes) -> Result<(), Error> {
        exposes_nothing(self, sizes)
    }
}

fn window_at(list: &impl List, iova: u64) -> Result<Phyr, Error> {
    let granule = list.granule();
    let mut builder = Builder::with(granule, list.kind());
    if let Ok(paddr) = list.translate(0) {
        if (iova ^ paddr) & granule.mask() != 0 {
            return Err(Error::Skew { iova, paddr, align: granule.bytes() });
        }
        builder.append(iova, list.length()).map_err(|error| match error {
            Error::Wraps { paddr: iova, length } => Error::Window { iova, length },
            other => other,
        })?;
    }
    builder.try_finish()
}

fn exposes_nothing(phyr: &impl List, sizes: PageSizes) -> Result<(), Error> {
    let (align, low) = (sizes.granule(), sizes.granule() - 1);
    let ends = phyr.length().checked_sub(1).map(|last| (phyr.translate(0), phyr.translate(last)));
    let Some((Ok(paddr), Ok(last))) = ends else { return Ok(()) };
    let (before, behind) = (paddr & low, !last & low);
    if before | behind == 0 {
        return Ok(());
    }
    Err(Error::Exposes { paddr, last, align, before, behind })
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::collections::BTreeMap;
    use alloc::format;
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::granule::Granule;
    use crate::kind::Kind;

    /// A page table as a map from small page to small page.
    #[derive(Default)]
    struct SmallPages {
        pages: BTreeMap<u64, u64>,
        /// Calls until one fails.
        budget: Option<usize>,
        stuck: bool,
        /// Words that are lost when a call fails.
        words: Option<Words>,
    }

    impl IommuDomain for SmallPages {
        type Error = &'static str;

        fn page_sizes(&self) -> PageSizes {
            PageSizes::new(1 << 12 | 1 << 14).unwrap()
        }

        fn map_pages(
            &mut self,
            iova: u64,
            paddr: u64,
            pgsize: u64,
            pgcount: u64,
            _prot: Prot,
        ) -> Result<(), &'static str> {
            match &mut self.budget {
                Some(0) => {
                    self.words.iter().for_each(Words::lose);
                    return Err("no table page");
                }
                Some(budget) => *budget -= 1,
                None => (),
            }
            for at in (0..pgsize * pgcount).step_by(4096) {
                assert_eq!(self.pages.insert(iova + at, paddr + at), None);
            }
            Ok(())
        }

        fn unmap_pages(
            &mut self,
            iova: u64,
            pgsize: u64,
            pgcount: u64,
        ) -> Result<(), &'static str> {
            if self.stuck {
                return Err("stuck");
            }
            for at in (0..pgsize * pgcount).step_by(4096) {
                self.pages.remove(&(iova + at)).ok_or("not mapped")?;
            }
            Ok(())
        }

        fn iova_to_phys(&self, iova: u64) -> Option<u64> {
            self.pages.get(&(iova & !4095)).map(|paddr| paddr | iova & 4095)
        }
    }

    fn list() -> Phyr {
        let mut builder = Builder::new();
        for (paddr, length) in
            [(0x7800, 0x800), (0x1_1000, 0x9000), (0x5000, 0x1000), (0x3000, 0x123)]
        {
            builder.append(paddr, length).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn direct_is_the_same_chain() {
        let phyr = list();
        let dma = Direct.map(&phyr, Prot::READ).unwrap();
        assert!(dma.chain().is_same(phyr.chain()));
        assert_eq!(Direct.unmap(&phyr, &dma), Ok(()));
    }

    #[test]
    fn linear_is_one_entry_and_every_byte_is_where_it_should_be() {
        let (phyr, mut table) = (list(), SmallPages::default());
        let dma = Linear::new(&mut table, 0x10_0800).map(&phyr, Prot::READ | Prot::WRITE).unwrap();
        assert_eq!((dma.nr_chunks(), dma.length()), (1, phyr.length()));
        for position in 0..phyr.length() {
            let iova = dma.translate(position).unwrap();
            assert_eq!(table.iova_to_phys(iova), phyr.translate(position).ok());
        }
        Linear::new(&mut table, 0x10_0800).unmap(&phyr, &dma).unwrap();
        assert!(table.pages.is_empty());
    }

    #[test]
    fn whichever_call_fails_nothing_stays_mapped() {
        let phyr = list();
        let calls = Plan::new(&phyr, 0x10_0800, SmallPages::default().page_sizes())
            .unwrap()
            .collect::<Vec<_>>();
        assert!(calls.len() > 3);
        for (k, &call) in calls.iter().enumerate() {
            let mut table = SmallPages { budget: Some(k), ..SmallPages::default() };
            let error = Linear::new(&mut table, 0x10_0800).map(&phyr, Prot::READ).unwrap_err();
            assert_eq!(error, MapError::Map { call, error: "no table page", undo: None });
            assert!(table.pages.is_empty());
        }
    }

    #[test]
    fn a_domain_that_breaks_the_rules_is_reported() {
        let phyr = list();
        let mut table = SmallPages { budget: Some(2), stuck: true, ..SmallPages::default() };
        let error = Linear::new(&mut table, 0x10_0800).map(&phyr, Prot::READ).unwrap_err();
        assert!(matches!(error, MapError::Map { undo: Some((_, "stuck")), .. }));
        assert!(format!("{error}").contains("undoing"));
        let error = Linear::new(&mut table, 0x10_0800).unmap(&phyr, &phyr).unwrap_err();
        assert!(matches!(error, MapError::Unmap { error: "stuck", .. }));
        assert!(format!("{error}").contains("unmapping"));
    }

    #[test]
    fn a_window_keeps_the_place_inside_the_granule_of_the_list() {
        let mut builder = Builder::with(Granule::new(1 << 16).unwrap(), Kind::Mmio { provider: 2 });
        builder.append(0x1_2345, 0x10).unwrap();
        let phyr = builder.finish();
        let dma = phyr.window_at(0x7_2345).unwrap();
        assert_eq!((dma.kind(), dma.granule()), (phyr.kind(), phyr.granule()));
        assert_eq!(
            phyr.window_at(0x7_3345),
            Err(Error::Skew { iova: 0x7_3345, paddr: 0x1_2345, align: 1 << 16 })
        );
        assert!(phyr.window_at(!0xffff | 0x2345).is_ok());
        assert_eq!(Phyr::default().window_at(77), Ok(Phyr::default()));
    }

    #[test]
    fn flags_are_those_of_the_kernel() {
        let prot = Prot::READ | Prot::WRITE | Prot::MMIO;
        assert_eq!((prot.bits(), Prot::CACHE.bits(), Prot::NOEXEC.bits()), (19, 4, 8));
        assert!(prot.contains(Prot::MMIO) && !prot.contains(Prot::CACHE));
        assert_eq!(Prot::from_bits(19), prot);
    }

    /// Words that others may write to.
    #[derive(Clone, Debug)]
    struct Words(Arc<[AtomicU64]>);

    impl AsRef<[AtomicU64]> for Words {
        fn as_ref(&self) -> &[AtomicU64] {
            &self.0
        }
    }

    impl Words {
        fn lose(&self) {
            self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
    }

    #[test]
    fn a_list_whose_words_changed_is_not_unmapped_in_silence() {
        let mut builder = Builder::new();
        let pfns: Vec<u64> = (0..300).map(|page| page * 7919 % 4001).collect();
        builder.extend_pfns(&pfns).unwrap();
        let bytes = builder.finish().freeze().to_bytes().unwrap();
        let word = |bytes: &[u8]| AtomicU64::new(u64::from_ne_bytes(bytes.try_into().unwrap()));
        for (budget, mapped) in [(None, 300), (Some(200), 200)] {
            let words = Words(bytes.chunks_exact(8).map(word).collect());
            let frozen = Frozen::from_shared(Box::new(words.clone())).unwrap();
            let mut domain =
                SmallPages { budget, words: Some(words.clone()), ..SmallPages::default() };
            let mut backend = Linear::new(&mut domain, 1 << 20);
            let done = backend.map(&frozen, Prot::READ);
            words.lose();
            let error = done.and_then(|dma| backend.unmap(&frozen, &dma)).unwrap_err();
            let MapError::Changed { unmapped, length } = error else { panic!("{error}") };
            assert!(unmapped < length && length == mapped << 12, "{error}");
            assert_eq!(domain.pages.len() as u64, mapped - unmapped.div_ceil(4096));
        }
    }
}
