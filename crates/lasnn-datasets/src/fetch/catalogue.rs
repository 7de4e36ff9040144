//! Where each data set comes from: addresses, sizes and checksums of its official files.
//!
//! Addresses are those of the pages of the data sets and of torchvision
//! (`torchvision/datasets/mnist.py`); sizes and SHA-256 are those of TensorFlow Datasets
//! (`tensorflow_datasets/url_checksums/cifar10.txt`, `cifar100.txt`, `mnist.txt` and
//! `fashion_mnist.txt`). Nobody of that rank publishes a SHA-256 of Tiny ImageNet, so its MD5 has
//! to do, which Avalanche has (`avalanche/benchmarks/datasets/tiny_imagenet/tiny_imagenet.py`).

use super::checksum::Checksum;
use super::unpack::Limits;

/// A data set that can be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The name, the same as that of the source in a recipe.
    pub name: &'a str,
    /// The folder below the data directory in which it ends up.
    pub folder: &'a str,
    /// The address below which its files lie, with a slash at the end.
    pub base: &'a str,
    /// The files to download.
    pub downloads: &'a [Download<'a>],
    /// The files that must be in the folder afterwards.
    pub contents: &'a [Content<'a>],
    /// What the archives may unpack to, all together.
    pub limits: Limits,
}

/// A file to download.
#[derive(Clone, Copy, Debug)]
pub struct Download<'a> {
    /// Its name, below the base address and on disk.
    pub file: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its hash.
    pub checksum: Checksum<'a>,
    /// What happens to it next.
    pub packing: Packing,
}

/// What happens to a downloaded file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// It is put into the folder as it is.
    Plain,
    /// It is a tar archive, compressed by gzip, that holds the folder.
    TarGz,
    /// It is a zip archive that holds the folder.
    Zip,
}

/// A file that must be there when everything is done.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Its path below the folder.
    pub path: &'a str,
    /// Its size in bytes, where it is known.
    pub bytes: Option<u64>,
}

impl Origin<'static> {
    /// The data set of that name, if it can be fetched.
    pub fn named(name: &str) -> Option<&'static Self> {
        ORIGINS.iter().find(|origin| origin.name == name)
    }
}

/// Every data set that can be fetched.
pub const ORIGINS: &[Origin<'static>] = &[CIFAR10, CIFAR100, TINY_IMAGENET, MNIST, FASHION_MNIST];

const fn content(path: &str, bytes: u64) -> Content<'_> {
    Content { path, bytes: Some(bytes) }
}

/// A file that is kept as it is and so is its own content.
const fn plain<'a>(file: &'a str, bytes: u64, sha256: &'a str) -> Download<'a> {
    Download { file, bytes, checksum: Checksum::Sha256(sha256), packing: Packing::Plain }
}

/// A file of 10,000 records of CIFAR-10: a class and 3 · 32 · 32 pixels each.
const CIFAR10_FILE: u64 = 10_000 * 3073;

/// <https://www.cs.toronto.edu/~kriz/cifar.html>, the binary version.
const CIFAR10: Origin<'static> = Origin {
    name: "cifar10",
    folder: "cifar-10-batches-bin",
    base: "https://www.cs.toronto.edu/~kriz/",
    downloads: &[Download {
        file: "cifar-10-binary.tar.gz",
        bytes: 170_052_171,
        checksum: Checksum::Sha256(
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
        packing: Packing::TarGz,
    }],
    contents: &[
        content("data_batch_1.bin", CIFAR10_FILE),
        content("data_batch_2.bin", CIFAR10_FILE),
        content("data_batch_3.bin", CIFAR10_FILE),
        content("data_batch_4.bin", CIFAR10_FILE),
        content("data_batch_5.bin", CIFAR10_FILE),
        content("test_batch.bin", CIFAR10_FILE),
        Content { path: "batches.meta.txt", bytes: None },
    ],
    limits: Limits {
        entries: 100,
        file_bytes: CIFAR10_FILE,
        total_bytes: 6 * CIFAR10_FILE + (1 << 20),
    },
};

/// A record of CIFAR-100: two classes and 3 · 32 · 32 pixels.
const CIFAR100_RECORD: u64 = 3074;

/// <https://www.cs.toronto.edu/~kriz/cifar.html>, the binary version.
const CIFAR100: Origin<'static> = Origin {
    name: "cifar100",
    folder: "cifar-100-binary",
    base: "https://www.cs.toronto.edu/~kriz/",
    downloads: &[Download {
        file: "cifar-100-binary.tar.gz",
        bytes: 168_513_733,
        checksum: Checksum::Sha256(
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
        packing: Packing::TarGz,
    }],
    contents: &[
        content("train.bin", 50_000 * CIFAR100_RECORD),
        content("test.bin", 10_000 * CIFAR100_RECORD),
        Content { path: "fine_label_names.txt", bytes: None },
        Content { path: "coarse_label_names.txt", bytes: None },
    ],
    limits: Limits {
        entries: 100,
        file_bytes: 50_000 * CIFAR100_RECORD,
        total_bytes: 60_000 * CIFAR100_RECORD + (1 << 20),
    },
};

/// 200 classes of ImageNet at 64x64, made for the course CS231n at Stanford: 120,000 JPEG files
/// that together are hardly larger than the archive, and some 1,000 other files and folders.
const TINY_IMAGENET: Origin<'static> = Origin {
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
        Content { path: "wnids.txt", bytes: None },
        Content { path: "words.txt", bytes: None },
        Content { path: "val/val_annotations.txt", bytes: None },
        // The first and the last image of the first class, and an image of each other part.
        Content { path: "train/n01443537/images/n01443537_0.JPEG", bytes: None },
        Content { path: "train/n01443537/images/n01443537_499.JPEG", bytes: None },
        Content { path: "val/images/val_0.JPEG", bytes: None },
        Content { path: "test/images/test_0.JPEG", bytes: None },
    ],
    limits: Limits { entries: 150_000, file_bytes: 16 << 20, total_bytes: 512 << 20 },
};

/// The digits of Y. LeCun, C. Cortes and C. Burges, from the second address of torchvision, since
/// the original one often refuses programs. The files are kept compressed, as they are read so.
const MNIST: Origin<'static> = Origin {
    name: "mnist",
    folder: "mnist",
    base: "https://ossci-datasets.s3.amazonaws.com/mnist/",
    downloads: &[
        plain(
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        plain(
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        plain(
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        plain(
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ],
    contents: &[
        content("train-images-idx3-ubyte.gz", 9_912_422),
        content("train-labels-idx1-ubyte.gz", 28_881),
        content("t10k-images-idx3-ubyte.gz", 1_648_877),
        content("t10k-labels-idx1-ubyte.gz", 4_542),
    ],
    limits: Limits::NOTHING,
};

/// <https://github.com/zalandoresearch/fashion-mnist>, at the address its page gives.
const FASHION_MNIST: Origin<'static> = Origin {
    name: "fashion-mnist",
    folder: "fashion-mnist",
    base: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    downloads: &[
        plain(
            "train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        plain(
            "train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        plain(
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        plain(
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ],
    contents: &[
        content("train-images-idx3-ubyte.gz", 26_421_880),
        content("train-labels-idx1-ubyte.gz", 29_515),
        content("t10k-images-idx3-ubyte.gz", 4_422_102),
        content("t10k-labels-idx1-ubyte.gz", 5_148),
    ],
    limits: Limits::NOTHING,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_folders_are_found_and_unlike() {
        for origin in ORIGINS {
            let found = Origin::named(origin.name).unwrap();
            assert_eq!(found.folder, origin.folder);
            let same = ORIGINS.iter().filter(|other| other.folder == origin.folder);
            assert_eq!(same.count(), 1, "{}", origin.folder);
        }
        assert!(Origin::named("digits").is_none());
    }

    #[test]
    fn checksums_have_the_length_of_their_kind() {
        for download in ORIGINS.iter().flat_map(|origin| origin.downloads) {
            let (digits, length) = match download.checksum {
                Checksum::Sha256(digits) => (digits, 64),
                Checksum::Md5(digits) => (digits, 32),
            };
            assert_eq!(digits.len(), length, "{}", download.file);
            assert!(digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{}", download.file);
        }
    }

    #[test]
    fn limits_leave_room_for_the_contents() {
        for origin in ORIGINS {
            assert!(origin.base.ends_with('/'), "{}", origin.base);
            let packed = origin.downloads.iter().any(|file| file.packing != Packing::Plain);
            let known = || origin.contents.iter().filter_map(|content| content.bytes);
            if packed {
                assert!(known().sum::<u64>() < origin.limits.total_bytes, "{}", origin.name);
                assert!(known().all(|bytes| bytes <= origin.limits.file_bytes), "{}", origin.name);
            } else {
                let sizes: Vec<_> = origin.downloads.iter().map(|file| file.bytes).collect();
                assert!(known().eq(sizes), "{}", origin.name);
            }
        }
    }
}
