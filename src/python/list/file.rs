//! Files that hold a list: mapped, and named by exceptions about them.

use alloc::format;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::python::made;

/// Says in an exception about a file which file it is, as the readers of files in Python do.
pub(crate) fn naming(failure: PyErr, path: &Bound<'_, PyAny>) -> PyErr {
    let py = path.py();
    let value = failure.value(py);
    let of_format = made::module(py, "phyr.errors")
        .and_then(|errors| value.is_instance(&made::attribute(&errors, "FormatError")?));
    let is_format = match of_format {
        Ok(is_format) => is_format,
        Err(short) => return short,
    };
    let told = if is_format {
        let shown = path.str().map(|path| path.to_string_lossy().into_owned());
        shown.and_then(|path| made::prefix(value, &format!("{path}: ")))
    } else if failure.is_instance_of::<PyOSError>(py) {
        Ok(())
    } else {
        return failure;
    };
    let told = told.and_then(|()| value.setattr(made::text(py, "filename")?, path));
    told.map_or_else(|short| short, |()| failure)
}

/// Maps the file at a path, read-only.
pub(crate) fn map<'py>(
    os: &Bound<'py, PyAny>,
    path: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = path.py();
    let number = |name| made::attribute(os, name)?.extract::<u64>();
    let flags = made::int(py, number("O_RDONLY")? | number("O_CLOEXEC").unwrap_or(0))?;
    let mmap = made::module(py, "mmap")?;
    let options = made::dict(py)?;
    options.set_item(made::text(py, "access")?, made::attribute(&mmap, "ACCESS_READ")?)?;
    let (all, close) = (made::int(py, 0)?, made::attribute(os, "close")?);
    // The file is closed, whatever fails from here on.
    let file = made::attribute(os, "open")?.call1(made::objects(py, [path, &flags])?)?;
    // Reading nothing of a folder says that it is one; mapping it would say that an argument is wrong.
    let mapped = made::objects(py, [&file, &all]).and_then(|arguments| {
        made::attribute(os, "read")?.call1(&arguments)?;
        made::attribute(&mmap, "mmap")?.call(arguments, Some(&options))
    });
    made::call(&close, &file)?;
    match mapped {
        // An empty file cannot be mapped.
        Err(failure) if failure.is_instance_of::<PyValueError>(py) => {
            Ok(made::bytes(py, &[])?.into_any())
        }
        mapped => mapped,
    }
}
