//! Operations of mapping, and of the simulated machine.

use std::hint::black_box;

use phyr::sim::{self, Columns, Memory, ScatterOptions};
use phyr::{Direct, DmaBackend, MapCall, Prot};

use crate::data::{IOVA, PAGE, done, empty, measured, scattered};
use crate::{Operation, operations};

fn mixed(calls: impl Iterator<Item = MapCall>) -> u64 {
    calls.fold(0, |all, call| all ^ call.iova ^ call.paddr)
}

pub(crate) const MAPS: &[Operation] = operations! {
    "Direct::map", |d| measured(|| Direct.map(&d.phyr, Prot::READ));
    "Plan::new", |d| measured(|| d.plan());
    "Plan::fold", |d| measured(|| d.plan().fold(0, |all, call| all ^ call.iova ^ call.pgcount));
    "Plan::next", |d| measured(|| {
        let mut all = 0;
        for call in d.plan() {
            all ^= call.iova;
        }
        all
    });
    "Plan::unmaps", |d| measured(|| d.plan().unmaps().count());
    "IovaMap::map", |d| measured(|| d.map());
    "IovaMap::unmap", |d| {
        let mut map = d.map();
        d.each(|at| map.unmap(at << 20, 1 << 20));
    };
    "IovaMap::try_unmap", |d| {
        let mut map = d.map();
        d.each(|at| map.try_unmap(at << 20, 1 << 20));
    };
    "IovaMap::unmap_with", |d| {
        let mut map = d.map();
        measured(|| map.unmap_with(0, 1 << 60, drop));
    };
    "IovaMap::try_unmap_with", |d| {
        let mut map = d.map();
        measured(|| map.try_unmap_with(0, 1 << 60, drop))
    };
    "IovaMap::is_whole", |d| {
        let map = d.map();
        d.each(|at| map.is_whole(at << 20, PAGE));
    };
    "IovaMap::translate", |d| {
        let map = d.map();
        d.each(|at| map.translate(at << 20));
    };
    "IovaMap::area", |d| {
        let map = d.map();
        d.each(|at| map.area(at << 20).is_some());
    };
    "IovaMap::range", |d| {
        let map = d.map();
        measured(|| map.range(0, 1 << 60).count())
    };
    "IovaMap::areas", |d| {
        let map = d.map();
        measured(|| map.areas().rev().count())
    };
};

pub(crate) const SIM: &[Operation] = operations! {
    "scatter", |d| measured(|| sim::scatter(d.n * PAGE, &ScatterOptions::default()));
    "Memory::scatter", |d| {
        let mut memory = Memory::new(1 << 40).expect("a size");
        measured(|| memory.scatter(d.n * PAGE, &ScatterOptions::default()))
    };
    "Memory::alloc", |d| {
        let mut memory = Memory::new(1 << 40).expect("a size");
        d.each(|_| memory.alloc(PAGE, None, PAGE));
    };
    "Memory::reserve", |d| {
        let mut memory = Memory::new(1 << 40).expect("a size");
        measured(|| memory.reserve(&d.phyr))
    };
    "Memory::free", |d| {
        let (mut memory, phyr, _) = scattered(d);
        measured(|| memory.free(&phyr))
    };
    "Memory::check", |d| {
        let (memory, phyr, _) = scattered(d);
        measured(|| memory.check(&phyr))
    };
    "Memory::read", |d| {
        let (memory, phyr, mut bytes) = scattered(d);
        measured(|| memory.read(&phyr, &mut bytes))
    };
    "Memory::write", |d| {
        let (mut memory, phyr, bytes) = scattered(d);
        measured(|| memory.write(&phyr, &bytes))
    };
    "Memory::read_with", |d| {
        let (memory, phyr, _) = scattered(d);
        measured(|| memory.read_with(&phyr, |piece| done(black_box(piece.len()))))
    };
    "Memory::write_with", |d| {
        let (mut memory, phyr, _) = scattered(d);
        measured(|| memory.write_with(&phyr, |piece| done(black_box(piece.len()))))
    };
    "Memory::read_at", |d| {
        let (memory, _, mut bytes) = scattered(d);
        measured(|| memory.read_at(1 << 30, &mut bytes))
    };
    "Memory::write_at", |d| {
        let (mut memory, _, bytes) = scattered(d);
        measured(|| memory.write_at(1 << 30, &bytes))
    };
    "calls", |d| {
        let [iovas, paddrs, pgsizes, pgcounts] = d.columns();
        measured(|| sim::calls(&iovas, &paddrs, &pgsizes, &pgcounts).map(mixed))
    };
    "Columns::calls", |d| {
        let [iovas, paddrs, pgsizes, pgcounts] = d.columns();
        let columns = Columns::new(&iovas, &paddrs, &pgsizes, &pgcounts).expect("equally long");
        measured(|| mixed(columns.calls()))
    };
    "SimDomain::map_batch", |d| {
        let (mut memory, mut domain) = empty();
        measured(|| domain.map_batch(&mut memory, d.plan(), Prot::READ))
    };
    "SimDomain::map_plan", |d| {
        let (mut memory, mut domain) = empty();
        measured(|| domain.map_plan(&mut memory, d.plan(), Prot::READ))
    };
    "SimDomain::map_columns", |d| {
        let (mut memory, mut domain) = empty();
        let [iovas, paddrs, pgsizes, pgcounts] = d.columns();
        let columns = Columns::new(&iovas, &paddrs, &pgsizes, &pgcounts).expect("equally long");
        measured(|| domain.map_columns(&mut memory, columns, Prot::READ))
    };
    "SimDomain::map_pieces", |d| {
        let (mut memory, mut domain) = empty();
        let [iovas, paddrs, pgsizes, pgcounts] = d.columns();
        let columns = Columns::new(&iovas, &paddrs, &pgsizes, &pgcounts).expect("equally long");
        measured(|| domain.map_pieces(&mut memory, |take| take(columns), Prot::READ))
    };
    "SimDomain::map_pages", |d| {
        let (mut memory, mut domain) = empty();
        measured(|| domain.map_pages(&mut memory, IOVA, 1 << 30, PAGE, d.n, Prot::READ))
    };
    "SimDomain::unmap_pages", |d| {
        let (mut memory, mut domain) = d.mapped();
        measured(|| domain.unmap_pages(&mut memory, IOVA, PAGE, d.phyr.length() / PAGE))
    };
    "SimDomain::destroy", |d| {
        let (mut memory, domain) = d.mapped();
        measured(|| domain.destroy(&mut memory));
    };
    "SimDomain::iova_to_phys", |d| {
        let (memory, domain) = d.mapped();
        d.each_position(|at| domain.iova_to_phys(&memory, IOVA + at));
    };
    "SimDomain::lookup", |d| {
        let (memory, domain) = d.mapped();
        d.each_position(|at| domain.lookup(&memory, IOVA + at).is_some());
    };
    "SimDomain::clear_dirty", |d| {
        let (mut memory, mut domain) = d.mapped();
        d.each_position(|at| domain.clear_dirty(&mut memory, IOVA + at));
    };
    "dma_read", |d| {
        let (mut memory, mut domain) = d.mapped();
        let window = sim::span(IOVA, d.n * PAGE).expect("a range");
        let mut bytes = vec![0; usize::try_from(d.n * PAGE).expect("memory")];
        measured(|| sim::dma_read(&mut memory, &mut domain, &window, &mut bytes))
    };
    "dma_write", |d| {
        let (mut memory, mut domain) = d.mapped();
        let window = sim::span(IOVA, d.n * PAGE).expect("a range");
        let bytes = vec![7; usize::try_from(d.n * PAGE).expect("memory")];
        measured(|| sim::dma_write(&mut memory, &mut domain, &window, &bytes))
    };
    "dma_read_with", |d| {
        let (mut memory, mut domain) = d.mapped();
        let window = sim::span(IOVA, d.n * PAGE).expect("a range");
        let mut sum = 0;
        measured(|| {
            sim::dma_read_with(&mut memory, &mut domain, &window, |piece| sum += piece.len())
        })
    };
    "dma_write_with", |d| {
        let (mut memory, mut domain) = d.mapped();
        let window = sim::span(IOVA, d.n * PAGE).expect("a range");
        measured(|| sim::dma_write_with(&mut memory, &mut domain, &window, |piece| piece.fill(7)))
    };
};
