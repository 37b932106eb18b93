//! Descriptors from a device's or kernel's memory: a list of what they name, or refused.

use phyr::desc::{
    Fill, PageStructs, Place, Table, from_bio_vecs, from_dma_buf_vecs, from_iovecs, from_kho_radix,
    from_kho_vmalloc, from_memfd_folios, from_phys_vecs, from_prp, from_scatterlist, from_sgl,
};
use phyr::{Granule, Kind, Phyr};

use crate::source::{Said, Source};

/// Reads the bytes as each format.
pub fn parse(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (which, granule) = (source.byte() % 11, source.granule());
    match which {
        0 => {
            let Some(phyr) = from_phys_vecs(source.0, granule).said() else { return };
            validate(&phyr);
            // Written again, and read again, it is the same list.
            let Some(table) = Table::phys_vecs(&phyr, phyr::desc::Limits::default()).said() else {
                return;
            };
            let mut out = vec![0; usize::try_from(table.count().records).expect("few") * 16];
            table.fill(&mut Place::default(), &mut out);
            assert_eq!(from_phys_vecs(&out, granule).as_ref(), Ok(&phyr));
        }
        1 => {
            let uaddr = source.edge();
            from_iovecs(source.0, uaddr, granule).said().iter().for_each(validate);
        }
        2 => {
            let Some(pages) = pages(&mut source) else { return };
            from_bio_vecs(source.0, pages, granule).said().iter().for_each(validate);
        }
        3 | 4 => {
            let Some(pages) = pages(&mut source) else { return };
            let address = source.edge();
            from_scatterlist(source.0, pages, address, which == 4, granule)
                .said()
                .iter()
                .for_each(validate);
        }
        5 => prp(&mut source, granule),
        6 => sgl(&mut source, granule),
        7 => {
            let size = source.number();
            if let Some(phyr) = from_memfd_folios(source.0, size, 4096, granule).said() {
                validate(&phyr);
                assert_eq!(phyr.length(), size);
            }
        }
        8 => {
            let length = source.number();
            if let Some(phyr) = from_dma_buf_vecs(source.0, length, granule, Kind::Ram).said() {
                validate(&phyr);
                assert_eq!(phyr.length(), length);
                assert!(Table::dma_buf_vecs(&phyr).is_ok(), "no byte comes twice");
            }
        }
        9 => {
            let mut head = [0; 16];
            head.iter_mut().for_each(|byte| *byte = source.byte());
            from_kho_vmalloc(&head, 4096, granule, memory(source.0))
                .said()
                .iter()
                .for_each(validate);
        }
        _ => {
            let (root, most) = (source.number(), source.up_to(1 << 32));
            if let Some(phyr) = from_kho_radix(root, most, 4096, granule, memory(source.0)).said() {
                validate(&phyr);
                assert!(phyr.length() <= most);
            }
        }
    }
}

fn validate(phyr: &Phyr) {
    phyr.validate().expect("a list that was read");
}

fn pages(source: &mut Source<'_>) -> Option<PageStructs> {
    PageStructs::new(source.edge(), 4096 << (source.byte() % 5)).ok()
}

/// A memory that is the input over and over, so that links lead somewhere.
fn memory(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<(), u64> {
    let mut left = 1 << 16;
    move |address, out| {
        // A memory of this kind has lists without an end: it fails after a while, as a device would.
        left -= 1;
        if left == 0 || bytes.is_empty() {
            return Err(address);
        }
        // From the last address it goes on at the first.
        for (into, byte) in (0..).zip(out) {
            *byte = bytes[(address as usize).wrapping_add(into) % bytes.len()];
        }
        Ok(())
    }
}

fn prp(source: &mut Source<'_>, granule: Granule) {
    let (prp1, prp2) = (source.number(), source.number());
    let (length, size) = (source.up_to(1 << 22), 4096 << (source.byte() % 5));
    if let Some(phyr) = from_prp(prp1, prp2, length, size, granule, memory(source.0)).said() {
        validate(&phyr);
        assert_eq!(phyr.length(), length);
    }
}

fn sgl(source: &mut Source<'_>, granule: Granule) {
    let mut sgl1 = [0; 16];
    sgl1.iter_mut().for_each(|byte| *byte = source.byte());
    let most = source.up_to(1 << 22);
    if let Some(phyr) = from_sgl(&sgl1, most, granule, memory(source.0)).said() {
        validate(&phyr);
        assert!(phyr.length() <= most);
    }
}
