//! Tests from files to images and packs.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::fixture::{cache_options, encoded, write};
use super::*;

const TARGET: Target = Target { shape: Shape { channels: 3, height: 2, width: 2 }, resize: false };

/// Makes a folder of nine PNG files and a text file, and a cache.
fn fixture() -> (TempDir, Files, PathBuf) {
    let directory = TempDir::new().unwrap();
    for image in 0..9 {
        let name = format!("files/{image}.png");
        write(directory.path(), &name, encoded(&name, 2, 2, image));
    }
    write(directory.path(), "files/list.txt", "text");
    age(&directory.path().join("files"), 1000);
    let files = Files::Folder(directory.path().join("files"));
    let cache = directory.path().join("cache");
    (directory, files, cache)
}

/// Five training images, two validation images and two test images.
fn scan() -> Scan {
    let sample = |image: u8| Sample {
        file: format!("{image}.png"),
        format: Format::Png,
        label: u32::from(image % 2),
    };
    Scan {
        name: "fixture",
        class_names: vec!["even".into(), "odd".into()],
        train: (0..5).map(sample).collect(),
        validation: (5..7).map(sample).collect(),
        test: (7..9).map(sample).collect(),
        texts: vec!["list.txt".into()],
    }
}

/// Sets old modification times, so that the fingerprint of the files counts.
fn age(folder: &Path, seconds: u64) {
    for entry in fs::read_dir(folder).unwrap() {
        let file = File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }
}

/// Loads the images and returns the progress reports.
fn reported(files: &Files, cache: &Path) -> (Dataset, Vec<Progress>) {
    let reports = RefCell::new(Vec::new());
    let progress = |progress| {
        reports.borrow_mut().push(progress);
        ControlFlow::Continue(())
    };
    let options = CacheOptions { progress: Some(&progress), ..cache_options(cache) };
    let dataset = load(files, scan(), TARGET, options).unwrap();
    (dataset, reports.into_inner())
}

#[test]
fn images_are_decoded_once() {
    let (_directory, files, cache) = fixture();
    let (first, reports) = reported(&files, &cache);
    let report = |step, total| Progress { step, done: total, total };
    assert_eq!(reports, [report(Step::Hashing, 10), report(Step::Decoding, 9)]);
    assert_eq!((first.train.len(), first.test.len()), (7, 2));
    assert_eq!(first.validation, Some(vec![5, 6]));
    assert_eq!(first.train.labels, [0, 1, 0, 1, 0, 1, 0]);
    assert_eq!(first.train.image(6), [[6; 4], [3; 4], [249; 4]].concat());
    assert_eq!(first.test.image(1), [[8; 4], [4; 4], [247; 4]].concat());

    let (second, reports) = reported(&files, &cache);
    assert_eq!(reports, [], "neither hashed nor decoded");
    assert_eq!((&second.train, &second.test), (&first.train, &first.test));
    assert_eq!(second.sha256, first.sha256);
}

#[test]
fn a_change_of_any_file_is_noticed() {
    let (directory, files, cache) = fixture();
    let (before, _) = reported(&files, &cache);
    write(directory.path(), "files/7.png", encoded("7.png", 2, 2, 100));
    let (after, reports) = reported(&files, &cache);
    assert_eq!(reports.len(), 2);
    assert_eq!(after.test.image(0)[0], 100);
    assert_ne!(after.sha256, before.sha256);
    write(directory.path(), "files/list.txt", "Text");
    assert_ne!(reported(&files, &cache).0.sha256, after.sha256);
}

#[test]
fn files_with_other_times_are_hashed_but_not_decoded_again() {
    let (directory, files, cache) = fixture();
    reported(&files, &cache);
    age(&directory.path().join("files"), 2000);
    let (_, reports) = reported(&files, &cache);
    assert_eq!(reports, [Progress { step: Step::Hashing, done: 10, total: 10 }]);
    assert_eq!(reported(&files, &cache).1, []);
}

/// Simulates a disk that has lost a bit. On Unix, the fingerprint notices a byte that a program
/// changes, so the test stores the old hash under the new fingerprint.
#[test]
fn a_byte_that_changed_in_secret_is_found_where_files_are_read_again() {
    let (directory, files, cache) = fixture();
    let (before, _) = reported(&files, &cache);
    let again = CacheOptions { again: true, ..cache_options(&cache) };
    let unchanged = load(&files, scan(), TARGET, again).unwrap();
    assert_eq!((&unchanged.train, &unchanged.sha256), (&before.train, &before.sha256));

    write(directory.path(), "files/list.txt", "Text");
    age(&directory.path().join("files"), 1000);
    let names: Vec<String> = (0..9).map(|image| format!("{image}.png")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["list.txt"]).collect();
    let fingerprint = fingerprint::of_files(&files, &names).unwrap();
    assert!(fingerprint.is_some());
    digest::remember(&cache, "fixture", fingerprint, &before.sha256);
    assert_eq!(reported(&files, &cache).1, [], "nothing is read");
    let error = load(&files, scan(), TARGET, again).unwrap_err();
    let DatasetError::Changed { found, expected, .. } = &error else { panic!("{error}") };
    assert_eq!(*expected, before.sha256);
    assert!(error.to_string().contains(found) && found != expected, "{error}");
}

#[test]
fn another_target_is_another_pack_of_the_same_data_set() {
    let (_directory, files, cache) = fixture();
    let (small, _) = reported(&files, &cache);
    let large = Target { shape: Shape { channels: 1, height: 4, width: 3 }, resize: true };
    let large = load(&files, scan(), large, cache_options(&cache)).unwrap();
    assert_eq!(large.sha256, small.sha256);
    assert_eq!(large.test.pixels.len(), 2 * 12);
    assert_eq!(reported(&files, &cache).1, [], "the first pack is still there");
}

#[test]
fn a_damaged_pack_is_made_again() {
    let (_directory, files, cache) = fixture();
    let (before, _) = reported(&files, &cache);
    let packs = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    for pack in packs.filter(|path| path.extension().is_some_and(|end| end == "pack")) {
        let bytes = fs::read(&pack).unwrap();
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, &bytes[..bytes.len() - 1]).unwrap();
    }
    let (after, reports) = reported(&files, &cache);
    assert_eq!(reports.len(), 2);
    assert_eq!(after.train, before.train);
}

#[test]
fn the_first_image_that_cannot_be_decoded_is_named_and_nothing_is_left() {
    let (directory, files, cache) = fixture();
    for name in ["3.png", "5.png"] {
        write(directory.path(), &format!("files/{name}"), b"no image");
    }
    for _ in 0..3 {
        let error = load(&files, scan(), TARGET, cache_options(&cache)).unwrap_err().to_string();
        assert!(error.contains("3.png: found 8 bytes that no PNG begins with"), "{error}");
    }
    let left = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    let left = left.filter(|path| path.extension().is_none_or(|end| end != "lock"));
    assert_eq!(left.count(), 0);
}

#[test]
fn an_interruption_leaves_nothing_unfinished() {
    let (_directory, files, cache) = fixture();
    let interrupted = |at| {
        let stop = |progress: Progress| match progress.step == at {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let options = CacheOptions { progress: Some(&stop), ..cache_options(&cache) };
        let error = load(&files, scan(), TARGET, options).unwrap_err();
        assert!(matches!(error, DatasetError::Interrupted), "{error}");
    };
    let left = || -> Vec<PathBuf> {
        fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    interrupted(Step::Hashing);
    assert!(!cache.exists());
    interrupted(Step::Decoding);
    let [lock] = &left()[..] else { panic!("{:?}", left()) };
    assert_eq!(lock.extension(), Some("lock".as_ref()));
    // The rest that a killed process has left does no harm either.
    fs::write(lock.with_extension("pack.part"), [1; 1000]).unwrap();
    interrupted(Step::Decoding);
    assert_eq!(left(), std::slice::from_ref(lock));
    assert_eq!(reported(&files, &cache).0.train.len(), 7);
}

#[test]
fn a_file_that_changes_between_hashing_and_decoding_is_noticed() {
    let (directory, files, cache) = fixture();
    let spoil = |progress: Progress| {
        if progress.step == Step::Hashing {
            write(directory.path(), "files/0.png", encoded("0.png", 2, 2, 77));
        }
        ControlFlow::Continue(())
    };
    let options = CacheOptions { progress: Some(&spoil), ..cache_options(&cache) };
    let error = load(&files, scan(), TARGET, options).unwrap_err().to_string();
    assert!(error.contains("0.png: found other bytes than a moment ago"), "{error}");
}

#[test]
fn a_folder_that_vanishes_is_an_error() {
    let (directory, files, cache) = fixture();
    let vanish = |progress: Progress| {
        if progress.step == Step::Hashing {
            fs::remove_dir_all(directory.path().join("files")).unwrap();
        }
        ControlFlow::Continue(())
    };
    let options = CacheOptions { progress: Some(&vanish), ..cache_options(&cache) };
    let error = load(&files, scan(), TARGET, options).unwrap_err();
    assert!(matches!(error, DatasetError::Missing { .. }), "{error}");
}
