//! Guest memory of `vm_memory` through lists, against its own Iotlb and plain copies.

use std::sync::RwLock;

use phyr::{Builder, IovaMap, Phyr};
use phyr_vm_memory::{IovaIommu, slices};
use vm_memory::iommu::{Error, IotlbIterator};
use vm_memory::{
    Bytes, GuestAddress, GuestMemory, GuestMemoryMmap, Iommu, IommuMemory, Iotlb, Permissions,
};

const PAGE: u64 = 4096;

fn ram() -> GuestMemoryMmap<()> {
    let ram = GuestMemoryMmap::from_ranges(&[
        (GuestAddress(0), 64 * 4096),
        (GuestAddress(64 * PAGE), 64 * 4096),
        (GuestAddress(1 << 30), 64 * 4096),
    ])
    .unwrap();
    for start in [0, 64 * PAGE, 1 << 30] {
        for at in (0..64 * PAGE).step_by(8) {
            ram.write_obj(start + at, GuestAddress(start + at)).unwrap();
        }
    }
    ram
}

fn list(pfns: &[u64]) -> Phyr {
    let mut builder = Builder::new();
    builder.extend_pfns(pfns).unwrap();
    builder.finish()
}

/// One call of splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[test]
fn slices_are_the_bytes_of_the_list_in_order() {
    let ram = ram();
    let phyr = list(&[7, 63, 64, 65, (1 << 18) + 3, 2]).slice(0x18, 6 * PAGE - 0x20).unwrap();
    let mut found = Vec::new();
    for slice in slices(&ram, &phyr) {
        let slice = slice.unwrap();
        let mut bytes = vec![0; slice.len()];
        slice.copy_to(&mut bytes);
        found.extend(bytes);
    }
    let expected: Vec<u8> = (0..phyr.length())
        .step_by(8)
        .flat_map(|at| phyr.translate(at).unwrap().to_le_bytes())
        .collect();
    assert_eq!(found, expected);
    // The run 63 to 65 crosses from one region to the next.
    assert_eq!(slices(&ram, &phyr).count(), 5);
}

#[test]
fn a_chunk_without_memory_is_an_error_of_its_own() {
    let ram = ram();
    let phyr = list(&[7, 200, 9]);
    let found: Vec<bool> = slices(&ram, &phyr).map(|slice| slice.is_ok()).collect();
    assert_eq!(found, [true, false, true]);
}

/// An IOMMU as vm-memory makes it: an Iotlb that knows everything.
#[derive(Debug, Default)]
struct Plain(RwLock<Iotlb>);

impl Iommu for Plain {
    type IotlbGuard<'a> = std::sync::RwLockReadGuard<'a, Iotlb>;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<Self::IotlbGuard<'_>>, Error> {
        Iotlb::lookup(self.0.read().unwrap(), iova, length, access)
            .map_err(|_| Error::IommuMisconfigured { reason: "test".to_owned() })
    }
}

#[test]
fn a_device_reads_and_writes_what_it_does_through_an_iotlb() {
    let mut state = 16;
    let (ours, theirs) = (ram(), ram());
    let ours = IommuMemory::new(ours, IovaIommu::new(), true, ());
    let theirs = IommuMemory::new(theirs, Plain::default(), true, ());
    let mut refused = 0;
    for step in 0..4000_u64 {
        let page = next(&mut state) % 96;
        let pages = 1 + next(&mut state) % 12;
        let iova = GuestAddress(page * PAGE);
        match next(&mut state) % 4 {
            0 => {
                let bytes = usize::try_from(pages * PAGE).unwrap();
                ours.iommu().unmap(iova.0, pages * PAGE);
                theirs.iommu().0.write().unwrap().invalidate_mapping(iova, bytes);
            }
            1 => {
                // Unmapped before, as vm-memory's overwrites.
                let access = [Permissions::Read, Permissions::Write, Permissions::ReadWrite]
                    [usize::try_from(next(&mut state) % 3).unwrap()];
                let pfns: Vec<u64> = (0..pages).map(|_| next(&mut state) % 128).collect();
                ours.iommu().unmap(iova.0, pages * PAGE);
                ours.iommu().map(iova.0, list(&pfns), access).unwrap();
                for (at, pfn) in (page..).zip(pfns) {
                    let (from, to) = (GuestAddress(at * PAGE), GuestAddress(pfn * PAGE));
                    theirs.iommu().0.write().unwrap().set_mapping(from, to, 4096, access).unwrap();
                }
            }
            kind => {
                let at = GuestAddress(iova.0 + next(&mut state) % PAGE);
                let bytes = usize::try_from(1 + next(&mut state) % 9000).unwrap();
                let access = if kind == 2 { Permissions::Read } else { Permissions::Write };
                let allowed = theirs.check_range(at, bytes, access);
                assert_eq!(ours.check_range(at, bytes, access), allowed, "step {step}");
                refused += u32::from(!allowed);
                if !allowed {
                    continue;
                }
                let mut one = vec![step.to_le_bytes()[0]; bytes];
                let mut other = one.clone();
                if kind == 2 {
                    ours.read_slice(&mut one, at).unwrap();
                    theirs.read_slice(&mut other, at).unwrap();
                    assert_eq!(one, other, "step {step}");
                } else {
                    ours.write_slice(&one, at).unwrap();
                    theirs.write_slice(&other, at).unwrap();
                }
            }
        }
    }
    assert!((200..1800).contains(&refused), "{refused}");
}

#[test]
fn what_is_not_mapped_or_not_allowed_is_refused_by_its_address() {
    let iommu = IovaIommu::new();
    iommu.map(0x1000, list(&[5, 9]), Permissions::Read).unwrap();
    let refused = |iova, length, access| {
        iommu.translate(GuestAddress(iova), length, access).unwrap_err().to_string()
    };
    assert!(refused(0x1000, 0x2001, Permissions::Read).contains("0x3000 is not mapped"));
    assert!(refused(0xfff, 2, Permissions::Read).contains("0xfff is not mapped"));
    assert!(refused(0x1800, 1, Permissions::Write).contains("which allows Read"));
    assert!(refused(u64::MAX, 1, Permissions::Read).contains("last address"));
    assert_eq!(iommu.translate(GuestAddress(7), 0, Permissions::Read).unwrap().count(), 0);
    let map: &IovaMap<Permissions> = &iommu.read();
    assert_eq!(map.nr_areas(), 1);
}
