//! Blocks of each order in lists that are all blocks, of one size and of many.

use phyr::Builder;
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_list_of_blocks_has_as_many_of_each_order(
        orders in prop::collection::vec(0_u32..10, 1..40), repeat in 1_usize..60,
        odd in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut orders: Vec<u32> = orders.iter().copied().cycle().take(orders.len() * repeat).collect();
        if let Some(odd) = odd {
            // One as long as the address space allows, far from the others.
            *odd.get_mut(&mut orders) = 40;
        }
        let (mut builder, mut expected) = (Builder::new(), [0; 53]);
        for (at, &order) in (1_u64..).zip(&orders) {
            // Every second place of 2^10 pages, so that no two touch.
            let pfn = if order == 40 { 1 << 50 } else { at << 11 };
            builder.append_pfns(pfn, 1 << order).unwrap();
            expected[order as usize] += 1;
        }
        let phyr = builder.finish();
        prop_assert_eq!(phyr.orders(), expected);
        // A part begins and ends inside a block; whole pages are counted.
        let part = phyr.slice(1, phyr.length()).unwrap();
        prop_assert_eq!(part.orders(), expected);
    }
}
