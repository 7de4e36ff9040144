//! The official files of a data set on the internet: addresses, sizes and checksums.
//!
//! Addresses are those of the home pages of the data sets and of torchvision
//! (`torchvision/datasets/mnist.py`). Sizes and SHA-256 are those of TensorFlow Datasets
//! (`tensorflow_datasets/url_checksums/cifar10.txt`, `cifar100.txt`, `mnist.txt` and
//! `fashion_mnist.txt`). No comparable project publishes a SHA-256 of Tiny ImageNet, so its MD5
//! from Avalanche is used (`avalanche/benchmarks/datasets/tiny_imagenet/tiny_imagenet.py`).

use std::fmt;

/// The files of a data set that can be downloaded.
#[derive(Clone, Copy, Debug)]
pub struct RemoteFiles<'a> {
    /// The name of the source in a recipe.
    pub name: &'a str,
    /// The folder below the data directory that the data set is stored in.
    pub folder: &'a str,
    /// The address of the folder with the files; it ends in a slash.
    pub base: &'a str,
    /// The files to download.
    pub downloads: &'a [Download<'a>],
    /// The files that the folder must contain afterwards.
    pub contents: &'a [Content<'a>],
    /// The most bytes that each archive may unpack to; 0 if there is no archive.
    pub unpacked_bytes: u64,
}

/// A file to download.
#[derive(Clone, Copy, Debug)]
pub struct Download<'a> {
    /// Its name, below the base address and on disk.
    pub file: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its checksum.
    pub checksum: Checksum<'a>,
    /// How it is packed.
    pub packing: Packing,
}

impl<'a> Download<'a> {
    /// A file that is stored as it is.
    pub const fn plain(file: &'a str, bytes: u64, sha256: &'a str) -> Self {
        Self { file, bytes, checksum: Checksum::Sha256(sha256), packing: Packing::Plain }
    }
}

/// How a downloaded file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// The file is stored in the folder as it is.
    Plain,
    /// The file is a tar archive, compressed with gzip, that contains the folder.
    TarGz,
    /// The file is a zip archive that contains the folder.
    Zip,
}

/// A file that a complete data set contains.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Its path below the folder.
    pub path: &'a str,
    /// Its size in bytes, if it is known.
    pub bytes: Option<u64>,
}

impl<'a> Content<'a> {
    /// A file of known size.
    pub const fn sized(path: &'a str, bytes: u64) -> Self {
        Self { path, bytes: Some(bytes) }
    }

    /// A file of unknown size.
    pub const fn new(path: &'a str) -> Self {
        Self { path, bytes: None }
    }
}

/// The published hash of a file in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum<'a> {
    /// SHA-256, used wherever a trustworthy project publishes one.
    Sha256(&'a str),
    /// MD5, where nothing better is published. It detects a damaged file, not a forged one.
    Md5(&'a str),
}

impl fmt::Display for Checksum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digits) => write!(f, "SHA-256 {digits}"),
            Self::Md5(digits) => write!(f, "MD5 {digits}"),
        }
    }
}
