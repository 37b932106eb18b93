//! The inner loops of tables whose chunks are cut: from chunks to segments to bytes.

use super::layout::{Layout, ROUND};
use super::limits::Cut;
use super::segments::take;
use crate::list::chunks::Chunk;
use crate::wide::wide;

wide! {
    /// Writes records until there are no more chunks or no more slots.
    ///
    /// A chunk that is written in part keeps its rest; a chunk that is written as a whole may be
    /// overwritten. Returns the number of chunks used up, the number of records written, and the
    /// position after those records.
    pub(super) fn encode[L: Layout](
        layout: &L,
        cut: Cut,
        chunks: &mut [Chunk],
        out: &mut [L::Bytes],
        position: u64,
    ) -> (usize, usize, u64) {
        let mut position = position;
        let both = out.len().min(chunks.len());
        if cut.leaves(&chunks[..both]) {
            for (slot, &chunk) in out.iter_mut().zip(&*chunks) {
                *slot = layout.bytes(layout.data(chunk, position));
                position += chunk.length;
            }
            return (both, both, position);
        }
        let (mut taken, mut at) = (0, 0);
        loop {
            if let Some((mask, lg2)) = cut.block() {
                // Writes whole rounds. At least ROUND - 1 chunks follow, and their records
                // overwrite the surplus ones.
                let end = chunks.len().saturating_sub(ROUND - 1).max(taken);
                for &chunk in &chunks[taken..end] {
                    let count = chunk.length >> lg2;
                    if (chunk.paddr | chunk.length) & mask != 0
                        || count > (out.len() - at).saturating_sub(ROUND) as u64
                    {
                        break;
                    }
                    let count = usize::try_from(count).unwrap_or(0);
                    let slots = &mut out[at..][..count.next_multiple_of(ROUND)];
                    layout.run(Chunk { paddr: chunk.paddr, length: mask + 1 }, position, slots);
                    position += chunk.length;
                    at += count;
                    taken += 1;
                }
            }
            let Some(rest) = chunks.get_mut(taken) else { return (taken, at, position) };
            while rest.length > 0 {
                if at == out.len() {
                    return (taken, at, position);
                }
                let steps = cut.step(rest.paddr).map(|step| (step, cut.steps(rest.length, step)));
                let (segment, count) = match steps {
                    Some((step, count @ 1..)) => {
                        let room = out.len() - at;
                        let count = usize::try_from(count).unwrap_or(room).min(room);
                        (Chunk { paddr: rest.paddr, length: step.get() }, count)
                    }
                    _ => (Chunk { length: cut.length(*rest), ..*rest }, 1),
                };
                layout.run(segment, position, &mut out[at..at + count]);
                position += take(rest, segment.length * count as u64).length;
                at += count;
            }
            taken += 1;
        }
    }
}
