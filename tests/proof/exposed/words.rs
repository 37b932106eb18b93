use super::{decode, is_plain};

#[unsafe(no_mangle)]
extern "C-unwind" fn decode_words(words: &[u64; 2], out: &mut [u64; 3]) {
    let (run, used) = decode(words, 0);
    *out = [run.pfn, run.nr_pages, used as u64];
}

fn plain_pages<const N: usize>(words: &[u64; N], out: &mut [u64; 1]) -> bool {
    let Some(pages) = super::plain_pages(words) else { return false };
    *out = [pages];
    true
}

#[unsafe(no_mangle)]
extern "C-unwind" fn plain_pages_1(words: &[u64; 1], out: &mut [u64; 1]) -> bool {
    plain_pages(words, out)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn plain_pages_2(words: &[u64; 2], out: &mut [u64; 1]) -> bool {
    plain_pages(words, out)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn is_plain_4(words: &[u64; 4]) -> bool {
    is_plain(words)
}
