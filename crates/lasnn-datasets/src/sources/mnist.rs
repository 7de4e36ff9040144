//! MNIST (Y. LeCun, C. Cortes, C. Burges, 1998) and Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf,
//! 2017), which has the same file format, from a local directory.
//!
//! Each has four files in the format [IDX](crate::formats::idx), plain or compressed (`.gz`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lasnn_core::Shape;

use crate::dataset::{Dataset, Images, sha256};
use crate::error::DatasetError;
use crate::formats::{gzip, idx};
use crate::moments::Moments;
use crate::read::read;
use crate::remote::{Content, Download, RemoteFiles};
use crate::source::{DatasetSource, SourceArgs};

const SHAPE: Shape = Shape { channels: 1, height: 28, width: 28 };
const CLASSES: usize = 10;
/// The number of training and of test images.
const COUNTS: [usize; 2] = [60_000, 10_000];
/// The files of images and of labels, for training and for testing.
const FILES: [[&str; 2]; 2] = [
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
    ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"],
];

/// One of the two data sets.
///
/// The files are looked for only in the folder of the data directory that has the name of the
/// source, since both data sets use the same file names. A plain file is preferred to a compressed
/// one. The SHA-256 of the data set is computed over the four uncompressed files: training
/// images, training labels, test images and test labels.
#[derive(Clone, Copy, Debug)]
pub struct Edition {
    /// The name of the source and of its folder.
    name: &'static str,
    class_names: [&'static str; CLASSES],
    mean: f64,
    deviation: f64,
    remote: &'static RemoteFiles<'static>,
}

/// Handwritten digits: 60,000 training and 10,000 test images, 1x28x28, 10 classes.
///
/// The published moments come from PyTorch's example.
pub const MNIST: Edition = Edition {
    name: "mnist",
    class_names: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    mean: 0.1307,
    deviation: 0.3081,
    remote: &MNIST_FILES,
};

/// Articles of clothing, named as in its authors' README: 60,000 training and 10,000 test images,
/// 1x28x28, 10 classes.
///
/// The published moments are those in common use.
pub const FASHION_MNIST: Edition = Edition {
    name: "fashion-mnist",
    class_names: [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
    mean: 0.2860,
    deviation: 0.3530,
    remote: &FASHION_MNIST_FILES,
};

/// From the second address of torchvision, since the original server often refuses programs. The
/// files stay compressed.
const MNIST_FILES: RemoteFiles<'static> = RemoteFiles {
    name: "mnist",
    folder: "mnist",
    base: "https://ossci-datasets.s3.amazonaws.com/mnist/",
    downloads: &[
        Download::plain(
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        Download::plain(
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        Download::plain(
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        Download::plain(
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ],
    contents: &[
        Content::sized("train-images-idx3-ubyte.gz", 9_912_422),
        Content::sized("train-labels-idx1-ubyte.gz", 28_881),
        Content::sized("t10k-images-idx3-ubyte.gz", 1_648_877),
        Content::sized("t10k-labels-idx1-ubyte.gz", 4_542),
    ],
    unpacked_bytes: 0,
};

/// From <https://github.com/zalandoresearch/fashion-mnist>, at the address that its page gives.
const FASHION_MNIST_FILES: RemoteFiles<'static> = RemoteFiles {
    name: "fashion-mnist",
    folder: "fashion-mnist",
    base: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    downloads: &[
        Download::plain(
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        Download::plain(
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        Download::plain(
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        Download::plain(
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ],
    contents: &[
        Content::sized("train-images-idx3-ubyte.gz", 26_421_880),
        Content::sized("train-labels-idx1-ubyte.gz", 29_515),
        Content::sized("t10k-images-idx3-ubyte.gz", 4_422_102),
        Content::sized("t10k-labels-idx1-ubyte.gz", 5_148),
    ],
    unpacked_bytes: 0,
};

impl DatasetSource for Edition {
    fn name(&self) -> &'static str {
        self.name
    }

    fn published(&self) -> Option<Moments> {
        Some(Moments::new(&[self.mean], &[self.deviation]))
    }

    fn remote(&self) -> Option<&'static RemoteFiles<'static>> {
        Some(self.remote)
    }

    fn load(&self, args: &SourceArgs<'_>) -> Result<Dataset, DatasetError> {
        load_counts(self, args.data_dir(self.name)?, COUNTS)
    }
}

/// Loads a data set with `counts` training and test images; tests have fewer images.
fn load_counts(
    edition: &Edition,
    data_dir: &Path,
    counts: [usize; 2],
) -> Result<Dataset, DatasetError> {
    let directory = data_dir.join(edition.name);
    let [train_count, test_count] = counts;
    let [train_files, test_files] = FILES;
    let (train, train_bytes) = load_split(&directory, train_files, train_count)?;
    let (test, test_bytes) = load_split(&directory, test_files, test_count)?;
    Ok(Dataset {
        name: edition.name.into(),
        shape: SHAPE,
        classes: CLASSES,
        class_names: edition.class_names.map(str::to_owned).to_vec(),
        validation: None,
        train: Arc::new(train),
        test: Arc::new(test),
        sha256: sha256(train_bytes.iter().chain(&test_bytes).map(Vec::as_slice)),
    })
}

/// The images of a pair of files, and the uncompressed bytes of both files.
fn load_split(
    directory: &Path,
    [images, labels]: [&str; 2],
    count: usize,
) -> Result<(Images, [Vec<u8>; 2]), DatasetError> {
    let (path, images) = read_file(directory, images, 16 + count * SHAPE.len())?;
    let pixels = idx::images(&images, count, SHAPE.height, SHAPE.width);
    let pixels = pixels.map_err(|flaw| flaw.of(path))?.to_vec();
    let (path, labels) = read_file(directory, labels, 8 + count)?;
    let classes = idx::labels(&labels, count, CLASSES).map_err(|flaw| flaw.of(path))?;
    let classes = classes.iter().copied().map(u32::from).collect();
    let loaded = Images { pixels: pixels.into(), labels: classes, shape: SHAPE };
    Ok((loaded, [images, labels]))
}

/// Reads the file `name` of at most `longest` bytes, or unpacks the file `name.gz`.
fn read_file(
    directory: &Path,
    name: &str,
    longest: usize,
) -> Result<(PathBuf, Vec<u8>), DatasetError> {
    let plain = directory.join(name);
    let packed = directory.join(format!("{name}.gz"));
    if plain.exists() || !packed.exists() {
        let expected = format!("it, or `{name}.gz`, in the folder of the data directory");
        let bytes = read(&plain, longest, &expected)?;
        return Ok((plain, bytes));
    }
    // Bytes that cannot be compressed grow by a few bytes per block.
    let bytes = read(&packed, longest + longest / 100 + 4096, "a gzip file")?;
    let bytes = gzip::gunzip(&bytes, longest).map_err(|flaw| flaw.of(&packed))?;
    Ok((packed, bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::*;

    const FEW: [usize; 2] = [5, 3];

    fn idx(dimensions: &[u32], value: impl Fn(usize) -> u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
        dimensions.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        let values = dimensions.iter().product::<u32>() as usize;
        bytes.extend((0..values).map(value));
        bytes
    }

    /// Makes a data directory with the folder of `edition`.
    fn fixture(edition: &Edition) -> TempDir {
        let above = TempDir::new().unwrap();
        let directory = above.path().join(edition.name);
        fs::create_dir(&directory).unwrap();
        for ([images, labels], count) in FILES.into_iter().zip(FEW) {
            let pixels = idx(&[count as u32, 28, 28], |at| (at * count % 251) as u8);
            fs::write(directory.join(images), pixels).unwrap();
            let classes = idx(&[count as u32], |at| (at * 2 % 10) as u8);
            fs::write(directory.join(labels), classes).unwrap();
        }
        above
    }

    /// Replaces a file by its compressed version.
    fn pack(path: &Path) -> PathBuf {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&fs::read(path).unwrap()).unwrap();
        let packed = path.with_extension("gz");
        fs::write(&packed, encoder.finish().unwrap()).unwrap();
        fs::remove_file(path).unwrap();
        packed
    }

    #[track_caller]
    fn refuses(name: &str, spoil: impl Fn(&mut Vec<u8>), message: &str) {
        let above = fixture(&MNIST);
        let path = above.path().join("mnist").join(name);
        let mut bytes = fs::read(&path).unwrap();
        spoil(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let error = load_counts(&MNIST, above.path(), FEW).unwrap_err().to_string();
        assert_eq!(error, message.replace("{}", &path.display().to_string()));
    }

    #[test]
    fn files_become_images_and_labels() {
        let above = fixture(&FASHION_MNIST);
        let dataset = load_counts(&FASHION_MNIST, above.path(), FEW).unwrap();
        assert_eq!((dataset.train.len(), dataset.test.len()), (5, 3));
        assert_eq!(dataset.class_names[9], "Ankle boot");
        assert_eq!(dataset.train.labels, [0, 2, 4, 6, 8]);
        assert_eq!(dataset.test.image(2)[3], ((2 * 784 + 3) * 3 % 251) as u8);
        assert!(load_counts(&MNIST, above.path(), FEW).is_err(), "each has a folder of its own");
    }

    #[test]
    fn compressed_files_are_the_same_data_set() {
        let above = fixture(&MNIST);
        let plain = load_counts(&MNIST, above.path(), FEW).unwrap();
        for name in FILES.concat() {
            pack(&above.path().join("mnist").join(name));
            let packed = load_counts(&MNIST, above.path(), FEW).unwrap();
            assert_eq!((packed.train, packed.test), (plain.train.clone(), plain.test.clone()));
            assert_eq!(packed.sha256, plain.sha256);
        }
    }

    #[test]
    fn the_official_numbers_are_checked() {
        let above = fixture(&MNIST);
        let error = load_counts(&MNIST, above.path(), COUNTS).unwrap_err().to_string();
        assert!(error.contains("byte 4: found 5 images, expected 60000 images"), "{error}");
        refuses(
            FILES[1][1],
            |bytes| {
                bytes[7] = 2;
                bytes.truncate(10);
            },
            "{}: byte 4: found 2 labels, expected 3 labels, one for each image",
        );
    }

    #[test]
    fn damage_is_named_with_its_file() {
        refuses(
            FILES[0][0],
            |bytes| bytes.truncate(1000),
            "{}: byte 1000: found the end of the file after 984 values, expected 5 x 28 x 28 \
             values",
        );
        refuses(
            FILES[0][0],
            |bytes| bytes.push(3),
            "{}: byte 3936: found byte 3, expected the end of the file after at most 3936 bytes",
        );
        refuses(
            FILES[0][1],
            |bytes| bytes[10] = 11,
            "{}: byte 10: found label 11 of image 2, expected a label of 0 to 9",
        );
    }

    #[test]
    fn a_damaged_packed_file_is_named() {
        let above = fixture(&MNIST);
        let packed = pack(&above.path().join("mnist").join(FILES[1][0]));
        let mut bytes = fs::read(&packed).unwrap();
        bytes.truncate(40);
        fs::write(&packed, bytes).unwrap();
        let error = load_counts(&MNIST, above.path(), FEW).unwrap_err().to_string();
        assert!(error.starts_with(&packed.display().to_string()), "{error}");
        assert!(error.contains("expected a complete gzip file"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named_with_both_names() {
        let above = fixture(&MNIST);
        let path = above.path().join("mnist").join(FILES[0][1]);
        fs::remove_file(&path).unwrap();
        let error = load_counts(&MNIST, above.path(), FEW).unwrap_err();
        assert!(matches!(&error, DatasetError::Missing { path: p, .. } if *p == path), "{error}");
        assert!(error.to_string().contains("`train-labels-idx1-ubyte.gz`"), "{error}");
    }
}
