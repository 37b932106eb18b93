//! A ring of io_uring that does no I/O: its table of fixed buffers keeps memory in place.
//!
//! A registered buffer is pinned (`FOLL_LONGTERM`) until it is unregistered. A program without a
//! device has no other way to pin memory. Each slot of the table is one pin, and many pins share a
//! ring.
#![expect(unsafe_code, reason = "registering memory is unsafe where a ring does I/O on it")]

use alloc::format;

use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use io_uring::IoUring;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::python::convert::amounts::Amount;
use crate::python::made::{self, Text};
use crate::python::os::failure::os_error;

/// A ring of io_uring, which holds buffers that are registered with it; for `phyr.pin`.
///
/// Raises:
///     OSError: The kernel does not make a ring; `errno` says why.
#[pyclass(name = "Ring", module = "phyr._phyr", frozen)]
pub(crate) struct PyRing {
    /// None when it is closed. Code that holds the lock never waits for the interpreter. A forked
    /// child may find the lock held by a thread that it does not have, so it never takes it.
    ring: Mutex<Option<ManuallyDrop<IoUring>>>,
    fd: RawFd,
    /// The process that made the ring. A fork inherits a copy, through which it could unregister
    /// the buffers.
    process: u32,
    is_closed: AtomicBool,
}

impl PyRing {
    fn with(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&IoUring) -> io::Result<()> + Send,
    ) -> PyResult<()> {
        let done = if self.is_ours() {
            py.detach(|| {
                let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
                ring.as_deref().map(act)
            })
        } else {
            None
        };
        match done {
            Some(Ok(())) => Ok(()),
            Some(Err(failure)) => Err(os_error(&failure)),
            None => Err(made::failure::<PyValueError>("the ring is closed")),
        }
    }

    /// Returns true if it can still be used, and by this process.
    fn is_ours(&self) -> bool {
        self.process == std::process::id() && !self.is_closed.load(Ordering::Relaxed)
    }

    fn end(&self) {
        if self.process != std::process::id() || self.is_closed.swap(true, Ordering::Relaxed) {
            return;
        }
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ring) = ring {
            // A signal may interrupt the call. Other errors do no harm: either nothing was
            // registered, or closing the ring unregisters the buffers a little later.
            while let Err(failure) = ring.submitter().unregister_buffers() {
                if failure.kind() != io::ErrorKind::Interrupted {
                    break;
                }
            }
            drop(ManuallyDrop::into_inner(ring));
        }
    }

    /// Puts memory into a slot of the table; no memory at address 0 empties it.
    fn update(&self, py: Python<'_>, index: u32, start: usize, iov_len: usize) -> PyResult<()> {
        self.with(py, |ring| {
            let buffer = libc::iovec { iov_base: ptr::without_provenance_mut(start), iov_len };
            // SAFETY: the memory must be valid for the operations of the ring that use the buffer.
            // There are none, because no entry is ever submitted. The kernel itself checks that the
            // address is valid, and returns `EFAULT` if not.
            unsafe { ring.submitter().register_buffers_update(index, &[buffer], None) }
        })
    }
}

impl Drop for PyRing {
    fn drop(&mut self) {
        self.end();
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyRing {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let ring = py.detach(|| IoUring::new(1)).map_err(|failure| os_error(&failure))?;
        Ok(Self {
            fd: ring.as_raw_fd(),
            ring: Mutex::new(Some(ManuallyDrop::new(ring))),
            process: std::process::id(),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Make an empty table for `count` buffers.
    ///
    /// Raises:
    ///     OSError: ``EINVAL``: `count` is too large, or the kernel is older than Linux 5.19.
    fn reserve(&self, py: Python<'_>, count: u32) -> PyResult<()> {
        self.with(py, |ring| ring.submitter().register_buffers_sparse(count))
    }

    /// Register memory as buffer `index`. From then on its pages are present and do not move.
    ///
    /// Args:
    ///     index: A number below the reserved count.
    ///     uaddr: User virtual address.
    ///     length: Bytes, from 1 to 1 GiB.
    ///
    /// Raises:
    ///     OSError: The kernel does not pin the memory; `errno` says why. No part of it is pinned.
    ///
    /// Source:
    ///     ``io_sqe_buffer_register()``, io_uring/rsrc.c, Linux.
    fn register(&self, py: Python<'_>, index: u32, uaddr: Amount, length: Amount) -> PyResult<()> {
        let (Ok(start), Ok(iov_len)) = (usize::try_from(uaddr.0), usize::try_from(length.0)) else {
            let what = format!("{:#x}+{:#x} is outside the address space", uaddr.0, length.0);
            return Err(made::failure::<PyValueError>(what));
        };
        self.update(py, index, start, iov_len)
    }

    /// Unregister buffer `index`, and return true if its slot may be used again. Does not fail.
    ///
    /// An empty slot stays empty. In a forked child, or when the ring is closed, this does nothing
    /// and returns false. Linux before 6.4 unpins the pages within a second, later versions at once.
    ///
    /// Source:
    ///     ``__io_sqe_buffers_update()``, io_uring/rsrc.c, Linux.
    fn release(&self, py: Python<'_>, index: u32) -> bool {
        self.is_ours() && self.update(py, index, 0, 0).is_ok()
    }

    /// Unregister all buffers at once, and close the ring. Does not fail. If it is closed already,
    /// do nothing.
    ///
    /// In a forked child, this closes only the child's copy of the ring.
    fn unregister(&self, py: Python<'_>) {
        py.detach(|| self.end());
    }

    /// Close this process's copy of the ring. The buffers stay registered if another process has a
    /// copy.
    ///
    /// Takes no lock: in a forked child it may be held by a thread that the child does not have.
    fn abandon(&self) {
        if !self.is_closed.swap(true, Ordering::Relaxed) {
            // SAFETY: the file is the ring's own. From here on nothing uses it or closes it: all else
            // asks whether it is closed, and a ring that is dropped closes nothing by itself.
            unsafe { libc::close(self.fd) };
        }
    }

    fn __repr__(&self) -> Text {
        let is_open = self.is_ours();
        Text(format!("Ring({})", if is_open { "open" } else { "closed" }))
    }
}
