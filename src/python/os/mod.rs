//! Wrappers of what needs the operating system.
//!
//! | file | holds |
//! | --- | --- |
//! | `blocks` | memory of nodes |
//! | `failure` | the kernel's errors |
//! | `area` | memory that phyr allocates |
//! | `loan` | a buffer lent to the kernel |
//! | `pagemap` | the decoder of `/proc/PID/pagemap` |
//! | `proc_records` | reads files with a record for each physical page |
//! | `page_lookup` | the same for many pages, neighbours in one read |
//! | `page_records` | records of a list's pages, and the folios behind a page map |
//! | `page_reads` | reads of an open page map |
//! | `together` | threads that share work |
//! | `uring` | rings of io_uring, which pin |

pub(crate) mod area;
#[cfg(all(feature = "blocks", target_os = "linux"))]
mod blocks;
#[cfg(unix)]
pub(crate) mod failure;
pub(crate) mod loan;
#[cfg(unix)]
mod page_lookup;
#[cfg(unix)]
pub(crate) mod page_reads;
#[cfg(unix)]
pub(crate) mod page_records;
pub(crate) mod pagemap;
#[cfg(unix)]
pub(crate) mod proc_records;
#[cfg(unix)]
mod together;
#[cfg(target_os = "linux")]
pub(crate) mod uring;
