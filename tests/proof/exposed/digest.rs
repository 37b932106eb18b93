#[unsafe(no_mangle)]
extern "C-unwind" fn digest_step(x: u64) -> u64 {
    super::step(x)
}
