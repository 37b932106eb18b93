//! A ring of io_uring that does no I/O: its table of fixed buffers keeps memory in place.
//!
//! Registering a buffer pins its pages for as long as it is registered (`FOLL_LONGTERM`), the one
//! way for a program without a device to do so. Each slot of the table is one pin, and many pins
//! share a ring.
#![expect(unsafe_code, reason = "registering memory is unsafe where a ring does I/O on it")]

use alloc::format;

use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use io_uring::IoUring;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::python::convert::numbers::Amount;
use crate::python::made::{self, Text};

/// A ring of io_uring, which holds buffers that are registered with it; for `phyr.pin`.
///
/// Raises:
///     OSError: The kernel gives no ring; `errno` says why.
#[pyclass(name = "Ring", module = "phyr._phyr", frozen)]
pub(crate) struct PyRing {
    /// None when it is closed. Whoever holds the lock does not wait for the interpreter. In a
    /// forked child nobody may hold it and yet it is held, so nothing there takes it.
    ring: Mutex<Option<ManuallyDrop<IoUring>>>,
    fd: RawFd,
    /// Who made it. A fork inherits a copy, through which it could unregister all the same.
    process: u32,
    is_closed: AtomicBool,
}

fn os_error(failure: &io::Error) -> PyErr {
    let errno = failure.raw_os_error();
    let made = Python::attach(|py| {
        let errno = made::wide(py, errno.unwrap_or(0).into())?;
        let text = made::attribute(&made::module(py, "os")?, "strerror")?;
        let text = made::call(&text, &errno)?;
        let class = py.get_type::<PyOSError>();
        class.call1(made::objects(py, [&errno, &text])?).map(PyErr::from_value)
    });
    made.unwrap_or_else(|failure| failure)
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
            // A signal may interrupt it. That nothing was registered is no failure, and whatever else
            // were one, the end of the ring lets go as well, a little later.
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
            // There are none: no entry is ever submitted. That the address is one at all the kernel
            // checks by itself, and `EFAULT` tells.
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
    ///     OSError: ``EINVAL``: too many, or the kernel is older than Linux 5.19.
    fn reserve(&self, py: Python<'_>, count: u32) -> PyResult<()> {
        self.with(py, |ring| ring.submitter().register_buffers_sparse(count))
    }

    /// Register memory as buffer `index`: its pages are there and stay where they are from now on.
    ///
    /// Args:
    ///     index: Below what was reserved.
    ///     uaddr: User virtual address.
    ///     length: Bytes, from 1 to 1 GiB.
    ///
    /// Raises:
    ///     OSError: The kernel does not pin it; `errno` says why. It pinned nothing of it.
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

    /// Let go of buffer `index`, and return true if its slot may be used again. Does not fail.
    ///
    /// A slot that holds nothing is left so. In a forked child, and when the ring is closed, it does
    /// nothing and returns false. Linux before 6.4 lets go of the pages within a second, later ones
    /// at once.
    ///
    /// Source:
    ///     ``__io_sqe_buffers_update()``, io_uring/rsrc.c, Linux.
    fn release(&self, py: Python<'_>, index: u32) -> bool {
        self.is_ours() && self.update(py, index, 0, 0).is_ok()
    }

    /// Let go of all buffers, at once, and of the ring. Does not fail; again, it does nothing.
    ///
    /// In a forked child, it closes the child's copy of the ring alone.
    fn unregister(&self, py: Python<'_>) {
        py.detach(|| self.end());
    }

    /// Close this process's copy of the ring, and leave the buffers registered if another has one.
    ///
    /// Takes no lock, which in a forked child may be that of a thread that is not there.
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
