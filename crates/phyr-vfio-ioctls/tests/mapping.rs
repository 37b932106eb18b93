//! The requests that a list makes, at a container that takes note of them.

use std::sync::Mutex;

use phyr::{Builder, Granule, Kind, Phyr};
use phyr_vfio_ioctls::{Error, map, unmap};
use vfio_ioctls::{VfioError, VfioOps};

/// Mapped stretches, and how many more it takes.
struct Container {
    maps: Mutex<Vec<(u64, usize, usize)>>,
    room: usize,
}

impl Container {
    fn new(room: usize) -> Self {
        Self { maps: Mutex::default(), room }
    }

    fn maps(&self) -> Vec<(u64, usize, usize)> {
        self.maps.lock().unwrap().clone()
    }
}

impl VfioOps for Container {
    unsafe fn vfio_dma_map(
        &self,
        iova: u64,
        size: usize,
        user_addr: *mut u8,
    ) -> Result<(), VfioError> {
        let mut maps = self.maps.lock().unwrap();
        if maps.len() == self.room {
            return Err(VfioError::IommuDmaMap(vmm_sys_util::errno::Error::new(28)));
        }
        maps.push((iova, size, user_addr as usize));
        Ok(())
    }

    fn vfio_dma_unmap(&self, iova: u64, size: usize) -> Result<(), VfioError> {
        let inside = |at: u64| at >= iova && at - iova < size as u64;
        self.maps.lock().unwrap().retain(|&(at, ..)| !inside(at));
        Ok(())
    }
}

fn list(kind: Kind, chunks: &[(u64, u64)]) -> Phyr {
    let mut builder = Builder::with(Granule::default(), kind);
    for &(uaddr, length) in chunks {
        builder.append(uaddr, length).unwrap();
    }
    builder.finish()
}

const CHUNKS: [(u64, u64); 3] =
    [(0x7f00_0000_0000, 0x3000), (0x7f80_0000_0000, 0x1000), (0x5500_0000_0000, 0x2000)];

#[test]
fn a_list_is_one_stretch_and_is_taken_away_as_a_whole() {
    let (container, phyr) = (Container::new(3), list(Kind::User, &CHUNKS));
    // SAFETY: this container maps nothing.
    unsafe { map(&container, &phyr, 0x10_0000) }.unwrap();
    let expected = [
        (0x10_0000, 0x3000, 0x7f00_0000_0000),
        (0x10_3000, 0x1000, 0x7f80_0000_0000),
        (0x10_4000, 0x2000, 0x5500_0000_0000),
    ];
    assert_eq!(container.maps(), expected);
    unmap(&container, &phyr, 0x10_0000).unwrap();
    assert_eq!(container.maps(), []);
}

#[test]
fn a_request_that_fails_leaves_nothing_mapped() {
    for room in 0..3 {
        let (container, phyr) = (Container::new(room), list(Kind::User, &CHUNKS));
        // SAFETY: this container maps nothing.
        let failed = unsafe { map(&container, &phyr, 0x10_0000) };
        assert!(matches!(failed, Err(Error::Vfio(VfioError::IommuDmaMap(_)))));
        assert_eq!(container.maps(), []);
    }
}

#[test]
fn what_has_no_user_addresses_is_refused() {
    let container = Container::new(3);
    for kind in [Kind::Ram, Kind::Mmio { provider: 7 }] {
        // SAFETY: nothing is mapped.
        let failed = unsafe { map(&container, &list(kind, &[(0x1000, 0x1000)]), 0) };
        assert_eq!(
            failed.unwrap_err().to_string(),
            format!("a list of kind {kind} has no user addresses")
        );
    }
    // SAFETY: nothing is mapped.
    let failed = unsafe { map(&container, &list(Kind::User, &CHUNKS), u64::MAX - 0x5000) };
    assert_eq!(failed.unwrap_err().to_string(), "0xffffffffffffafff+0x6000 passes 2^64");
    assert_eq!(container.maps(), []);
}

#[test]
fn an_empty_list_makes_no_request() {
    let (container, empty) = (Container::new(0), list(Kind::User, &[]));
    // SAFETY: there is no memory.
    unsafe { map(&container, &empty, 0) }.unwrap();
    unmap(&container, &empty, 0).unwrap();
}
