//! Archives that somebody hostile made: each is refused with an error of its own.

use std::fs;
use std::io::{Cursor, Write};
use std::ops::ControlFlow;

use lasnn_datasets::fetch::unpack::{
    ArchiveError, Limits, Unpacked, unpack_tar, unpack_tar_gz, unpack_zip,
};
use tar::{EntryType, Header};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::toy::{gz, tar};

const LIMITS: Limits = Limits { entries: 8, file_bytes: 1000, total_bytes: 2500 };

type Result = std::result::Result<Vec<Unpacked>, ArchiveError>;

/// Unpacks an archive, and checks that nothing is outside of its folder.
#[track_caller]
fn unpack(archive: &[u8], zip: bool) -> Result {
    let place = TempDir::new().unwrap();
    let into = place.path().join("into");
    fs::create_dir(&into).unwrap();
    let tick = &mut |_, _| ControlFlow::Continue(());
    let unpacked = if zip {
        unpack_zip(Cursor::new(archive), &into, "top", LIMITS, tick)
    } else {
        unpack_tar(archive, archive.len() as u64, &into, "top", LIMITS, tick)
    };
    let names = |folder| -> Vec<_> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names(place.path()), ["into"]);
    assert!(names(&into).iter().all(|name| name == "top"), "{:?}", names(&into));
    unpacked
}

#[track_caller]
fn refuses(archive: &[u8], zip: bool, message: &str) {
    assert_eq!(unpack(archive, zip).unwrap_err().to_string(), message);
}

/// A tar archive of one entry with any name of up to 100 bytes.
fn tar_of(name: &[u8], kind: EntryType, size: u64, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// A zip archive of files.
fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Where the list of a zip archive begins.
fn list(archive: &[u8]) -> usize {
    archive.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap()
}

/// Writes over bytes of the first entry of the list.
fn patched(mut archive: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let at = list(&archive) + at;
    archive[at..at + bytes.len()].copy_from_slice(bytes);
    archive
}

/// Another name of the same length, everywhere.
fn renamed(mut archive: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    for at in 0..archive.len() - from.len() {
        if archive[at..].starts_with(from) {
            archive[at..at + to.len()].copy_from_slice(to);
        }
    }
    archive
}

#[test]
fn good_archives_are_unpacked() {
    let files: &[(&str, &[u8])] = &[("top/a", b"abc"), ("top/b/c", &[7; 900]), ("top/d", b"")];
    for (archive, zip) in [(tar(files), false), (zip_of(files), true)] {
        let found = unpack(&archive, zip).unwrap();
        let found: Vec<_> = found.iter().map(|file| (&*file.path, file.bytes)).collect();
        assert_eq!(found, [("top/a", 3), ("top/b/c", 900), ("top/d", 0)]);
    }
    let folders = tar_of(b"top/", EntryType::Directory, 0, b"");
    assert_eq!(unpack(&folders, false).unwrap(), []);
    let place = TempDir::new().unwrap();
    let packed = gz(&tar(files));
    let tick = &mut |_, _| ControlFlow::Continue(());
    let found =
        unpack_tar_gz(&*packed, packed.len() as u64, place.path(), "top", LIMITS, tick).unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(fs::read(place.path().join("top/b/c")).unwrap(), [7; 900]);
}

#[test]
fn entries_outside_are_refused() {
    for name in ["/top/a", "../top/a", "top/../../a", "other/a", "C:/top/a", "\\\\host\\a"] {
        let shown = name.replace('\\', "\\\\");
        let message =
            format!("the entry `{shown}` lies outside, expected only entries in the folder `top`");
        refuses(&tar_of(name.as_bytes(), EntryType::Regular, 1, b"x"), false, &message);
        refuses(&tar_of(name.as_bytes(), EntryType::Directory, 0, b""), false, &message);
        // The library that writes may tidy a name up, so it is written over.
        let other = "t".repeat(name.len());
        let archive = renamed(zip_of(&[(&other, b"x")]), other.as_bytes(), name.as_bytes());
        refuses(&archive, true, &message);
    }
}

#[test]
fn links_and_devices_are_refused() {
    for (kind, found) in [
        (EntryType::Symlink, "a symbolic link"),
        (EntryType::Link, "a hard link"),
        (EntryType::Char, "a device"),
        (EntryType::Block, "a device"),
        (EntryType::Fifo, "a pipe"),
        (EntryType::GNUSparse, "a sparse file"),
        (EntryType::new(b'V'), "of an unknown kind"),
    ] {
        let message = format!("the entry `top/a` is {found}, expected a file or a folder");
        refuses(&tar_of(b"top/a", kind, 0, b""), false, &message);
    }
    for (mode, found) in [
        (0o120_777_u32, "a symbolic link"),
        (0o020_666, "a device"),
        (0o060_666, "a device"),
        (0o010_666, "of an unknown kind"),
        (0o140_666, "of an unknown kind"),
    ] {
        let message = format!("the entry `top/a` is {found}, expected a file or a folder");
        let archive = zip_of(&[("top/a", b"x")]);
        refuses(&patched(archive, 38, &(mode << 16).to_le_bytes()), true, &message);
    }
}

#[test]
fn duplicates_are_refused() {
    let twice = tar(&[("top/a", b"x"), ("top/a", b"y")]);
    refuses(&twice, false, "the entry `top/a` is there twice");
    let twice = renamed(zip_of(&[("top/a", b"x"), ("top/b", b"y")]), b"top/b", b"top/a");
    refuses(&twice, true, "the entry `top/a` is there twice");
    let twice = zip_of(&[("top/1234", b"x"), ("top/4321", b"y"), ("top/b", b"z")]);
    let order = b"top/\x1B[2J";
    let twice = renamed(renamed(twice, b"top/1234", order), b"top/4321", order);
    refuses(&twice, true, "the entry `top/\\u{1b}[2J` is there twice");
    let twice = zip_of(&[("top/a", b"x"), ("top/./a", b"y")]);
    assert!(matches!(unpack(&twice, true), Err(ArchiveError::Duplicate { .. })));
}

#[test]
fn names_that_are_no_text_or_too_long_are_refused() {
    let message = "the entry `top/\u{FFFD}` has a name that is not UTF-8";
    refuses(&tar_of(b"top/\xFF", EntryType::Regular, 1, b"x"), false, message);
    let archive = renamed(zip_of(&[("top/a", b"x")]), b"top/a", b"top/\xFF");
    refuses(&archive, true, message);

    let long = format!("top/{}", "n".repeat(300));
    for (archive, zip) in [
        (tar_of(b"top/a", EntryType::GNULongName, 300, &[b'n'; 300]), false),
        (zip_of(&[(&long, b"x")]), true),
    ] {
        let error = unpack(&archive, zip).unwrap_err();
        assert!(matches!(error, ArchiveError::LongName { .. }), "{error}");
    }
    for key in ["path", "size"] {
        let note = format!("{} {key}=7\n", key.len() + 5);
        let archive = tar_of(b"note", EntryType::XHeader, note.len() as u64, note.as_bytes());
        let error = unpack(&archive, false).unwrap_err();
        assert!(matches!(error, ArchiveError::Kind { .. }), "{error}");
    }
    let harmless = tar_of(b"note", EntryType::XHeader, 11, b"11 mtime=7\n");
    assert_eq!(unpack(&harmless, false).unwrap(), []);
}

#[test]
fn too_many_entries_are_refused() {
    let names: Vec<String> = (0..9).map(|number| format!("top/{number}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b"x"[..])).collect();
    let message = "the archive has more than 8 entries";
    refuses(&tar(&files), false, message);
    refuses(&zip_of(&files), true, message);
    // So many that the list alone is too long to be read.
    let names: Vec<String> =
        (0..12_000).map(|number| format!("top/{}{number}", "n".repeat(60))).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b""[..])).collect();
    refuses(&zip_of(&files), true, message);
}

/// More than the 16 bits of the oldest format count, as the images of Tiny ImageNet are.
#[test]
fn every_entry_of_a_long_list_is_unpacked() {
    const ENTRIES: u32 = 70_000;
    // The same folder in as many ways: files would have to be synced, which takes minutes.
    let way = |entry: u32| -> String {
        let parts = (0..17).map(|bit| if entry >> bit & 1 == 1 { "./" } else { "/" });
        ["top/"].into_iter().chain(parts).collect()
    };
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for entry in 1..ENTRIES {
        archive.add_directory(way(entry), SimpleFileOptions::default()).unwrap();
    }
    archive.start_file("top/last", SimpleFileOptions::default()).unwrap();
    archive.write_all(b"abc").unwrap();
    let mut archive = archive.finish().unwrap();
    assert!(archive.get_ref().windows(4).any(|bytes| bytes == b"PK\x06\x06"), "it is no zip64");
    let mut unpack = |entries| {
        let place = TempDir::new().unwrap();
        let limits = Limits { entries, ..LIMITS };
        let tick = &mut |_, _| ControlFlow::Continue(());
        unpack_zip(&mut archive, place.path(), "top", limits, tick)
    };
    let found = unpack(u64::from(ENTRIES)).unwrap();
    assert_eq!(found, [Unpacked { path: "top/last".into(), bytes: 3 }]);
    let error = unpack(u64::from(ENTRIES) - 1).unwrap_err();
    assert!(matches!(error, ArchiveError::Entries { most: 69_999 }), "{error}");
}

#[test]
fn bombs_are_refused() {
    let zeros = vec![0; 1_000_000];
    let message = "the entry `top/a` has 1000000 bytes, expected at most 1000";
    refuses(&tar(&[("top/a", &zeros)]), false, message);
    refuses(&zip_of(&[("top/a", &zeros)]), true, message);

    let parts: &[(&str, &[u8])] =
        &[("top/a", &zeros[..1000]), ("top/b", &zeros[..1000]), ("top/c", &zeros[..1000])];
    let message = "the archive unpacks to more than 2500 bytes";
    refuses(&tar(parts), false, message);
    refuses(&zip_of(parts), true, message);

    // A list that says less than the entry holds.
    let small = patched(zip_of(&[("top/a", &zeros)]), 24, &7_u32.to_le_bytes());
    let error = unpack(&small, true).unwrap_err();
    assert!(matches!(error, ArchiveError::Size { expected: 7, .. } | ArchiveError::Broken { .. }));

    // Nothing but filling, after the end of the archive.
    let mut endless = tar(&[("top/a", b"x")]);
    endless.resize(20_000_000, 0);
    let packed = gz(&endless);
    let place = TempDir::new().unwrap();
    let tick = &mut |_, _| ControlFlow::Continue(());
    let error = unpack_tar_gz(&*packed, 0, place.path(), "top", LIMITS, tick).unwrap_err();
    assert_eq!(error.to_string(), message);
}

#[test]
fn unknown_ways_to_pack_are_refused() {
    let archive = || zip_of(&[("top/a", b"x")]);
    let error = unpack(&patched(archive(), 10, &12_u16.to_le_bytes()), true).unwrap_err();
    assert!(matches!(error, ArchiveError::Packing { .. }), "{error}");
    let error = unpack(&patched(archive(), 8, &1_u16.to_le_bytes()), true).unwrap_err();
    let message = "the entry `top/a` is encrypted, expected it stored or deflated";
    assert_eq!(error.to_string(), message);
}

#[test]
fn broken_archives_are_refused() {
    let files: &[(&str, &[u8])] = &[("top/a", &[7; 900]), ("top/b", b"x")];
    let whole = tar(files);
    for length in [1, 500, 513, 1000, 1600] {
        assert!(unpack(&whole[..length], false).is_err(), "{length}");
    }
    let whole = zip_of(files);
    for length in 0..whole.len() {
        assert!(unpack(&whole[..length], true).is_err(), "{length}");
    }
    let packed = gz(&tar(files));
    let place = TempDir::new().unwrap();
    let mut wrong = packed.clone();
    let sum = wrong.len() - 8;
    wrong[sum] ^= 1;
    let tick = &mut |_, _| ControlFlow::Continue(());
    let error = unpack_tar_gz(&*wrong, 0, place.path(), "top", LIMITS, tick).unwrap_err();
    assert!(matches!(error, ArchiveError::Broken { .. }), "{error}");
}

#[test]
fn unpacking_can_be_stopped() {
    let place = TempDir::new().unwrap();
    let archive = tar(&[("top/a", b"x")]);
    let tick = &mut |_, _| ControlFlow::Break(());
    let error = unpack_tar(&*archive, 0, place.path(), "top", LIMITS, tick).unwrap_err();
    assert!(matches!(error, ArchiveError::Stopped), "{error}");
}
