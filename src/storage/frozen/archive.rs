//! An archive in memory: where its sections are, and the searches.

use alloc::boxed::Box;
use core::fmt;
#[cfg(target_has_atomic = "64")]
use core::sync::atomic::AtomicU64;

use super::bits::Words;
use super::block::{BLOCK, Block, ENTRY, SHORT_ENTRY, block_runs};
use super::header::HEADER;
use super::unpack::Unpacked;
use crate::granule::Granule;
use crate::storage::entry::Run;
use crate::storage::shared::Shared;
use crate::wide::wide;

/// Memory that is not the archive's own, a mapped file say, and may change under it.
///
/// The words are atomic: each read yields one value, whatever others write meanwhile.
#[cfg(target_has_atomic = "64")]
pub trait SharedWords: AsRef<[AtomicU64]> + fmt::Debug + Send + Sync {}

#[cfg(target_has_atomic = "64")]
impl<T: AsRef<[AtomicU64]> + fmt::Debug + Send + Sync> SharedWords for T {}

/// The words of an archive, each in the byte order of the file.
#[derive(Debug)]
pub(crate) enum Store {
    Owned(Box<[u64]>),
    #[cfg(target_has_atomic = "64")]
    Shared(Box<dyn SharedWords>),
}

/// Evaluates an expression for the words of a store, whichever they are.
macro_rules! with_words {
    ($store:expr, $words:ident => $value:expr) => {
        match $store {
            Store::Owned(words) => {
                let $words = &**words;
                $value
            }
            #[cfg(target_has_atomic = "64")]
            Store::Shared(owner) => {
                let $words = (**owner).as_ref();
                $value
            }
        }
    };
}
pub(super) use with_words;

/// Where the sections of an archive are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sections {
    pub(crate) nr_blocks: usize,
    /// A bucket has `1 << bucket_lg2` pages; there are no more buckets than blocks.
    pub(crate) bucket_lg2: u32,
    pub(crate) nr_buckets: usize,
    /// Words where the index and the data start.
    pub(crate) index: usize,
    pub(crate) data: usize,
    /// True if all runs may have one size, so that each block is a bucket.
    pub(crate) is_even: bool,
}

impl Sections {
    /// The sections of an archive of so many runs, whose index entries have `entry` words; `None` if
    /// there are none, or more than an archive can number.
    pub(crate) fn new(nr_pages: u64, nr_chunks: u64, entry: usize) -> Option<Self> {
        if nr_chunks == 0 || nr_chunks > nr_pages {
            return None;
        }
        let blocks = u32::try_from(nr_chunks.div_ceil(block_runs(entry) as u64)).ok()?;
        let last_page = nr_pages - 1;
        let bucket_lg2 = (0..64).find(|lg2| last_page >> lg2 < u64::from(blocks))?;
        let nr_blocks = usize::try_from(blocks).ok()?;
        let nr_buckets = usize::try_from(last_page >> bucket_lg2).ok()? + 1;
        let index = HEADER.checked_add((nr_buckets + 1).div_ceil(2))?;
        let data = nr_blocks.checked_add(1)?.checked_mul(entry)?.checked_add(index)?;
        let is_even = nr_pages % nr_chunks == 0 && (nr_pages / nr_chunks).is_power_of_two();
        Some(Self { nr_blocks, bucket_lg2, nr_buckets, index, data, is_even })
    }
}

/// Runs, immutable, in their frozen form, with an index of `WORDS` words an entry: [`ENTRY`] in a file, or
/// [`SHORT_ENTRY`] in memory alone.
#[derive(Debug)]
pub(crate) struct Archive<const WORDS: usize = ENTRY> {
    pub(super) store: Store,
    pub(super) sections: Sections,
    pub(super) nr_pages: u64,
    pub(super) nr_chunks: u64,
    pub(super) granule: Granule,
}

/// A run in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    /// Runs before it.
    pub(crate) number: u64,
    /// Pages before it.
    pub(crate) page: u64,
    pub(crate) run: Run,
}

/// A block of runs, unpacked if it can be.
#[derive(Clone, Debug)]
pub(crate) struct Decoded {
    /// Number of the first run, and how many runs there are. At first there are none.
    pub(crate) number: u64,
    pub(crate) count: usize,
    first_page: u64,
    granule: Granule,
    /// True if the runs are here, and a list can hold each. If not, [`Archive::run`] searches them.
    pub(crate) is_plain: bool,
    unpacked: Unpacked,
}

impl Decoded {
    pub(crate) fn new(granule: Granule) -> Self {
        Self {
            number: 0,
            count: 0,
            first_page: 0,
            granule,
            is_plain: false,
            unpacked: Unpacked::EMPTY,
        }
    }

    /// Address and length in bytes of run `index` of a plain block.
    #[inline(always)]
    pub(crate) fn bytes(&self, index: u64) -> (u64, u64) {
        debug_assert!(self.is_plain && index < BLOCK as u64, "run {index} of a block");
        #[expect(clippy::cast_possible_truncation, reason = "less than a block")]
        let index = index as usize % BLOCK;
        let Unpacked { lengths, pfns, .. } = &self.unpacked;
        let length = u64::from(lengths[index]) << self.bytes_lg2();
        (self.granule.to_bytes(pfns[index]), length)
    }

    /// Log2 of the bytes of a unit. A list holds the bytes of each run, so it is less than 64.
    #[inline(always)]
    fn bytes_lg2(&self) -> u32 {
        (self.unpacked.unit_lg2 + self.granule.lg2()) & 63
    }

    /// Pages before run `from` of the block, and of the runs from it on and before `to`; `None` if
    /// there are none, or the block is not plain.
    #[inline(always)]
    pub(crate) fn pages(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        if !self.is_plain || from >= to {
            return None;
        }
        let Unpacked { starts, unit_lg2, .. } = &self.unpacked;
        let start = |index: u64| {
            let unit = starts.get(usize::try_from(index).ok()?)?;
            Some(u64::from(*unit) << unit_lg2)
        };
        let (first, end) = (start(from)?, start(to)?);
        Some((self.first_page.wrapping_add(first), end.wrapping_sub(first)))
    }

    /// Page numbers and units of the runs from `from` on and before `to`, of a plain block;
    /// none if it cannot have so many.
    #[inline(always)]
    fn fields(&self, from: usize, to: usize) -> impl Iterator<Item = (&u64, &u32)> {
        // Whatever the words of a file say: both are from `count`, which is at most so much.
        debug_assert!(self.is_plain && from <= to && to <= BLOCK, "runs {from} to {to} of a block");
        let Unpacked { lengths, pfns, .. } = &self.unpacked;
        let pfns = pfns.get(from..to).unwrap_or_default();
        pfns.iter().zip(lengths.get(from..to).unwrap_or_default())
    }

    /// The runs from `from` on, and before `to`, of a plain block.
    #[inline(always)]
    pub(crate) fn runs(&self, from: usize, to: usize) -> impl Iterator<Item = Run> {
        let lg2 = self.unpacked.unit_lg2 & 63;
        self.fields(from, to)
            .map(move |(&pfn, &units)| Run { pfn, nr_pages: u64::from(units) << lg2 })
    }

    /// As [`Self::runs`], address and length in bytes of each.
    #[inline(always)]
    pub(crate) fn all_bytes(&self, from: usize, to: usize) -> impl Iterator<Item = (u64, u64)> {
        let (granule, lg2) = (self.granule, self.bytes_lg2());
        let fields = self.fields(from, to);
        fields.map(move |(&pfn, &units)| (granule.to_bytes(pfn), u64::from(units) << lg2))
    }
}

/// Returns the run if a list can hold it, or else some run that a list can hold.
#[inline(always)]
pub(crate) fn sound(run: Run, granule: Granule) -> Run {
    let pfn = run.pfn.min(granule.reach() - 1);
    let most = (granule.reach() - pfn).min(granule.most());
    Run { pfn, nr_pages: run.nr_pages.min(most).max(1) }
}

impl<const WORDS: usize> Archive<WORDS> {
    pub(crate) fn nr_chunks(&self) -> u64 {
        self.nr_chunks
    }

    /// Bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<u64>() * with_words!(&self.store, words => words.count())
    }

    /// Returns true if the words are the archive's own, and no other's.
    pub(crate) fn owns_words(&self) -> bool {
        matches!(self.store, Store::Owned(_))
    }

    /// Bytes of heap, the archive's own allocation included.
    pub(crate) fn storage(&self) -> usize {
        let bytes = if self.owns_words() { self.bytes() } else { 0 };
        Shared::<Self>::HEADER + size_of::<Self>() + bytes
    }

    /// The run that holds page `page`, which the archive has.
    pub(crate) fn find_page(&self, page: u64) -> Located {
        with_words!(&self.store, words => find_page(self, words, page))
    }

    /// The page number of the run that holds page `page`, which the archive has, and the pages before
    /// that run.
    pub(crate) fn find_start(&self, page: u64) -> (u64, u64) {
        with_words!(&self.store, words => find_start(self, words, page))
    }

    /// Run `number`, which the archive has.
    pub(crate) fn find_chunk(&self, number: u64) -> Located {
        with_words!(&self.store, words => find_chunk(self, words, number))
    }

    /// Block `index`.
    #[inline(always)]
    pub(super) fn block<W: Words + ?Sized>(&self, words: &W, index: usize) -> Block {
        let entry = words.four(self.sections.index + WORDS * index);
        let [first_page, word, lowest, end_page] = match entry {
            [first_page, word, end_page, _] if WORDS == SHORT_ENTRY => {
                [first_page, word, 0, end_page]
            }
            entry => entry,
        };
        Block::new([first_page, word, lowest], end_page, self.count(index), self.sections.data)
    }

    /// Asks for the word that probably has the page number of page `page`, before it is known where that
    /// is: as far in the data as the page is in the archive. So it is if all blocks have as many bits.
    ///
    /// The search would else wait for the index entry first.
    #[inline(always)]
    fn fetch<W: Words + ?Sized>(&self, words: &W, page: u64) {
        let data = self.sections.data;
        let nr_words = words.count().saturating_sub(data) as u64;
        let word = page.wrapping_mul(nr_words).checked_div(self.nr_pages).unwrap_or(0);
        words.fetch(data.saturating_add(usize::try_from(word).unwrap_or(usize::MAX)));
    }

    /// How many runs block `index` has.
    #[inline(always)]
    fn count(&self, index: usize) -> usize {
        let left = self.nr_chunks - (index * block_runs(WORDS)) as u64;
        usize::try_from(left).unwrap_or(usize::MAX).min(block_runs(WORDS))
    }

    #[inline(always)]
    fn place<W: Words + ?Sized>(
        &self,
        words: &W,
        (block, number): (&Block, usize),
        (index, (start, end)): (usize, (u64, u64)),
    ) -> Located {
        let run = Run { pfn: block.pfn(words, index), nr_pages: end.wrapping_sub(start) };
        Located {
            number: (number * block_runs(WORDS) + index) as u64,
            page: block.first_page.wrapping_add(start),
            run: sound(run, self.granule),
        }
    }
}

impl Archive {
    pub(crate) fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// The page number of the page `page`, which the archive has.
    pub(crate) fn translate(&self, page: u64) -> u64 {
        with_words!(&self.store, words => translate(self, words, page))
    }

    /// The number of the first run of the block that holds page `page`, which the archive has, and the
    /// page where the block ends.
    pub(crate) fn block_of(&self, page: u64) -> (u64, u64) {
        with_words!(&self.store, words => {
            let (block, number) = find_block(self, words, page);
            ((number * BLOCK) as u64, block.first_page.wrapping_add(block.nr_pages))
        })
    }

    /// The pages before run `number`, which the archive has, and its own. They may be more than a list
    /// can hold.
    pub(crate) fn run_pages(&self, number: u64) -> (u64, u64) {
        with_words!(&self.store, words => run_pages(self, words, number))
    }

    /// Page numbers between which the runs `first` to `end`, the latter excluded, lie; by the index alone.
    pub(crate) fn span(&self, first: u64, end: u64) -> (u64, u64) {
        let blocks = split(first, BLOCK).0..split(end.saturating_sub(1), BLOCK).0.saturating_add(1);
        with_words!(&self.store, words => {
            blocks.take_while(|_| first < end).fold((u64::MAX >> 12, 0), |(lowest, last), block| {
                let (low, high) = self.block(words, block).span();
                (lowest.min(low), last.max(high))
            })
        })
    }

    /// Run `number`, which the archive has, by way of a decoded block that has it, or will have.
    #[inline(always)]
    pub(crate) fn run(&self, number: u64, decoded: &mut Decoded) -> Located {
        if number.wrapping_sub(decoded.number) >= decoded.count as u64 {
            self.unpack(number, decoded);
        }
        let index = number.wrapping_sub(decoded.number);
        match decoded.pages(index, index + 1) {
            Some((page, nr_pages)) => {
                let pfn =
                    usize::try_from(index).map_or(0, |index| decoded.unpacked.pfns[index % BLOCK]);
                Located { number, page, run: Run { pfn, nr_pages } }
            }
            None => self.find_chunk(number),
        }
    }

    /// Unpacks the block that has run `number`, which the archive has.
    pub(crate) fn unpack(&self, number: u64, decoded: &mut Decoded) {
        let (number, _) = split(number, BLOCK);
        let count = self.count(number);
        with_words!(&self.store, words => {
            let entry = words.four(self.sections.index + ENTRY * number);
            let place = (Block::data(entry[1], self.sections.data), count);
            decoded.is_plain = decoded.unpacked.read(entry, place, words, self.granule);
            decoded.first_page = entry[0];
        });
        decoded.number = (number * BLOCK) as u64;
        decoded.count = count;
    }
}

/// The block that a directory entry names.
#[inline(always)]
pub(super) fn named(words: &(impl Words + ?Sized), bucket: usize) -> usize {
    let word = words.word(HEADER + bucket / 2) >> (32 * (bucket % 2));
    usize::try_from(word & 0xffff_ffff).unwrap_or(usize::MAX)
}

/// The block that holds page `page`, and its number.
#[inline(always)]
pub(super) fn find_block<const WORDS: usize>(
    archive: &Archive<WORDS>,
    words: &(impl Words + ?Sized),
    page: u64,
) -> (Block, usize) {
    let Sections { nr_blocks, bucket_lg2, index, is_even, .. } = archive.sections;
    let first_page = |block: usize| words.word(index + WORDS * block);
    let bucket = usize::try_from(page >> bucket_lg2).unwrap_or(usize::MAX - 1);
    if is_even {
        archive.fetch(words, page);
        // Most lists of runs of one size have a block for each bucket; they need no directory.
        if first_page(bucket) <= page && page < first_page(bucket + 1) {
            let number = bucket.min(nr_blocks - 1);
            return (archive.block(words, number), number);
        }
    }
    // The block that holds the page: between those that hold the first pages of its bucket and
    // of the next. In the archive, whatever the directory says.
    let mut first = named(words, bucket).min(nr_blocks - 1);
    let mut last = named(words, bucket + 1).clamp(first, nr_blocks - 1);
    while first < last {
        let middle = last - (last - first) / 2;
        if first_page(middle) <= page {
            first = middle;
        } else {
            last = middle - 1;
        }
    }
    (archive.block(words, first), first)
}

wide! {
    fn find_page[const WORDS: usize](
        archive: &Archive<WORDS>,
        words: &(impl Words + ?Sized),
        page: u64,
    ) -> Located {
        let (block, number) = find_block(archive, words, page);
        let found = block.find(words, page.wrapping_sub(block.first_page));
        archive.place(words, (&block, number), found)
    }
}

wide! {
    fn translate(archive: &Archive, words: &(impl Words + ?Sized), page: u64) -> u64 {
        let (block, _) = find_block(archive, words, page);
        let page = page.wrapping_sub(block.first_page);
        let (index, start) = block.find_start(words, page);
        block.pfn(words, index).wrapping_add(page.wrapping_sub(start))
    }
}

wide! {
    fn find_start[const WORDS: usize](
        archive: &Archive<WORDS>,
        words: &(impl Words + ?Sized),
        page: u64,
    ) -> (u64, u64) {
        let (block, _) = find_block(archive, words, page);
        let (index, start) = block.find_start(words, page.wrapping_sub(block.first_page));
        (block.pfn(words, index), block.first_page.wrapping_add(start))
    }
}

wide! {
    fn run_pages(archive: &Archive, words: &(impl Words + ?Sized), number: u64) -> (u64, u64) {
        let (number, index) = split(number, BLOCK);
        let block = archive.block(words, number);
        let (start, end) = block.pages(words, index);
        (block.first_page.wrapping_add(start), end.wrapping_sub(start))
    }
}

wide! {
    fn find_chunk[const WORDS: usize](
        archive: &Archive<WORDS>,
        words: &(impl Words + ?Sized),
        number: u64,
    ) -> Located {
        let (number, index) = split(number, block_runs(WORDS));
        let block = archive.block(words, number);
        archive.place(words, (&block, number), (index, block.pages(words, index)))
    }
}

/// Number of the block that has a run, and which of its runs it is. Blocks have `nr_runs` runs.
#[inline(always)]
fn split(number: u64, nr_runs: usize) -> (usize, usize) {
    let block = usize::try_from(number / nr_runs as u64).unwrap_or(usize::MAX);
    (block, usize::try_from(number % nr_runs as u64).unwrap_or_default())
}
