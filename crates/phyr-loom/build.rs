//! Takes `src/storage/shared.rs` as it is, with the atomics and the allocator of loom; and once more
//! with an ordering too weak, in which loom has to find the mistake.

use std::path::Path;
use std::{env, fs};

const SOURCE: &str = "../../src/storage/shared.rs";
/// Replacements; the old text must be there once.
const BY_LOOM: [(&str, &str); 2] =
    [("core::sync::atomic::", "loom::sync::atomic::"), ("alloc::alloc::{", "loom::alloc::{")];
const MISTAKES: [(&str, &str, &str); 2] = [
    ("unreleased", "fetch_sub(1, Ordering::Release)", "fetch_sub(1, Ordering::Relaxed)"),
    ("unacquired", "load(Ordering::Acquire)", "load(Ordering::Relaxed)"),
];

fn replaced(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{SOURCE} has {old:?} once");
    text.replace(old, new)
}

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let text = fs::read_to_string(SOURCE).expect("the source");
    let (code, _) = text.split_once("#[cfg(test)]").expect("tests at the end");
    // A file that is included has no comments and attributes of a module.
    let lines = code.lines().filter(|line| !line.starts_with("//!") && !line.starts_with("#!["));
    let mut code = lines.collect::<Vec<_>>().join("\n");
    for (old, new) in BY_LOOM {
        code = replaced(&code, old, new);
    }
    let to = env::var_os("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&to).join("shared.rs"), &code).expect("a file is written");
    for (name, old, new) in MISTAKES {
        let file = Path::new(&to).join(name).with_extension("rs");
        fs::write(file, replaced(&code, old, new)).expect("a file is written");
    }
}
