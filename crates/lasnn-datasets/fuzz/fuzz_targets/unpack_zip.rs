//! Unpacks zip archives. Nothing may panic, leave the folder or pass the
//! limits: `cargo +nightly fuzz run unpack_zip` in the folder of the crate.

#![no_main]

use std::fs;
use std::io::Cursor;
use std::ops::ControlFlow;

use lasnn_datasets::fetch::unpack::{Limits, unpack_zip};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { entries: 16, file_bytes: 4096, total_bytes: 8192 };

fuzz_target!(|archive: &[u8]| {
    let place = tempfile::tempdir().unwrap();
    let into = place.path().join("into");
    fs::create_dir(&into).unwrap();
    let tick = &mut |_, _| ControlFlow::Continue(());
    if let Ok(files) = unpack_zip(Cursor::new(archive), &into, "top", LIMITS, tick) {
        assert!(files.len() <= 16 && files.iter().map(|file| file.bytes).sum::<u64>() <= 8192);
        for file in &files {
            let found = fs::symlink_metadata(into.join(&file.path)).unwrap();
            assert!(found.is_file() && found.len() == file.bytes);
        }
    }
    for found in fs::read_dir(&into).unwrap() {
        assert_eq!(found.unwrap().file_name(), "top");
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
});
