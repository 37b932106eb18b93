//! Python with the runtime of a sanitizer, which an extension module that was built with it needs.

use std::env::args_os;
use std::ffi::{CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::process::exit;
use std::ptr::null_mut;

unsafe extern "C" {
    fn Py_BytesMain(argc: c_int, argv: *mut *mut c_char) -> c_int;
}

fn main() {
    let words: Vec<CString> =
        args_os().map(|word| CString::new(word.as_bytes()).expect("no zeros inside")).collect();
    let mut argv: Vec<*mut c_char> = words.iter().map(|word| word.as_ptr().cast_mut()).collect();
    let argc = c_int::try_from(argv.len()).expect("few words");
    argv.push(null_mut());
    // SAFETY: as many words as said, and a null after them; they last as long as the program.
    exit(unsafe { Py_BytesMain(argc, argv.as_mut_ptr()) })
}
