//! The addresses of many positions at once.

use alloc::format;

use pyo3::prelude::*;

use crate::error::Error;
use crate::list::frozen::Frozen;
use crate::python::convert::buffer::{Array, Bytes};
use crate::python::convert::items::signals;
use crate::python::convert::numbers::Numbers;
use crate::python::error;
use crate::python::list::column::PyColumn;
use crate::slices;

/// Positions that are translated between two looks at signals.
const BLOCK: usize = 1 << 19;

/// The addresses of the bytes at these positions, in `out` or a column of their own.
pub(crate) fn translate<'py>(
    list: &Frozen,
    positions: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = positions.py();
    let mut paddrs = Numbers::new(positions)?.read_all(py)?;
    let Some(out) = out else {
        py.detach(|| translate_blocks(list, &mut paddrs, signals))?;
        return Ok(Bound::new(py, PyColumn::new(paddrs)?)?.into_any());
    };
    let array = Array::new(out, false)?;
    if !array.is_u64() {
        let what = format!("{} does not hold uint64", out.get_type());
        return Err(error::new("ArrayTypeError", what, error::NO_NUMBERS));
    }
    if array.len() != paddrs.len() {
        return Err(error::new(
            "ArrayError",
            format!("out has {} items for {} positions", array.len(), paddrs.len()),
            [("items", array.len() as u64)],
        ));
    }
    let target = Bytes::new(out, true)?;
    py.detach(|| {
        translate_blocks(list, &mut paddrs, signals)?;
        // All at once: `out` has no address if a position is outside the list, or if a signal's handler
        // raised an exception.
        target.write(0, slices::bytes(&paddrs));
        Ok::<_, PyErr>(())
    })?;
    Ok(out.clone())
}

/// Translates positions a block at a time, and calls `between` blocks. After an error, some positions are
/// addresses, and others are not.
fn translate_blocks<E: From<Error>>(
    list: &Frozen,
    positions: &mut [u64],
    mut between: impl FnMut() -> Result<(), E>,
) -> Result<(), E> {
    for (number, block) in positions.chunks_mut(BLOCK).enumerate() {
        if number > 0 {
            between()?;
        }
        list.translate_all(block)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::list::builder::Builder;
    use crate::list::phyr::Phyr;
    use crate::list::reading::Inner;

    /// Where chunk `number` of `list` starts, in chunks.
    fn place(number: u64) -> u64 {
        number * 7 % 9001 * 2
    }

    /// A list of chunks of so many pages each.
    fn list(nr_chunks: u64, nr_pages: u64) -> Phyr {
        let mut builder = Builder::new();
        for number in 0..nr_chunks {
            builder.append_pfns(place(number) * nr_pages, nr_pages).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn others_are_called_between_blocks_of_positions() {
        // One chunk, one node, many nodes.
        for (nr_chunks, nr_pages) in [(1, 9000), (90, 100), (9000, 1)] {
            let (phyr, size) = (list(nr_chunks, nr_pages), nr_pages << 12);
            let paddr = |at: &u64| place(at / size) * size + at % size;
            for (count, calls) in [(1, 0), (BLOCK, 0), (2 * BLOCK + 9, 2)] {
                let mut positions: Vec<u64> =
                    (0..count as u64).map(|at| at * 0x1_2345 % phyr.length()).collect();
                for is_sorted in [false, true] {
                    if is_sorted {
                        positions.sort_unstable();
                    }
                    let expected: Vec<u64> = positions.iter().map(paddr).collect();
                    for form in [Frozen::kept(phyr.clone()), phyr.freeze()] {
                        let (mut found, mut called) = (positions.clone(), 0);
                        let between = || {
                            called += 1;
                            Ok::<(), Error>(())
                        };
                        translate_blocks(&form, &mut found, between).unwrap();
                        assert_eq!(found, expected);
                        assert_eq!(called, calls);
                        let failure = Error::ZeroLength { paddr: 7 };
                        found.clone_from(&positions);
                        let stopped = translate_blocks(&form, &mut found, || Err(failure));
                        assert_eq!(stopped.is_err(), calls > 0, "{stopped:?}");
                    }
                }
            }
        }
    }
}
