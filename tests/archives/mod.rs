//! A check that a strategy draws lists with archives: freezing leaves short ones as they are.

use phyr::Phyr;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Demands that a quarter of the lists that a strategy draws have archives.
pub(crate) fn demand<T>(strategy: &impl Strategy<Value = T>, list: impl Fn(&T) -> Phyr) {
    let (mut runner, mut found) = (TestRunner::deterministic(), 0);
    for _ in 0..100 {
        let drawn = strategy.new_tree(&mut runner).unwrap().current();
        let bytes = list(&drawn).freeze().to_bytes().unwrap();
        found += usize::from(bytes.starts_with(b"PHYF"));
    }
    assert!(found >= 25, "of 100 lists, {found} have archives");
}
