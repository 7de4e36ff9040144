//! Tiny ImageNet (Stanford's course CS231n, 2015), from a local directory or its official archive.
//!
//! `wnids.txt` lists 200 classes of ImageNet, and `words.txt` has their names. The images are JPEG
//! files of 64 x 64 pixels, a few of them grey. `train/<class>/images` holds 500 images of each
//! class, which `train/<class>/<class>_boxes.txt` lists. `val/images` holds 10,000 images with
//! their classes in `val/val_annotations.txt`. The classes of the images in `test` were never
//! published, so `val` is the test set, and validation images are held out of `train`.

use std::path::Path;

use lasnn_core::Shape;

use crate::dataset::Dataset;
use crate::encoded::files::Files;
use crate::encoded::{self, CacheOptions, Sample, Scan};
use crate::error::{DatasetError, Flaw};
use crate::formats::picture::{Format, Target};
use crate::formats::tiny_imagenet as text;
use crate::moments::Moments;
use crate::read::{is_file, is_folder};
use crate::remote::{Checksum, Content, Download, Packing, RemoteFiles};
use crate::source::{DatasetSource, SourceArgs};

/// The name of the source.
const NAME: &str = "tiny-imagenet";
/// The folder that the official archive unpacks to, and the archive's name without `.zip`.
const FOLDER: &str = "tiny-imagenet-200";
/// The most bytes of a text file; `words.txt` is the longest by far.
const LONGEST_TEXT: usize = 16 << 20;

/// The numbers of classes, images and pixels.
#[derive(Clone, Copy, Debug)]
struct Size {
    classes: usize,
    /// Training images of each class.
    train: usize,
    test: usize,
    /// Rows and columns of an image.
    side: usize,
}

const OFFICIAL: Size = Size { classes: 200, train: 500, test: 10_000, side: 64 };

/// The archive holds 120,000 JPEG files, which together are hardly larger than the archive, and
/// about 1,000 other files and folders.
const REMOTE: RemoteFiles<'static> = RemoteFiles {
    name: "tiny-imagenet",
    folder: "tiny-imagenet-200",
    base: "http://cs231n.stanford.edu/",
    downloads: &[Download {
        file: "tiny-imagenet-200.zip",
        bytes: 248_100_043,
        checksum: Checksum::Md5("90528d7ca1a48142e341f4ef8d21d0de"),
        packing: Packing::Zip,
    }],
    contents: &[
        Content::new("wnids.txt"),
        Content::new("words.txt"),
        Content::new("val/val_annotations.txt"),
        // The first and the last image of the first class, and an image of each other split.
        Content::new("train/n01443537/images/n01443537_0.JPEG"),
        Content::new("train/n01443537/images/n01443537_499.JPEG"),
        Content::new("val/images/val_0.JPEG"),
        Content::new("test/images/test_0.JPEG"),
    ],
    unpacked_bytes: 512 << 20,
};

/// Tiny ImageNet: 100,000 training and 10,000 test images, 3x64x64, 200 classes.
///
/// It is looked for in the folder `tiny-imagenet-200` of the data directory, or else in the archive
/// `tiny-imagenet-200.zip` there. Classes are sorted by their WordNet number, images by name. The
/// SHA-256 of the data set covers the paths, lengths and contents of all files that are used, so it
/// is the same for the folder and the archive.
#[derive(Clone, Copy, Debug)]
pub struct TinyImagenet;

impl DatasetSource for TinyImagenet {
    fn name(&self) -> &'static str {
        NAME
    }

    /// As in common use.
    fn published(&self) -> Option<Moments> {
        Some(Moments::new(&[0.4802, 0.4481, 0.3975], &[0.2770, 0.2691, 0.2821]))
    }

    fn remote(&self) -> Option<&'static RemoteFiles<'static>> {
        Some(&REMOTE)
    }

    fn load(&self, args: &SourceArgs<'_>) -> Result<Dataset, DatasetError> {
        load_size(args.data_dir(NAME)?, OFFICIAL, args.cache(NAME)?)
    }
}

fn load_size(
    data_dir: &Path,
    size: Size,
    cache: CacheOptions<'_>,
) -> Result<Dataset, DatasetError> {
    let folder = data_dir.join(FOLDER);
    let archive = data_dir.join(format!("{FOLDER}.zip"));
    let files = if is_folder(&folder)? {
        Files::Folder(folder)
    } else if is_file(&archive)? {
        Files::in_zip(&archive, FOLDER)?
    } else {
        let expected =
            format!("the folder of Tiny ImageNet, or the archive `{FOLDER}.zip` beside it");
        return Err(DatasetError::Missing { path: folder, expected });
    };
    let shape = Shape { channels: 3, height: size.side, width: size.side };
    encoded::load(&files, scan(&files, size)?, Target { shape, resize: false }, cache)
}

/// Finds all images and their classes.
fn scan(files: &Files, size: Size) -> Result<Scan, DatasetError> {
    let mut texts =
        vec!["wnids.txt".to_owned(), "words.txt".into(), "val/val_annotations.txt".into()];
    let read = |name: &str, expected: &str| files.read(name, LONGEST_TEXT, expected);
    let bytes = read(&texts[0], "the classes of Tiny ImageNet")?;
    let wnids = text::wnids(&bytes, size.classes).map_err(|flaw| flaw.of(files.path(&texts[0])))?;
    let bytes = read(&texts[1], "what the classes are called")?;
    let class_names = text::words(&bytes, &wnids).map_err(|flaw| flaw.of(files.path(&texts[1])))?;
    let test = test_images(files, &texts[2], &wnids, size.test)?;

    for entry in files.list("train", "the folder of training images")? {
        if !entry.is_folder || wnids.binary_search(&entry.name).is_err() {
            let path = files.path(&format!("train/{}", entry.name));
            return Err(Flaw::file("no class of wnids.txt", "only folders of its classes").of(path));
        }
    }
    let mut train = Vec::with_capacity(size.classes * size.train);
    for (wnid, label) in wnids.iter().zip(0..) {
        let list = format!("train/{wnid}/{wnid}_boxes.txt");
        let bytes = read(&list, "the list of a class's images")?;
        let listed = text::boxes(&bytes, wnid).map_err(|flaw| flaw.of(files.path(&list)))?;
        let folder = format!("train/{wnid}/images");
        let listed = listed.into_iter().map(|(file, line)| (file, line, label)).collect();
        train.extend(images(files, &list, &folder, listed, size.train)?);
        texts.push(list);
    }
    let validation = Vec::new();
    Ok(Scan { name: NAME, class_names, train, validation, test, texts })
}

fn test_images(
    files: &Files,
    list: &str,
    wnids: &[String],
    count: usize,
) -> Result<Vec<Sample>, DatasetError> {
    let bytes = files.read(list, LONGEST_TEXT, "the classes of the images in `val`")?;
    let annotations = text::val_annotations(&bytes, wnids);
    let annotations = annotations.map_err(|flaw| flaw.of(files.path(list)))?;
    let listed = annotations.into_iter().map(|a| (a.file, a.line, a.class as u32)).collect();
    images(files, list, "val/images", listed, count)
}

/// The images of a folder, sorted by name. They must be exactly the `count` files that are `listed`
/// in the file `list`, with their line numbers and labels.
fn images(
    files: &Files,
    list: &str,
    folder: &str,
    mut listed: Vec<(String, usize, u32)>,
    count: usize,
) -> Result<Vec<Sample>, DatasetError> {
    listed.sort_unstable();
    let present = files.list(folder, "a folder of images")?;
    for entry in &present {
        let known = listed.binary_search_by(|(file, ..)| file.cmp(&entry.name)).is_ok();
        if !known || entry.is_folder {
            let path = files.path(&format!("{folder}/{}", entry.name));
            let found = format!("no image that {list} has");
            return Err(Flaw::file(found, "only those that it has").of(path));
        }
    }
    for (file, line, _) in &listed {
        if present.binary_search_by(|entry| entry.name.cmp(file)).is_err() {
            let expected = format!("only files that are in {folder}");
            let flaw = Flaw::line(*line, format!("the file `{file}`"), expected);
            return Err(flaw.of(files.path(list)));
        }
    }
    if listed.len() != count {
        let found = format!("{} files", listed.len());
        return Err(Flaw::file(found, format!("{count} files")).of(files.path(list)));
    }
    let sample = |(file, _, label): (String, usize, u32)| Sample {
        file: format!("{folder}/{file}"),
        format: Format::Jpeg,
        label,
    };
    Ok(listed.into_iter().map(sample).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::encoded::fixture::{cache_options, encoded, grey, write};
    use crate::formats::zip::tests::archive;

    const SMALL: Size = Size { classes: 2, train: 2, test: 3, side: 8 };

    /// The files of a small edition. Its `wnids.txt` is not sorted.
    fn files() -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<(String, Vec<u8>)> = vec![
            ("wnids.txt".into(), b"n00000002\nn00000001\n".to_vec()),
            ("words.txt".into(), b"n00000001\tcat\nn00000002\tdog\nn00000003\tcow\n".to_vec()),
            (
                "val/val_annotations.txt".into(),
                b"val_0.JPEG\tn00000002\t0\t0\t7\t7\nval_1.JPEG\tn00000001\t0\t0\t7\t7\n\
                  val_10.JPEG\tn00000002\t0\t0\t7\t7\n"
                    .to_vec(),
            ),
            ("test/images/test_0.JPEG".into(), b"not even looked at".to_vec()),
        ];
        for (class, wnid) in ["n00000001", "n00000002"].into_iter().enumerate() {
            let mut boxes = String::new();
            for image in 0..2 {
                let name = format!("{wnid}_{image}.JPEG");
                boxes += &format!("{name}\t0\t1\t7\t6\n");
                let seed = (100 * class + 20 * image) as u8;
                let bytes = match (class, image) {
                    (1, 0) => grey(&name, 8, 8, seed),
                    _ => encoded(&name, 8, 8, seed),
                };
                files.push((format!("train/{wnid}/images/{name}"), bytes));
            }
            files.push((format!("train/{wnid}/{wnid}_boxes.txt"), boxes.into_bytes()));
        }
        for (name, seed) in [("val_0.JPEG", 10), ("val_1.JPEG", 110), ("val_10.JPEG", 210)] {
            files.push((format!("val/images/{name}"), encoded(name, 8, 8, seed)));
        }
        files
    }

    fn folder() -> TempDir {
        let directory = TempDir::new().unwrap();
        for (name, bytes) in files() {
            write(directory.path(), &format!("{FOLDER}/{name}"), bytes);
        }
        directory
    }

    fn load_small(directory: &TempDir) -> Result<Dataset, DatasetError> {
        let cache = directory.path().join("cache");
        load_size(directory.path(), SMALL, cache_options(&cache))
    }

    #[track_caller]
    fn refuses(spoil: impl Fn(&Path), message: &str) {
        let directory = folder();
        let root = directory.path().join(FOLDER);
        spoil(&root);
        let error = load_small(&directory).unwrap_err().to_string();
        assert_eq!(error.replace(&root.display().to_string(), "{}"), message);
    }

    #[test]
    fn lists_and_images_become_a_data_set() {
        let dataset = load_small(&folder()).unwrap();
        assert_eq!(dataset.class_names, ["cat", "dog"]);
        assert_eq!(dataset.train.labels, [0, 0, 1, 1]);
        assert_eq!(dataset.test.labels, [1, 0, 1]);
        assert_eq!(dataset.validation, None);
        let near = |images: &crate::Images, index: usize, expected: u8| {
            assert!(images.image(index)[0].abs_diff(expected) <= 4, "{:?}", images.image(index));
        };
        for (index, expected) in [0, 20, 100, 120].into_iter().enumerate() {
            near(&dataset.train, index, expected);
        }
        for (index, expected) in [10, 110, 210].into_iter().enumerate() {
            near(&dataset.test, index, expected);
        }
        let grey = dataset.train.image(2);
        assert_eq!((&grey[..64], &grey[64..128]), (&grey[128..], &grey[128..]));
    }

    #[test]
    fn the_archive_is_the_same_data_set() {
        let folder = folder();
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(format!("{FOLDER}.zip"));
        let files = files();
        let names: Vec<String> = files.iter().map(|(name, _)| format!("{FOLDER}/{name}")).collect();
        let entries =
            names.iter().zip(&files).map(|(name, (_, bytes))| (name.as_str(), &bytes[..]));
        fs::write(&path, archive(&entries.collect::<Vec<_>>())).unwrap();
        let (packed, unpacked) = (load_small(&directory).unwrap(), load_small(&folder).unwrap());
        assert_eq!(packed.sha256, unpacked.sha256);
        assert_eq!((&packed.train, &packed.test), (&unpacked.train, &unpacked.test));
        assert_eq!(packed.class_names, unpacked.class_names);

        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() / 2);
        fs::write(&path, bytes).unwrap();
        let error = load_small(&directory).unwrap_err().to_string();
        assert!(error.contains("tiny-imagenet-200.zip: found zip data that cannot be"), "{error}");
    }

    #[test]
    fn the_official_numbers_are_checked() {
        let directory = folder();
        let cache = directory.path().join("cache");
        let error =
            load_size(directory.path(), OFFICIAL, cache_options(&cache)).unwrap_err().to_string();
        assert!(error.ends_with("after 2 classes, expected 200 classes, one per line"), "{error}");
    }

    #[test]
    fn lists_and_folders_must_agree() {
        refuses(
            |root| fs::remove_file(root.join("val/images/val_1.JPEG")).unwrap(),
            "{}/val/val_annotations.txt: line 2: found the file `val_1.JPEG`, expected only files \
             that are in val/images",
        );
        refuses(
            |root| write(root, "val/images/val_2.JPEG", "one more"),
            "{}/val/images/val_2.JPEG: found no image that val/val_annotations.txt has, expected \
             only those that it has",
        );
        refuses(
            |root| {
                let path = "train/n00000002/n00000002_boxes.txt";
                write(root, path, "n00000002_0.JPEG\t0\t0\t1\t1\n");
            },
            "{}/train/n00000002/images/n00000002_1.JPEG: found no image that \
             train/n00000002/n00000002_boxes.txt has, expected only those that it has",
        );
        refuses(
            |root| write(root, "train/n00000003/x", ""),
            "{}/train/n00000003: found no class of wnids.txt, expected only folders of its classes",
        );
        refuses(
            |root| {
                let list = "train/n00000001/n00000001_boxes.txt";
                write(root, list, "n00000001_0.JPEG\t0\t0\t1\t1\n");
                fs::remove_file(root.join("train/n00000001/images/n00000001_1.JPEG")).unwrap();
            },
            "{}/train/n00000001/n00000001_boxes.txt: found 1 files, expected 2 files",
        );
    }

    #[test]
    fn a_malformed_line_is_named() {
        refuses(
            |root| {
                let path = root.join("val/val_annotations.txt");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(path, text.replace("n00000001", "n00000009")).unwrap();
            },
            "{}/val/val_annotations.txt: line 2: found the class `n00000009`, expected one of the \
             classes of wnids.txt",
        );
    }

    #[test]
    fn an_image_of_another_size_is_named() {
        refuses(
            |root| write(root, "val/images/val_0.JPEG", encoded("a.JPEG", 8, 9, 1)),
            "{}/val/images/val_0.JPEG: found an image of 8 x 9 (height x width), expected 8 x 8, \
             since images are not resized",
        );
    }

    #[test]
    fn missing_files_are_named() {
        for name in ["wnids.txt", "words.txt", "val/val_annotations.txt", "train/n00000001"] {
            let directory = folder();
            let path = directory.path().join(FOLDER).join(name);
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.unwrap();
            let error = load_small(&directory).unwrap_err();
            let missing =
                matches!(&error, DatasetError::Missing { path: p, .. } if p.starts_with(&path));
            assert!(missing, "{error}");
        }
        let error = load_small(&TempDir::new().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("or the archive `tiny-imagenet-200.zip` beside it"), "{error}");
    }
}
