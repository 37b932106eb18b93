//! Operations of descriptors.

use phyr::Kind;
use phyr::desc::{self, ByteOrder, KhoRadix, KhoVmalloc, Prp, SegmentList, Segments, Table};

use crate::data::{IOVA, PAGE, done, filled, measured, none, reader, structs, usual};
use crate::{Operation, operations};

pub(crate) const ALL: &[Operation] = operations! {
    "best_pgsize", |d| measured(|| desc::best_pgsize(&d.phyr, 1 << 12 | 1 << 21, IOVA));
    "split", |d| measured(|| desc::split(&d.phyr, 0, (0..d.n).map(|_| PAGE)).count());
    "Segments::new", |d| measured(|| Segments::new(&d.phyr, none()).map(Iterator::count));
    "Table::records", |d| {
        let table = Table::phys_vecs(&d.phyr, none()).expect("no limits");
        measured(|| table.records().count())
    };
    "Table::nr_blocks", |d| {
        let table = Table::phys_vecs(&d.phyr, none()).expect("no limits");
        measured(|| table.nr_blocks())
    };
    "Table::fill", |d| measured(|| filled(&Table::phys_vecs(&d.phyr, none()).expect("no limits")));
    "Table::scatterlist", |d| measured(|| Table::scatterlist(&d.phyr, structs(), 0, None, none()));
    "Table::bio_vecs", |d| measured(|| Table::bio_vecs(&d.phyr, structs(), none()));
    "Table::iovecs", |d| measured(|| Table::iovecs(&d.phyr, 1 << 46, none()));
    "Table::phys_vecs", |d| measured(|| Table::phys_vecs(&d.phyr, none()));
    "Table::dma_buf_vecs", |d| measured(|| Table::dma_buf_vecs(&d.phyr));
    "Table::memfd_folios", |d| {
        let singles = d.singles();
        measured(|| Table::memfd_folios(&singles, 0, PAGE, PAGE))
    };
    "Table::vfio", |d| measured(|| {
        desc::map_requests(&d.phyr, 1 << 46, PAGE, 1 << 16).map(|table| filled(&table.vfio(3)))
    });
    "Table::ioas", |d| measured(|| {
        desc::map_requests(&d.phyr, 1 << 46, PAGE, 1 << 16).map(|table| filled(&table.ioas(7, 1)))
    });
    "map_requests", |d| measured(|| desc::map_requests(&d.phyr, 1 << 46, PAGE, 1 << 16));
    "page_list", |d| measured(|| desc::page_list(&d.phyr, PAGE, 3, ByteOrder::Big));
    "Prp::new", |d| measured(|| Prp::new(&d.phyr, &d.lists, PAGE));
    "SegmentList::new", |d| measured(|| SegmentList::new(&d.phyr, &d.lists, PAGE, none()));
    "KhoRadix::new", |d| {
        let singles = d.singles();
        measured(|| KhoRadix::new(&singles, &d.lists, 10, PAGE))
    };
    "KhoVmalloc::new", |d| {
        let singles = d.singles();
        measured(|| KhoVmalloc::new(&singles, &d.lists, 0, PAGE))
    };
    "from_bio_vecs", |d| {
        let bytes = filled(&Table::bio_vecs(&d.phyr, structs(), none()).expect("no limits"));
        measured(|| desc::from_bio_vecs(&bytes, structs(), usual()))
    };
    "from_iovecs", |d| {
        let bytes = filled(&Table::iovecs(&d.phyr, 1 << 46, none()).expect("no limits"));
        measured(|| desc::from_iovecs(&bytes, 1 << 46, usual()))
    };
    "from_phys_vecs", |d| {
        let bytes = filled(&Table::phys_vecs(&d.phyr, none()).expect("no limits"));
        measured(|| desc::from_phys_vecs(&bytes, usual()))
    };
    "from_scatterlist", |d| {
        let table = Table::scatterlist(&d.phyr, structs(), 0, None, none()).expect("no limits");
        let bytes = filled(&table);
        measured(|| desc::from_scatterlist(&bytes, structs(), 0, false, usual()))
    };
    "from_dma_buf_vecs", |d| {
        let bytes = filled(&Table::dma_buf_vecs(&d.phyr).expect("no byte comes twice"));
        measured(|| desc::from_dma_buf_vecs(&bytes, d.phyr.length(), usual(), Kind::Ram))
    };
    "from_memfd_folios", |d| {
        let bytes = filled(&Table::memfd_folios(&d.singles(), 0, PAGE, PAGE).expect("single pages"));
        measured(|| desc::from_memfd_folios(&bytes, d.n * PAGE, PAGE, usual()))
    };
    "from_prp", |d| {
        let prp = Prp::new(&d.phyr, &d.lists, PAGE).expect("whole pages");
        let bytes = filled(&prp.lists);
        let length = d.phyr.length();
        measured(|| desc::from_prp(prp.prp1, prp.prp2, length, PAGE, usual(), reader(&bytes)))
    };
    "from_sgl", |d| {
        let sgl = SegmentList::new(&d.phyr, &d.lists, PAGE, none()).expect("no limits");
        let (sgl1, bytes) = (sgl.sgl1.to_bytes(), filled(&sgl.segments));
        measured(|| desc::from_sgl(&sgl1, u64::MAX, usual(), reader(&bytes)))
    };
    "from_kho_radix", |d| {
        let tree = KhoRadix::new(&d.singles(), &d.lists, 10, PAGE).expect("single pages");
        let length = d.n * PAGE;
        measured(|| desc::from_kho_radix(tree.root, length, PAGE, usual(), reader(&tree.nodes)))
    };
    "from_kho_vmalloc", |d| {
        let made = KhoVmalloc::new(&d.singles(), &d.lists, 0, PAGE).expect("single pages");
        let bytes = filled(&made.chunks);
        measured(|| desc::from_kho_vmalloc(&made.head, PAGE, usual(), reader(&bytes)))
    };
};
