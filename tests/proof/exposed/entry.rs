use super::{Entry, Run};

#[unsafe(no_mangle)]
extern "C-unwind" fn encode(pfn: u64, nr_pages: u64, out: &mut [u64; 2]) -> bool {
    let Some((entry, more)) = Entry::encode(pfn, nr_pages) else { return false };
    *out = [entry.word(), more.unwrap_or(0)];
    true
}

#[unsafe(no_mangle)]
extern "C-unwind" fn pack(pfn: u64, nr_pages: u64, out: &mut [u64; 2]) {
    let (entry, count) = Entry::pack(Run { pfn, nr_pages });
    *out = [entry.word(), count];
}

#[unsafe(no_mangle)]
extern "C-unwind" fn from_word(word: u64) -> bool {
    Entry::from_word(word).is_some()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn pfn(word: u64) -> u64 {
    Entry::stored(word).pfn()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn order(word: u64) -> u32 {
    Entry::stored(word).order()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn count(word: u64) -> u64 {
    Entry::stored(word).count()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn is_escape(word: u64) -> bool {
    Entry::stored(word).is_escape()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn marker(word: u64) -> u64 {
    Entry::stored(word).marker()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn nr_pages(word: u64) -> u64 {
    Entry::stored(word).nr_pages()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn nr_pages_with(word: u64, next: u64, out: &mut [u64; 1]) -> bool {
    let Some(nr_pages) = Entry::stored(word).nr_pages_with(next) else { return false };
    *out = [nr_pages];
    true
}

#[unsafe(no_mangle)]
extern "C-unwind" fn bytes(word: u64, out: &mut [u64; 2]) {
    *out = Entry::stored(word).bytes().into();
}

#[unsafe(no_mangle)]
extern "C-unwind" fn one_page(pfn: u64) -> u64 {
    Entry::one_page(pfn)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn bounds(joined: u64, out: &mut [u64; 2]) -> bool {
    let Some((order, pfn)) = Entry::bounds(joined) else { return false };
    *out = [order.into(), pfn];
    true
}

#[unsafe(no_mangle)]
extern "C-unwind" fn pages_of_halves(low: u64, high: u64) -> u64 {
    Entry::pages_of_halves(low, high)
}
