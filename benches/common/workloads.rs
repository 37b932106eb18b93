//! The six inputs that every figure of speed and density uses: page addresses in the order of the
//! virtual addresses, the positions to seek, and the slice to take.
//!
//! They are exact: any program that follows the rules below gets the same numbers, and a digest
//! of the first addresses says whether it did.

/// Bytes of a page; every address is a multiple of it.
pub(crate) const PAGE: u64 = 4096;

/// Lowest page number of all workloads but `rand4k_hi`: 1 GiB.
const FLOOR: u64 = 1 << 18;

/// Page numbers are drawn below this, above the floor: 1 TiB.
const MASK: u64 = (1 << 28) - 1;

/// The generator of all randomness here; state is one word, wrapping.
///
/// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts from `state`.
    pub(crate) fn new(state: u64) -> Self {
        Self(state)
    }

    /// The next 64 bits.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// One of the six inputs; the discriminant is its number in seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Each page anywhere: memory after months of uptime.
    Rand4k = 1,
    /// Runs of mean 8 pages at any alignment.
    Geo8 = 2,
    /// Aligned blocks of 2^0 to 2^9 pages: the page cache's folios.
    Folio = 3,
    /// Aligned blocks of 512 pages: transparent huge pages.
    Huge2m = 4,
    /// One run.
    Contig = 5,
    /// As `Rand4k`, with addresses to 64 TiB.
    Rand4kHi = 6,
}

impl Workload {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 6] =
        [Self::Rand4k, Self::Geo8, Self::Folio, Self::Huge2m, Self::Contig, Self::Rand4kHi];

    /// Name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rand4k => "rand4k",
            Self::Geo8 => "geo8",
            Self::Folio => "folio",
            Self::Huge2m => "huge2m",
            Self::Contig => "contig",
            Self::Rand4kHi => "rand4k_hi",
        }
    }

    /// Digest of the first 4096 addresses; see [`digest`].
    pub(crate) fn digest(self) -> u64 {
        match self {
            Self::Rand4k => 0xb267_a1d2_6029_9325,
            Self::Geo8 => 0xfba5_a5c2_44fa_7325,
            Self::Folio => 0xf13a_ded7_8a76_a325,
            Self::Huge2m => 0x9cda_41a5_94b6_e325,
            Self::Contig => 0xbba8_5513_7136_e325,
            Self::Rand4kHi => 0x6224_b064_47e1_3325,
        }
    }

    /// The first `count` page addresses, in bytes.
    pub(crate) fn pages(self, count: usize) -> Vec<u64> {
        self.stream().take(count).collect()
    }

    /// The page addresses one by one, without end.
    pub(crate) fn stream(self) -> Stream {
        let random = SplitMix64::new(0x7068_7972_0000_0000 + self as u64);
        Stream { workload: self, random, next: FLOOR, left: 0 }
    }

    /// `count` byte positions within a list of `nr_pages` pages.
    pub(crate) fn positions(self, nr_pages: usize, count: usize) -> Vec<u64> {
        let mut random = SplitMix64::new(0x7365_656b_0000_0000 + self as u64);
        let length = nr_pages as u64 * PAGE;
        (0..count).map(|_| random.draw() % length).collect()
    }
}

/// Start and end, in bytes, of the slice that figures speak of: the middle half, a little less.
pub(crate) fn middle(nr_pages: usize) -> (u64, u64) {
    let length = nr_pages as u64 * PAGE;
    let start = length / 4 + 100;
    (start, start + length / 2 - 200)
}

/// Digest of the first 4096 addresses (FNV-1a's constants, a word at a time).
pub(crate) fn digest(pages: &[u64]) -> u64 {
    pages
        .iter()
        .take(4096)
        .fold(0xcbf2_9ce4_8422_2325, |hash, &page| (hash ^ page).wrapping_mul(0x100_0000_01b3))
}

/// The addresses of a workload, made as they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    workload: Workload,
    random: SplitMix64,
    /// Page number that continues the run.
    next: u64,
    /// Pages left of the run, where its length was drawn beforehand.
    left: u64,
}

impl Stream {
    /// The next page number: one more than the last, or the start of a new run.
    fn pfn(&mut self) -> u64 {
        match self.workload {
            Workload::Rand4k => FLOOR + (self.random.draw() & MASK),
            Workload::Rand4kHi => self.random.draw() & ((1 << 34) - 1),
            Workload::Contig => self.next,
            Workload::Geo8 => {
                // Past the first page `next` is above the floor.
                let first = self.next == FLOOR;
                let draw = self.random.draw();
                if first || draw % 8 == 0 { FLOOR + ((draw >> 3) & MASK) } else { self.next }
            }
            Workload::Folio => self.run(|draw| {
                let order = (draw | 512).trailing_zeros();
                (FLOOR + (((draw >> 16) & MASK) >> order << order), 1 << order)
            }),
            Workload::Huge2m => self.run(|draw| (FLOOR + (draw & MASK & !511), 512)),
        }
    }

    /// The next page number where a draw gives both the start and the pages of a run.
    fn run(&mut self, split: impl Fn(u64) -> (u64, u64)) -> u64 {
        let mut pfn = self.next;
        if self.left == 0 {
            (pfn, self.left) = split(self.random.draw());
        }
        self.left -= 1;
        pfn
    }
}

impl Iterator for Stream {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let pfn = self.pfn();
        self.next = pfn + 1;
        Some(pfn << 12)
    }
}
