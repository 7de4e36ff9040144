//! What a fuzzer does, in little and the same each time: archives of the seeds with a few bytes
//! changed. Nothing may panic, leave the folder or pass the limits.

use std::fs;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::Path;

use lasnn_datasets::fetch::unpack::{ArchiveError, Limits, Unpacked, unpack_tar, unpack_zip};
use tempfile::TempDir;

use super::toy::noise;

const LIMITS: Limits = Limits { entries: 16, file_bytes: 4096, total_bytes: 8192 };
/// Changed versions of each archive.
const ROUNDS: u64 = 100;

type Result = std::result::Result<Vec<Unpacked>, ArchiveError>;

/// Changes up to eight bytes, cuts the end off or puts a piece somewhere else.
fn mutated(archive: &[u8], round: u64) -> Vec<u8> {
    let mut changed = archive.to_vec();
    let dice = noise(round + 1, 32);
    let place = |at: usize| {
        let number = u32::from_le_bytes([dice[at], dice[at + 1], dice[at + 2], dice[at + 3]]);
        number as usize % archive.len()
    };
    match dice[0] % 8 {
        0 => changed.truncate(place(1)),
        1 => {
            let (from, to) = (place(1), place(5));
            let length = (place(9) % 64).min(archive.len() - from.max(to));
            changed.copy_within(from..from + length, to);
        }
        changes => {
            for change in 0..usize::from(changes) {
                changed[place(1 + 3 * change)] = dice[24 + change];
            }
        }
    }
    changed
}

fn check(seeds: &str, unpack: impl Fn(&[u8], &Path) -> Result) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(seeds);
    let mut good = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let archive = fs::read(entry.unwrap().path()).unwrap();
        let versions = (0..ROUNDS).map(|round| mutated(&archive, round));
        for version in [archive.clone()].into_iter().chain(versions) {
            let place = TempDir::new().unwrap();
            let into = place.path().join("into");
            fs::create_dir(&into).unwrap();
            if let Ok(files) = unpack(&version, &into) {
                good += 1;
                let bytes: u64 = files.iter().map(|file| file.bytes).sum();
                assert!(files.len() <= 16 && bytes <= 8192, "{files:?}");
                for file in &files {
                    assert!(file.path.starts_with("top/"), "{file:?}");
                    let found = fs::symlink_metadata(into.join(&file.path)).unwrap();
                    assert!(found.is_file() && found.len() == file.bytes, "{file:?}");
                }
            }
            for found in fs::read_dir(&into).unwrap() {
                assert_eq!(found.unwrap().file_name(), "top");
            }
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        }
    }
    assert!(good > 0, "no archive of {} is good", folder.display());
}

#[test]
fn changed_tar_archives_do_no_harm() {
    check("unpack_tar", |archive, into| {
        let tick = &mut |_, _| ControlFlow::Continue(());
        unpack_tar(archive, archive.len() as u64, into, "top", LIMITS, tick)
    });
}

#[test]
fn changed_zip_archives_do_no_harm() {
    check("unpack_zip", |archive, into| {
        let tick = &mut |_, _| ControlFlow::Continue(());
        unpack_zip(Cursor::new(archive), into, "top", LIMITS, tick)
    });
}
