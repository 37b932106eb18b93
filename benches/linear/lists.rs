//! Operations of lists, and of what makes and reads them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::sync::atomic::AtomicU64;

use phyr::pagemap::{FolioTally, PagemapDecoder};
use phyr::{Builder, Frozen, Index, Phyr};

use crate::data::{PAGE, done, measured, sizes, usual};
use crate::{Operation, operations};

/// Operations of both forms of a list.
macro_rules! lists {
    ($form:literal, $list:ident, $twin:ident) => {
        operations! {
            concat!($form, "::alignment"), |d| measured(|| d.$list.alignment(sizes()));
            concat!($form, "::exposes_nothing"), |d| measured(|| d.$list.exposes_nothing(sizes()));
            concat!($form, "::overlap"), |d| measured(|| d.$list.overlap(&d.$twin));
            concat!($form, "::intersect"), |d| measured(|| d.$list.intersect(&d.$twin));
            concat!($form, "::within"), |d| measured(|| d.$list.within(0, 1 << 62));
            concat!($form, "::pages"), |d| measured(|| {
                d.$list.pages(PAGE).map(|pages| pages.fold(0, |all, page| all ^ page))
            });
            concat!($form, "::pages, for"), |d| measured(|| {
                let mut all = 0;
                for page in d.$list.pages(PAGE).expect("whole pages") {
                    all ^= page;
                }
                all
            });
            concat!($form, "::slice"), |d| d.each_position(|at| {
                d.$list.slice(at, d.$list.length()).map(|part| part.chunks().next())
            });
            concat!($form, "::split_at"), |d| d.each_position(|at| d.$list.split_at(at));
            concat!($form, "::translate"), |d| d.each_position(|at| d.$list.translate(at));
            concat!($form, "::translate_all"), |d| {
                let mut positions = d.positions.clone();
                measured(|| d.$list.translate_all(&mut positions))
            };
            concat!($form, "::translate_all, ascending"), |d| {
                let mut positions = d.positions.clone();
                positions.sort_unstable();
                measured(|| d.$list.translate_all(&mut positions))
            };
            concat!($form, "::find"), |d| d.each_position(|at| d.$list.find(at));
            concat!($form, "::chunk"), |d| d.each(|at| d.$list.chunk(at));
            concat!($form, "::nr_chunks"), |d| measured(|| d.$list.nr_chunks());
            concat!($form, "::chunks"), |d| measured(|| {
                d.$list.chunks().fold(0, |all, chunk| all ^ chunk.paddr ^ chunk.length)
            });
            concat!($form, "::chunks, for"), |d| measured(|| {
                let mut all = 0;
                for chunk in d.$list.chunks() {
                    all ^= chunk.paddr ^ chunk.length;
                }
                all
            });
            concat!($form, "::chunks, backwards"), |d| measured(|| {
                let mut all = 0;
                for chunk in d.$list.chunks().rev() {
                    all ^= chunk.paddr ^ chunk.length;
                }
                all
            });
            concat!($form, "::chunks, nth"), |d| d.each(|at| {
                d.$list.chunks().nth(usize::try_from(at).expect("memory"))
            });
            concat!($form, "::first_beyond"), |d| measured(|| d.$list.first_beyond(1 << 62));
            concat!($form, "::to_bytes"), |d| measured(|| d.$list.to_bytes());
            concat!($form, "::stats"), |d| measured(|| d.$list.stats());
            concat!($form, "::orders"), |d| measured(|| d.$list.orders());
            concat!($form, "::storage"), |d| measured(|| d.$list.storage());
            concat!($form, "::clone"), |d| measured(|| d.$list.clone());
            concat!($form, "::eq"), |d| measured(|| d.$list == d.$twin);
            concat!($form, "::hash"), |d| measured(|| hash(&d.$list));
            concat!($form, "::fmt"), |d| measured(|| format!("{:?}", d.$list));
        }
    };
}

pub(crate) const PHYR: &[Operation] = lists!("Phyr", phyr, twin);
pub(crate) const FROZEN: &[Operation] = lists!("Frozen", frozen, twin_frozen);

/// Flags of a large page's first page, and of the page behind it: anonymous, head, transparent.
const FOLIO: [u64; 2] = [1 << 12 | 1 << 15 | 1 << 22, 0];

fn hash(item: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    item.hash(&mut hasher);
    hasher.finish()
}

pub(crate) const OTHER: &[Operation] = operations! {
    "Phyr::drop", |d| {
        let phyr = Phyr::from_chunks(d.chunks.iter().copied()).expect("chunks");
        measured(|| drop(phyr));
    };
    "Phyr::freeze", |d| measured(|| d.phyr.freeze());
    "Phyr::try_freeze", |d| measured(|| d.phyr.try_freeze());
    "Phyr::join", |d| measured(|| Phyr::join(&d.parts));
    "Phyr::concat", |d| measured(|| d.phyr.concat(&d.twin));
    "Phyr::compact", |d| measured(|| d.phyr.compact());
    "Phyr::try_compact", |d| measured(|| d.phyr.try_compact());
    "Phyr::from_chunks", |d| measured(|| Phyr::from_chunks(d.chunks.iter().copied()));
    "Phyr::from_iter", |d| measured(|| d.chunks.iter().copied().collect::<Phyr>());
    "Phyr::try_to_bytes", |d| measured(|| d.phyr.try_to_bytes());
    "Phyr::from_bytes", |d| {
        let bytes = d.phyr.to_bytes();
        measured(|| Phyr::from_bytes(&bytes))
    };
    "Phyr::shift", |d| measured(|| d.phyr.shift(1 << 40));
    "Phyr::validate", |d| measured(|| d.phyr.validate());
    "Chunks::extend", |d| {
        let mut items = Vec::with_capacity(d.chunks.len());
        measured(|| d.phyr.chunks().extend(&mut items, |chunk| chunk.paddr));
    };
    "FrozenChunks::extend", |d| {
        let mut items = Vec::with_capacity(d.chunks.len());
        measured(|| d.frozen.chunks().extend(&mut items, |chunk| chunk.paddr));
    };
    "Pages::read", |d| {
        let mut out = vec![0; usize::try_from(d.phyr.length() / PAGE).expect("memory")];
        measured(|| d.phyr.pages(PAGE).map(|mut pages| pages.read(&mut out)))
    };
    "Frozen::chunk_at", |d| d.each_position(|at| d.frozen.chunk_at(at));
    "Frozen::thaw", |d| measured(|| d.frozen.thaw());
    "Frozen::check", |d| measured(|| d.frozen.check());
    "Frozen::from_bytes", |d| {
        let bytes = d.frozen.to_bytes().expect("memory");
        measured(|| Frozen::from_bytes(&bytes))
    };
    "Frozen::from_shared", |d| {
        let bytes = d.frozen.to_bytes().expect("memory");
        let word = |word: &[u8]| u64::from_ne_bytes(word.try_into().expect("eight bytes"));
        let words: Vec<AtomicU64> = bytes.chunks_exact(8).map(word).map(AtomicU64::new).collect();
        measured(|| Frozen::from_shared(Box::new(words)))
    };
    "Builder::append", |d| {
        let mut builder = Builder::new();
        measured(|| d.chunks.iter().try_for_each(|chunk| builder.append(chunk.paddr, chunk.length)))
    };
    "Builder::append_pfns", |d| {
        let mut builder = Builder::new();
        measured(|| d.pfns.iter().try_for_each(|&pfn| builder.append_pfns(pfn, 1)))
    };
    "Builder::extend_pfns", |d| measured(|| Builder::new().extend_pfns(&d.pfns));
    "Builder::extend_pages", |d| measured(|| Builder::new().extend_pages(&d.pages));
    "Builder::extend_chunks", |d| measured(|| Builder::new().extend_chunks(d.chunks.iter().copied()));
    "Builder::extend", |d| measured(|| Builder::new().extend(&d.phyr));
    "Builder::storage", |d| {
        let builder = d.full();
        measured(|| builder.storage())
    };
    "Builder::finish", |d| {
        let builder = d.full();
        measured(|| builder.finish())
    };
    "Builder::try_finish", |d| {
        let mut builder = d.full();
        measured(|| builder.try_finish())
    };
    "Index::new", |d| {
        let lists = d.frozen_parts.clone();
        measured(|| Index::new(lists))
    };
    "Index::try_new", |d| {
        let lists = d.frozen_parts.clone();
        measured(|| Index::try_new(lists))
    };
    "Index::find", |d| {
        let index = Index::new(d.frozen_parts.clone()).expect("memory");
        measured(|| d.chunks.iter().for_each(|chunk| done(black_box(index.find(chunk.paddr)))));
    };
    "Index::find_range", |d| {
        let index = Index::new(d.frozen_parts.clone()).expect("memory");
        measured(|| index.find_range(0, u64::MAX))
    };
    "Index::storage", |d| {
        let index = Index::new(d.frozen_parts.clone()).expect("memory");
        measured(|| index.storage())
    };
    "PagemapDecoder::feed", |d| {
        let (mut decoder, records) = (PagemapDecoder::new(0, usual()), d.records());
        measured(|| decoder.feed(&records))
    };
    "PagemapDecoder::finish", |d| {
        let mut decoder = PagemapDecoder::new(0, usual());
        decoder.feed(&d.records()).expect("not hidden");
        measured(|| decoder.finish())
    };
    "PagemapDecoder::try_finish", |d| {
        let mut decoder = PagemapDecoder::new(0, usual());
        decoder.feed(&d.records()).expect("not hidden");
        measured(|| decoder.try_finish())
    };
    "FolioTally::add", |d| {
        let mut tally = FolioTally::new([9]);
        measured(|| (0..).zip(&d.pfns).for_each(|(vfn, &pfn)| tally.add(vfn, pfn, &FOLIO)));
        black_box(tally);
    };
    "FolioTally::finish", |d| {
        let mut tally = FolioTally::new([9]);
        (0..).zip(&d.pfns).for_each(|(vfn, &pfn)| tally.add(vfn, pfn, &FOLIO));
        measured(|| tally.finish())
    };
};
