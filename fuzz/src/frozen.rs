//! A frozen list in memory of anybody: answers inside the address space, or refused; never a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use phyr::{Chunk, FormatError, Frozen, Phyr};

use crate::source::{Said, Words};

/// Opens the bytes where they are and as a copy, as they are and with a digest that fits.
pub fn frozen(bytes: &[u8]) {
    copied(bytes);
    if let Err(FormatError::Check { computed, .. }) = Frozen::from_bytes(bytes) {
        let mut forged = bytes.to_vec();
        if let Some(digest) = forged.get_mut(56..64) {
            digest.copy_from_slice(&computed.to_le_bytes());
        }
        copied(&forged);
    }
    shared(bytes);
}

fn copied(bytes: &[u8]) {
    let Some(frozen) = Frozen::from_bytes(bytes).said() else { return };
    assert_eq!(frozen.to_bytes().as_deref(), Ok(bytes), "one form for each list");
    let phyr = frozen.thaw().expect("a list that was checked");
    phyr.validate().expect("a list that was read");
    assert_eq!(phyr.freeze(), frozen);
}

fn shared(bytes: &[u8]) {
    let words = bytes
        .chunks_exact(8)
        .map(|word| AtomicU64::new(u64::from_ne_bytes(word.try_into().expect("eight bytes"))));
    let words = Words(words.collect::<Arc<[AtomicU64]>>());
    let Some(frozen) = Frozen::from_shared(Box::new(words.clone())).said() else { return };
    // A header may promise any number of chunks that the words have room for.
    read(&frozen);
    for (index, word) in words.0.iter().enumerate().step_by(1 + words.0.len() / 24) {
        let before = word.load(Ordering::Relaxed);
        for value in [0, u64::MAX, before ^ 1 << (index % 64), before.wrapping_mul(0x9e37_79b9)] {
            word.store(value, Ordering::Relaxed);
            read(&frozen);
        }
        word.store(before, Ordering::Relaxed);
    }
}

/// Asks all that a list can be asked.
fn read(frozen: &Frozen) {
    let inside = |chunk: Chunk| {
        assert!(
            chunk.length > 0 && chunk.paddr.checked_add(chunk.length - 1).is_some(),
            "{chunk:?}"
        );
    };
    frozen.chunks().take(2000).for_each(inside);
    frozen.chunks().rev().take(300).for_each(inside);
    let (length, count) = (frozen.length(), frozen.nr_chunks());
    for part in 0..8 {
        let position = length / 8 * part;
        if position < length {
            let _ = frozen.translate(position);
            let _ = frozen.find(position);
        }
        let _ = frozen.chunk(count / 8 * part).map(|(_, chunk)| inside(chunk));
        if let Some(slice) = frozen.slice(position, length).said() {
            slice.chunks().take(300).for_each(inside);
        }
    }
    let mut close: Vec<u64> = (0..300).map(|at| at * 0x345).filter(|&at| at < length).collect();
    close.extend(length.checked_sub(1));
    let asked = close.clone();
    frozen.translate_all(&mut close).expect("positions in the list");
    let checked = frozen.check();
    if checked.is_ok() {
        assert!(close.iter().zip(&asked).all(|(&paddr, &at)| frozen.translate(at) == Ok(paddr)));
    }
    if let Some(phyr) = frozen.thaw().said() {
        Phyr::validate(&phyr).expect("a list of any chunks");
        assert!(checked.is_err() || phyr.freeze() == *frozen);
    }
}
