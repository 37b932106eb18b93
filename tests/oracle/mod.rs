//! The oracle: a list of page numbers, one by one. Slow and obvious.

use phyr::{Builder, Chunk, Granule, Kind, Phyr};
use proptest::prelude::*;

/// Pages, and the bytes of them that the list stands for.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) granule: u64,
    pub(crate) kind: Kind,
    pub(crate) pfns: Vec<u64>,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Model {
    pub(crate) fn whole(granule: u64, pfns: Vec<u64>) -> Self {
        let end = granule * pfns.len() as u64;
        Self { granule, kind: Kind::Ram, pfns, start: 0, end }
    }

    pub(crate) fn slice(&self, start: u64, end: u64) -> Self {
        Self { start: self.start + start, end: self.start + end, ..self.clone() }
    }

    pub(crate) fn length(&self) -> u64 {
        self.end - self.start
    }

    pub(crate) fn paddr(&self, position: u64) -> u64 {
        let at = self.start + position;
        self.pfns[(at / self.granule) as usize] * self.granule + at % self.granule
    }

    /// The piece of each page that is in the list, joined where the next byte is the next address.
    pub(crate) fn chunks(&self) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for (index, pfn) in self.pfns.iter().enumerate() {
            let page = index as u64 * self.granule;
            let (first, end) = (page.max(self.start), (page + self.granule).min(self.end));
            if first >= end {
                continue;
            }
            let (paddr, length) = (pfn * self.granule + (first - page), end - first);
            match chunks.last_mut() {
                Some(last) if last.last().checked_add(1) == Some(paddr) => last.length += length,
                _ => chunks.push(Chunk { paddr, length }),
            }
        }
        chunks
    }

    pub(crate) fn build(&self) -> Phyr {
        let granule = Granule::new(self.granule).unwrap();
        let mut builder = Builder::with(granule, self.kind);
        builder.extend_pfns(&self.pfns).unwrap();
        builder.finish().slice(self.start, self.end).unwrap()
    }
}

/// Page numbers in runs of all lengths that matter, some touching, some at the end of the space.
pub(crate) fn pfns() -> impl Strategy<Value = Vec<u64>> {
    let length = prop_oneof![8 => 1_u64..5, 2 => 5_u64..70, 1 => 2040_u64..2060];
    let first = prop_oneof![
        4 => 0_u64..40,
        4 => 0_u64..1 << 36,
        1 => (0_u64..1 << 36).prop_map(|pfn| pfn << 11),
        1 => (1_u64 << 52) - 3000..(1 << 52) - 2060,
    ];
    let run = (first, length).prop_map(|(first, length)| (first..first + length).collect());
    prop::collection::vec(run, 0..40).prop_map(|runs: Vec<Vec<u64>>| runs.concat())
}

pub(crate) fn granules() -> impl Strategy<Value = u64> {
    // Page numbers near 2^52 are in reach of granules up to 4096.
    prop_oneof![Just(4096), Just(1), Just(4), Just(512)]
}

/// A list, and a slice of it.
pub(crate) fn models() -> impl Strategy<Value = Model> {
    (granules(), pfns(), any::<(prop::sample::Index, prop::sample::Index)>()).prop_map(
        |(granule, pfns, (a, b))| {
            let whole = Model::whole(granule, pfns);
            let size = whole.length() as usize + 1;
            let (a, b) = (a.index(size) as u64, b.index(size) as u64);
            whole.slice(a.min(b), a.max(b))
        },
    )
}
