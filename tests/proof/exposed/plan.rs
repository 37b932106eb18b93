use super::Rest;

/// The call, and then what is left.
#[unsafe(no_mangle)]
extern "C-unwind" fn rest_call(
    iova: u64,
    paddr: u64,
    left: u64,
    pgsize: u64,
    pgcount: u64,
    out: &mut [u64; 7],
) {
    let mut rest = Rest { iova, paddr, left };
    let call = rest.call((pgsize, pgcount));
    *out = [call.iova, call.paddr, call.pgsize, call.pgcount, rest.iova, rest.paddr, rest.left];
}
