//! A sequence of operations on a list, each against a `Vec<u64>` of page numbers.

use phyr::{Builder, Chunk, Granule, Kind, Phyr};

use crate::source::Source;

const PAGE: u64 = 4096;
/// Pages that the model may have: it is slow.
const MOST: usize = 1 << 12;

/// Page numbers, and the bytes of them that the list stands for.
#[derive(Clone, Default)]
struct Model {
    pfns: Vec<u64>,
    start: u64,
    end: u64,
}

impl Model {
    fn length(&self) -> u64 {
        self.end - self.start
    }

    fn paddr(&self, position: u64) -> u64 {
        let at = self.start + position;
        self.pfns[(at / PAGE) as usize] * PAGE + at % PAGE
    }

    fn slice(&self, start: u64, end: u64) -> Self {
        let (start, end) = (self.start + start, self.start + end);
        let pfns = self.pfns
            [(start / PAGE) as usize..end.div_ceil(PAGE).max(start / PAGE) as usize]
            .to_vec();
        let before = start / PAGE * PAGE;
        Self { pfns, start: start - before, end: end - before }
    }

    fn chunks(&self) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for (pfn, page) in self.pfns.iter().zip((0..).step_by(PAGE as usize)) {
            let (first, end) = (self.start.max(page), self.end.min(page + PAGE));
            if first >= end {
                continue;
            }
            let (paddr, length) = (pfn * PAGE + (first - page), end - first);
            match chunks.last_mut() {
                Some(last) if last.last().checked_add(1) == Some(paddr) => last.length += length,
                _ => chunks.push(Chunk { paddr, length }),
            }
        }
        chunks
    }
}

/// Runs the operations that the bytes name.
pub fn operations(bytes: &[u8]) {
    run(bytes);
}

/// Runs the operations that the bytes name; returns how many there were.
pub fn run(bytes: &[u8]) -> u64 {
    let mut source = Source(bytes);
    let (mut phyr, mut model, mut done) = (Phyr::default(), Model::default(), 0);
    while !source.is_empty() {
        step(&mut source, &mut phyr, &mut model);
        done += 1;
    }
    phyr.validate().expect("a list after operations");
    assert_eq!(phyr.length(), model.length());
    let chunks = model.chunks();
    assert!(phyr.chunks().eq(chunks.iter().copied()));
    assert!(phyr.chunks().rev().eq(chunks.iter().rev().copied()));
    assert_eq!(phyr.nr_chunks(), chunks.len() as u64);
    done
}

fn step(source: &mut Source<'_>, phyr: &mut Phyr, model: &mut Model) {
    match source.byte() % 8 {
        0..3 => {
            let (pfn, pages) = (source.edge() % (1 << 52), u64::from(source.byte()) + 1);
            append(phyr, model, pfn, pages, source.byte().is_multiple_of(4));
        }
        3 => {
            let (a, b) = (source.up_to(model.length()), source.up_to(model.length()));
            *phyr = phyr.slice(a.min(b), a.max(b)).expect("a slice inside");
            *model = model.slice(a.min(b), a.max(b));
        }
        4 => {
            let position = source.up_to(model.length());
            if position == model.length() {
                assert!(phyr.translate(position).is_err());
                return;
            }
            assert_eq!(phyr.translate(position), Ok(model.paddr(position)));
            let number = phyr.find(position).expect("a position inside");
            let (start, chunk) = phyr.chunk(number).expect("a chunk that was found");
            assert!(start <= position && position - start < chunk.length);
            assert_eq!(chunk.paddr + (position - start), model.paddr(position));
        }
        5 => {
            let copy = Phyr::from_bytes(&phyr.to_bytes()).expect("bytes of a list");
            assert!(copy == *phyr && phyr.compact() == copy);
            *phyr = copy;
        }
        6 => {
            let at = source.up_to(model.length());
            let (a, b) = phyr.split_at(at).expect("a place inside");
            let joined = a.concat(&b).expect("two halves of one list");
            assert!(joined == *phyr);
            *phyr = joined;
        }
        _ => {
            let offset = i128::from(source.edge() & !(PAGE - 1));
            if let Ok(moved) = phyr.shift(offset) {
                assert!(moved.shift(-offset).expect("back") == *phyr);
                if !model.pfns.is_empty() && model.length() > 0 {
                    assert_eq!(
                        i128::from(moved.translate(0).expect("a byte")),
                        i128::from(model.paddr(0)) + offset
                    );
                }
            }
        }
    }
}

/// Appends pages, as one run or one by one; refused where the list ends inside a page.
fn append(phyr: &mut Phyr, model: &mut Model, pfn: u64, pages: u64, single: bool) {
    if model.pfns.len() + pages as usize > MOST {
        return;
    }
    let mut builder = Builder::with(Granule::default(), Kind::Ram);
    builder.extend(phyr).expect("a list of the same kind");
    let fits = (model.length() == 0 || model.end.is_multiple_of(PAGE)) && pfn + pages <= 1 << 52;
    let numbers: Vec<u64> = (pfn..pfn + pages).collect();
    let taken =
        if single { builder.extend_pfns(&numbers) } else { builder.append_pfns(pfn, pages) };
    assert_eq!(taken.is_ok(), fits, "{taken:?}");
    *phyr = builder.finish();
    if fits {
        if model.length() == 0 {
            *model = Model::default();
        }
        model.pfns.extend(numbers);
        model.end += pages * PAGE;
    }
}
