//! Your own images, in a folder for each class.
//!
//! The folder has `train/<class>/` and `test/<class>/` with the images, and optionally
//! `val/<class>/`, which then is the validation split. The rules:
//!
//! - The classes are the folders in `train`, sorted by name as bytes. Images are sorted in the same
//!   way.
//! - `val` and `test` may lack classes, but they have no class that `train` lacks.
//! - The folder of a class contains at least one image.
//! - An image is a PNG, JPEG or WebP file. The extension (`.png`, `.jpg`, `.jpeg` or `.webp`, in
//!   upper or lower case) says which, and the content must match it.
//! - Hidden files and folders (their names begin with a dot) are ignored, and so is everything
//!   beside `train`, `val` and `test`. Other things in the wrong place are errors: a file beside
//!   the folders of classes, a folder or another kind of file among the images.
//! - Links are followed. Only the folders named here are entered, so circular links do no harm.
//! - All names are UTF-8.

use std::path::Path;

use crate::dataset::Dataset;
use crate::encoded::files::{Entry, Files};
use crate::encoded::{self, CacheOptions, Sample, Scan};
use crate::error::{DatasetError, Flaw};
use crate::formats::picture::{Format, Target};
use crate::options::FolderConfig;
use crate::source::{DatasetSource, SourceArgs};

/// The name of the source.
const NAME: &str = "folder";

/// A folder of images.
///
/// The SHA-256 of the data set covers the paths, lengths and contents of all images; size and
/// channels in the recipe do not change it.
#[derive(Clone, Copy, Debug)]
pub struct Folder;

impl DatasetSource for Folder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_sorted_by_class(&self) -> bool {
        true
    }

    fn load(&self, args: &SourceArgs<'_>) -> Result<Dataset, DatasetError> {
        load(args.folder()?, args.data_dir, args.cache(NAME)?)
    }
}

fn load(
    config: &FolderConfig,
    data_dir: Option<&Path>,
    cache: CacheOptions<'_>,
) -> Result<Dataset, DatasetError> {
    let root = match data_dir {
        Some(data_dir) => data_dir.join(&config.path),
        None if config.path.is_absolute() => config.path.clone(),
        None => return Err(DatasetError::NoDirectory { name: NAME }),
    };
    let files = Files::Folder(root);
    let target = Target { shape: config.shape(), resize: config.resize };
    encoded::load(&files, scan(&files)?, target, cache)
}

/// Finds all images and their classes.
fn scan(files: &Files) -> Result<Scan, DatasetError> {
    let top = files.list("", "a folder with the folders `train` and `test`")?;
    let train = classes(files, "train")?;
    if train.is_empty() {
        let flaw = Flaw::file("no folder of a class", "one folder for each class");
        return Err(flaw.of(files.path("train")));
    }
    let samples = |split: &str, present: &[String]| {
        let mut samples = Vec::new();
        for class in present {
            let folder = format!("{split}/{class}");
            let Ok(label) = train.binary_search(class) else {
                let expected = format!("one of the {} classes of `train`", train.len());
                let flaw = Flaw::file("a class that is not in `train`", expected);
                return Err(flaw.of(files.path(&folder)));
            };
            images(files, &folder, label as u32, &mut samples)?;
        }
        Ok(samples)
    };
    let has_val = top.iter().any(|entry| entry.name == "val");
    let validation = if has_val { samples("val", &classes(files, "val")?)? } else { Vec::new() };
    let test = samples("test", &classes(files, "test")?)?;
    if test.is_empty() {
        let flaw = Flaw::file("no folder of a class", "images to test on");
        return Err(flaw.of(files.path("test")));
    }
    Ok(Scan {
        name: NAME,
        train: samples("train", &train)?,
        validation,
        test,
        class_names: train,
        texts: Vec::new(),
    })
}

/// The names of the folders below `split`, sorted.
fn classes(files: &Files, split: &str) -> Result<Vec<String>, DatasetError> {
    let expected = "a folder with a folder of images for each class";
    let mut classes = Vec::new();
    for Entry { name, is_folder } in files.list(split, expected)? {
        if !is_folder {
            let flaw = Flaw::file("a file", "only folders of classes here");
            return Err(flaw.of(files.path(&format!("{split}/{name}"))));
        }
        classes.push(name);
    }
    Ok(classes)
}

/// Adds the images of one class.
fn images(
    files: &Files,
    folder: &str,
    label: u32,
    samples: &mut Vec<Sample>,
) -> Result<(), DatasetError> {
    let entries = files.list(folder, "the images of a class")?;
    if entries.is_empty() {
        return Err(Flaw::file("an empty folder", "images").of(files.path(folder)));
    }
    for Entry { name, is_folder } in entries {
        let file = format!("{folder}/{name}");
        let format = Format::of_name(&name).filter(|_| !is_folder);
        let Some(format) = format else {
            let found =
                if is_folder { "a folder" } else { "a file without the extension of an image" };
            let expected = "only files ending in .png, .jpg, .jpeg or .webp here";
            return Err(Flaw::file(found, expected).of(files.path(&file)));
        };
        samples.push(Sample { file, format, label });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::encoded::fixture::{cache_options, encoded, grey, write};

    fn config(more: &str) -> FolderConfig {
        toml::from_str(&format!("path = 'flowers'\nsize = [2, 3]\n{more}")).unwrap()
    }

    /// Makes a folder with two classes and all three formats.
    fn fixture() -> TempDir {
        let directory = TempDir::new().unwrap();
        for (name, seed) in [
            ("train/rose/b.png", 10),
            ("train/rose/a.webp", 20),
            ("train/daisy/x.JPG", 30),
            ("test/rose/1.png", 40),
            ("test/daisy/2.png", 50),
        ] {
            write(directory.path(), &format!("flowers/{name}"), encoded(name, 2, 3, seed));
        }
        for name in [".DS_Store", "train/.hidden/x", "train/rose/.thumbs", "README.md"] {
            write(directory.path(), &format!("flowers/{name}"), "nothing that matters");
        }
        directory
    }

    fn load_from(directory: &TempDir, config: &FolderConfig) -> Result<Dataset, DatasetError> {
        let cache = directory.path().join("cache");
        load(config, Some(directory.path()), cache_options(&cache))
    }

    /// Checks the error of loading the folder after `spoil` has changed it.
    #[track_caller]
    fn refuses(spoil: impl Fn(&Path), message: &str) {
        let directory = fixture();
        spoil(&directory.path().join("flowers"));
        let error = load_from(&directory, &config("")).unwrap_err().to_string();
        let below = directory.path().join("flowers").display().to_string();
        assert_eq!(error.replace(&below, "{}"), message);
    }

    #[test]
    fn classes_and_images_are_sorted_by_name() {
        let directory = fixture();
        let dataset = load_from(&directory, &config("")).unwrap();
        assert_eq!(dataset.class_names, ["daisy", "rose"]);
        assert_eq!((dataset.train.len(), dataset.test.len()), (3, 2));
        assert_eq!(dataset.train.labels, [0, 1, 1]);
        assert_eq!(dataset.test.labels, [0, 1]);
        assert_eq!(dataset.train.image(1), [[20; 6], [10; 6], [235; 6]].concat());
        assert_eq!(dataset.train.image(2)[0], 10);
        assert!(dataset.train.image(0)[0].abs_diff(30) <= 3);
        assert_eq!(dataset.validation, None);
    }

    #[test]
    fn a_folder_val_is_the_validation_split() {
        let directory = fixture();
        let name = "flowers/val/rose/v.png";
        write(directory.path(), name, encoded(name, 2, 3, 60));
        let config = crate::DatasetConfig {
            folder: Some(config("")),
            ..crate::DatasetConfig::new(crate::Source::Folder)
        };
        let dataset = crate::load(&config, Some(directory.path())).unwrap();
        assert_eq!(dataset.validation, Some(vec![3]));
        assert_eq!(dataset.train.image(3)[0], 60);
        let split = crate::split(&dataset, &config, lasnn_core::Seed(1)).unwrap();
        assert_eq!((split.train, split.validation), (vec![0, 1, 2], vec![3]));
        assert!(directory.path().join("packed").is_dir());

        let config = crate::DatasetConfig { validation: 1, ..config };
        let error = crate::load(&config, Some(directory.path())).unwrap_err().to_string();
        assert!(error.contains("`data.validation` is 1, expected 0 or no such key"), "{error}");
    }

    #[test]
    fn grey_images_have_three_channels_or_one() {
        let directory = fixture();
        let name = "flowers/test/rose/1.png";
        write(directory.path(), name, grey(name, 2, 3, 99));
        let three = load_from(&directory, &config("")).unwrap();
        assert_eq!(three.test.image(1), [99; 18]);
        let one = load_from(&directory, &config("channels = 1")).unwrap();
        assert_eq!((one.shape.channels, one.test.image(1)), (1, &[99; 6][..]));
        assert_eq!(one.sha256, three.sha256);
    }

    #[test]
    fn images_of_another_size_are_refused_or_resized() {
        let larger = |root: &Path| write(root, "test/rose/1.png", encoded("1.png", 8, 6, 200));
        refuses(
            larger,
            "{}/test/rose/1.png: found an image of 8 x 6 (height x width), expected 2 x 3, since \
             images are not resized",
        );
        let directory = fixture();
        larger(&directory.path().join("flowers"));
        let dataset = load_from(&directory, &config("resize = true")).unwrap();
        assert_eq!(dataset.test.image(1), [[200; 6], [100; 6], [55; 6]].concat());
    }

    #[test]
    fn names_and_contents_must_agree() {
        refuses(
            |root| write(root, "train/rose/b.png", encoded("b.webp", 2, 3, 1)),
            "{}/train/rose/b.png: found WebP data, expected PNG, as the name says",
        );
        refuses(
            |root| write(root, "train/rose/b.txt", "a list"),
            "{}/train/rose/b.txt: found a file without the extension of an image, expected only \
             files ending in .png, .jpg, .jpeg or .webp here",
        );
        refuses(
            |root| write(root, "train/rose/b.png", ""),
            "{}/train/rose/b.png: found 0 bytes that no PNG begins with, expected PNG, as the name \
             says",
        );
    }

    #[test]
    fn every_class_has_images_and_is_known() {
        refuses(
            |root| fs::create_dir(root.join("train/tulip")).unwrap(),
            "{}/train/tulip: found an empty folder, expected images",
        );
        refuses(
            |root| write(root, "test/tulip/1.png", ""),
            "{}/test/tulip: found a class that is not in `train`, expected one of the 2 classes of \
             `train`",
        );
        refuses(
            |root| write(root, "train/list.txt", ""),
            "{}/train/list.txt: found a file, expected only folders of classes here",
        );
        refuses(
            |root| write(root, "train/rose/more/1.png", ""),
            "{}/train/rose/more: found a folder, expected only files ending in .png, .jpg, .jpeg \
             or .webp here",
        );
    }

    #[test]
    fn missing_files_are_named() {
        let remove =
            |name: &'static str| move |root: &Path| fs::remove_dir_all(root.join(name)).unwrap();
        refuses(
            remove("test"),
            "{}/test does not exist, expected a folder with a folder of images for each class",
        );
        refuses(
            remove("train"),
            "{}/train does not exist, expected a folder with a folder of images for each class",
        );
        refuses(
            |root| fs::remove_dir_all(root).unwrap(),
            "{} does not exist, expected a folder with the folders `train` and `test`",
        );
        refuses(
            |root| {
                fs::remove_dir_all(root.join("test")).unwrap();
                fs::create_dir(root.join("test")).unwrap();
            },
            "{}/test: found no folder of a class, expected images to test on",
        );
        let error = load(&config(""), None, cache_options(Path::new("nowhere"))).unwrap_err();
        assert!(matches!(error, DatasetError::NoDirectory { .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        refuses(
            |root| {
                let file = fs::File::create(root.join("train/rose/b.png")).unwrap();
                file.set_len((64 << 20) + 5).unwrap();
            },
            "{}/train/rose/b.png: byte 67108864: found byte 0, expected the end of the file after \
             at most 67108864 bytes",
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_must_not_be_read_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let directory = fixture();
        let path = directory.path().join("flowers/test/rose/1.png");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(&path).is_ok() {
            // Root may read everything.
            return;
        }
        let error = load_from(&directory, &config("")).unwrap_err();
        assert!(
            matches!(&error, DatasetError::Unreadable { path: p, .. } if *p == path),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn pipes_are_not_waited_for() {
        let directory = fixture();
        let path = directory.path().join("flowers/train/rose/pipe.png");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if !made.is_ok_and(|status| status.success()) {
            return;
        }
        let error = load_from(&directory, &config("")).unwrap_err().to_string();
        assert!(
            error.ends_with("pipe.png: found a device, pipe or socket, expected a file or folder")
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_count_as_what_they_lead_to() {
        use std::os::unix::fs::symlink;
        let directory = fixture();
        let root = directory.path().join("flowers");
        symlink("../rose/b.png", root.join("train/daisy/y.png")).unwrap();
        assert_eq!(load_from(&directory, &config("")).unwrap().train.labels, [0, 0, 1, 1]);
        refuses(
            |root| symlink("..", root.join("train/rose/up.png")).unwrap(),
            "{}/train/rose/up.png: found a folder, expected only files ending in .png, .jpg, .jpeg \
             or .webp here",
        );
        refuses(
            |root| symlink("round", root.join("train/rose/round")).unwrap(),
            "{}/train/rose/round cannot be read",
        );
    }
}
