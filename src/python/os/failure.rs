//! Errors of the kernel as Python's.

use std::io;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::python::made;

/// An `OSError`, of the class that Python has for its `errno`.
pub(crate) fn os_error(failure: &io::Error) -> PyErr {
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
