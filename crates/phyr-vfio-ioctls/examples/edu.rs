//! A driver for QEMU's teaching device in Rust: it copies memory to the device and back.
//!
//! ```text
//! edu /sys/bus/pci/devices/0000:00:05.0
//! ```
//!
//! The driver of the function is vfio-pci. Behind an IOMMU the file of its group is enough; no page
//! numbers are needed. Two stretches of memory, far apart, are one for the device.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, thread};

use phyr::{Builder, Granule, Kind};
use phyr_vfio_ioctls::{map, unmap};
use vfio_bindings::bindings::vfio::{VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioOps};

const PAGE: usize = 4096;
const IOVA: u64 = 0x10_0000;
/// Registers: docs/specs/edu.txt, QEMU.
const SOURCE: u64 = 0x80;
const TARGET: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;
const START: u64 = 1;
const TO_MEMORY: u64 = 2;
/// Where the device's own buffer is, as it sees addresses.
const INSIDE: u64 = 0x4_0000;

/// Copies between memory and the device's buffer.
fn copy(device: &VfioDevice, source: u64, target: u64, how: u64) -> Result<(), Box<dyn Error>> {
    let write = |at, value: u64| {
        device.region_write(VFIO_PCI_BAR0_REGION_INDEX, &value.to_le_bytes(), at);
    };
    write(SOURCE, source);
    write(TARGET, target);
    write(COUNT, TEXT.len() as u64);
    write(COMMAND, START | how);
    let began = Instant::now();
    let mut busy = [0; 8];
    loop {
        device.region_read(VFIO_PCI_BAR0_REGION_INDEX, &mut busy, COMMAND);
        if u64::from_le_bytes(busy) & START == 0 {
            return Ok(());
        }
        if began.elapsed() > Duration::from_secs(20) {
            return Err("the device does not finish".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

const TEXT: &[u8] = b"as one stretch, from one page to another";

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("usage: edu /sys/bus/pci/devices/ADDRESS")?;
    let container: Arc<dyn VfioOps> = Arc::new(VfioContainer::new(None)?);
    let device = VfioDevice::new(Path::new(&path), Arc::clone(&container), false)?;

    // Two pages that lie in no order.
    let layout = Layout::from_size_align(PAGE, PAGE)?;
    let mut builder = Builder::with(Granule::default(), Kind::User);
    let pages = [(); 2].map(|()| {
        // SAFETY: the layout has bytes.
        let page = unsafe { alloc_zeroed(layout) };
        if page.is_null() { handle_alloc_error(layout) } else { page }
    });
    for page in pages.iter().rev() {
        builder.append(*page as u64, PAGE as u64)?;
    }
    let phyr = builder.finish();
    let [last, first] = pages;

    // SAFETY: the pages exist until they are unmapped, and are reached by raw pointers alone.
    unsafe { map(&*container, &phyr, IOVA)? };
    // Memory and bus master.
    device.region_write(VFIO_PCI_CONFIG_REGION_INDEX, &6_u16.to_le_bytes(), 4);
    // SAFETY: the text fits in the page.
    unsafe { first.copy_from(TEXT.as_ptr(), TEXT.len()) };
    copy(&device, IOVA, INSIDE, 0)?;
    copy(&device, INSIDE, IOVA + PAGE as u64, TO_MEMORY)?;
    device.region_write(VFIO_PCI_CONFIG_REGION_INDEX, &2_u16.to_le_bytes(), 4);
    unmap(&*container, &phyr, IOVA)?;

    let mut found = [0; TEXT.len()];
    // SAFETY: the device reaches the pages no more; they end here.
    unsafe {
        last.copy_to(found.as_mut_ptr(), TEXT.len());
        for page in pages {
            dealloc(page, layout);
        }
    }
    if found != TEXT {
        return Err(format!("the device brought {found:02x?}").into());
    }
    println!("{phyr:?}: {}", String::from_utf8_lossy(&found));
    Ok(())
}
