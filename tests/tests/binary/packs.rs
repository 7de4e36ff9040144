//! Packs: files of decoded images that `lasnn` keeps for the next command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use image::RgbImage;
use lasnn_tests::recipe::{SYNTHETIC, tiny_with};
use lasnn_tests::{Outcome, Sandbox};

/// The rows and the columns of an image.
const SIDE: u32 = 32;
/// The number of training images. There is one test image more.
const IMAGES: u32 = 60;
/// A size in bytes that is enough for one pack of these images and not for two.
pub const ONE_PACK: usize = 200 << 10;

/// Decodes the images and writes a pack below the folder `data`.
pub const VERIFY: [&str; 5] = ["data", "verify", "images.toml", "--data-dir", "data"];

/// A sandbox with a folder of images in two classes, and a recipe `images.toml` that reads them.
pub fn with_images() -> Sandbox {
    let sandbox = Sandbox::new();
    for image in 0..=IMAGES {
        let split = if image == IMAGES { "test" } else { "train" };
        let folder = sandbox.path().join(format!("images/{split}/{}", image % 2));
        fs::create_dir_all(&folder).unwrap();
        let dots = RgbImage::from_fn(SIDE, SIDE, |x, y| [x as u8, y as u8, image as u8].into());
        dots.save(folder.join(format!("{image:02}.png"))).unwrap();
    }
    let path = sandbox.path().join("images");
    let source = format!(
        "source = \"folder\"\nfolder = {{ path = '{}', size = [{SIDE}, {SIDE}] }}",
        path.display()
    );
    sandbox.write("images.toml", &tiny_with(SYNTHETIC, &source));
    sandbox
}

/// All files in a folder and in the folders below it.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

pub fn is_pack(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pack")
}

/// All files below the folder `data`, except locks: packs, and packs that are not complete.
pub fn packs(sandbox: &Sandbox) -> Vec<PathBuf> {
    let is_lock = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "lock");
    files(&sandbox.path().join("data")).into_iter().filter(|path| !is_lock(path)).collect()
}

#[test]
fn a_variable_names_the_folder_for_packs_and_an_option_overrides_it() {
    let sandbox = with_images();
    let packs_in = |folder: &str| {
        files(&sandbox.path().join(folder)).iter().filter(|path| is_pack(path)).count()
    };
    let verify = |variable: &str, options: &[&str]| {
        let mut command = sandbox.lasnn(&[&VERIFY[..], options].concat());
        assert!(command.env("LASNN_CACHE_DIR", variable).output().unwrap().status.success());
    };
    verify("by-variable", &[]);
    assert_eq!([packs_in("by-variable"), packs_in("data")], [1, 0]);
    verify("by-variable-2", &["--cache-dir", "by-option"]);
    assert_eq!([packs_in("by-option"), packs_in("by-variable-2")], [1, 0]);
    verify("", &[]);
    assert_eq!(packs_in("data"), 1);
}

#[test]
fn processes_share_a_pack() {
    let sandbox = with_images();
    let mut children: Vec<_> =
        (0..3).map(|_| sandbox.lasnn(&VERIFY).stdout(Stdio::null()).spawn().unwrap()).collect();
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let all = packs(&sandbox);
    assert!(all.len() == 1 && is_pack(&all[0]), "{all:?}");
}

/// The folder is renamed after delays from 0 to 88 ms, so that the command finds it missing at
/// different moments: before it opens the folder, while it reads, and after it has read all.
#[test]
fn a_folder_that_vanishes_is_an_error_unless_it_was_read() {
    let sandbox = with_images();
    let (folder, elsewhere) = (sandbox.path().join("images"), sandbox.path().join("elsewhere"));
    for delay in 0..12 {
        fs::remove_dir_all(sandbox.path().join("data")).ok();
        let mut command = sandbox.lasnn(&VERIFY);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_millis(8 * delay));
        fs::rename(&folder, &elsewhere).unwrap();
        let outcome = Outcome::of(child.wait_with_output().unwrap());
        fs::rename(&elsewhere, &folder).unwrap();
        if outcome.code != Some(0) {
            outcome.assert_failed(1, &["images"]);
            assert_eq!(packs(&sandbox), [] as [PathBuf; 0]);
        }
    }
}
