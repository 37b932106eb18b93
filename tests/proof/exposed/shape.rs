use super::Shape;

/// Blocks and records of a chain of blocks of 128 slots, as scatterlists have; and of 512, as PRP lists.
#[unsafe(no_mangle)]
extern "C-unwind" fn shape_128(nr_data: u64, out: &mut [u64; 2]) {
    let shape = Shape::new(nr_data, Some(128));
    *out = [shape.nr_blocks(), shape.nr_records()];
}

#[unsafe(no_mangle)]
extern "C-unwind" fn shape_512(nr_data: u64, out: &mut [u64; 2]) {
    let shape = Shape::new(nr_data, Some(512));
    *out = [shape.nr_blocks(), shape.nr_records()];
}

#[unsafe(no_mangle)]
extern "C-unwind" fn records_in_512(nr_data: u64, block: u64) -> u64 {
    Shape::new(nr_data, Some(512)).records_in(block)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn shape_in_one_piece(nr_data: u64, out: &mut [u64; 2]) {
    let shape = Shape::new(nr_data, None);
    *out = [shape.nr_blocks(), shape.nr_records()];
}
