//! Models of lists that have archives, and the parts of those.

use phyr::{Frozen, Kind};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::oracle::{Model, models};

/// Lists of many runs, so that most have archives, of several blocks: short runs and long ones, few
/// places or many, aligned or not; of every granule and kind, cut anywhere.
pub(crate) fn long_models() -> impl Strategy<Value = Model> {
    let run = (any::<u64>(), prop_oneof![4 => 1_u64..3, 2 => 1_u64..40, 1 => Just(512)]);
    let runs = prop::collection::vec(run, 30..400);
    (0_u32..=16, kinds(), runs, 1_u32..48, 0_u32..10, any::<(Index, Index)>()).prop_map(
        |(lg2, kind, runs, bits, align, (a, b))| {
            // The runs end below the last page that the granule reaches.
            let limit = (1 << (63 - lg2.max(12))) - 1;
            let pfns = runs.into_iter().flat_map(|(first, count)| {
                let first = (first & ((1 << bits) - 1)) << align & limit;
                let count = if align == 9 { count.next_multiple_of(512) } else { count };
                (first..).take(count as usize)
            });
            let whole = Model { kind, ..Model::whole(1 << lg2, pfns.collect()) };
            let size = whole.length() as usize + 1;
            let (a, b) = (a.index(size) as u64 / 4, whole.length() - b.index(size) as u64 / 4);
            whole.slice(a.min(b), a.max(b))
        },
    )
}

/// Lists of which most have archives, beside those that have none.
pub(crate) fn any_models() -> impl Strategy<Value = Model> {
    prop_oneof![1 => models(), 3 => long_models()]
}

fn kinds() -> impl Strategy<Value = Kind> {
    let device = any::<u32>().prop_map(|provider| Kind::Mmio { provider });
    prop_oneof![3 => Just(Kind::Ram), 1 => device, 1 => Just(Kind::User)]
}

/// A list as the part of a frozen one.
pub(crate) fn frozen_part(model: &Model) -> Frozen {
    let pages = Model::whole(model.granule, model.pfns.clone());
    let whole = Model { kind: model.kind, ..pages };
    whole.build().freeze().slice(model.start, model.end).unwrap()
}
