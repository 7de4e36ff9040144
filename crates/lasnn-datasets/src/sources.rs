//! The table of data sets, and one module for each of them.

mod cifar;
pub mod cifar10;
pub mod cifar100;
pub mod digits;
pub mod folder;
pub mod mnist;
pub mod synthetic;
pub mod tiny_imagenet;

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::source::DatasetSource;

/// Declares the enum [`Source`] and its table.
macro_rules! sources {
    ($($(#[$doc:meta])* $name:ident => $source:expr,)*) => {
        /// The data set that a recipe names. It dereferences to its [`DatasetSource`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Source {
            $($(#[$doc])* $name,)*
        }

        impl Source {
            /// All data sets.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];
        }

        impl Deref for Source {
            type Target = dyn DatasetSource;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(Self::$name => &$source,)*
                }
            }
        }
    };
}

sources! {
    /// The embedded handwritten digits, 1x8x8, 10 classes.
    Digits => digits::Digits,
    /// CIFAR-10 in its binary version from a local directory, 3x32x32, 10 classes.
    Cifar10 => cifar10::Cifar10,
    /// CIFAR-100 in its binary version from a local directory, 3x32x32, 100 or 20 classes.
    Cifar100 => cifar100::Cifar100,
    /// MNIST's handwritten digits from a local directory, 1x28x28, 10 classes.
    Mnist => mnist::MNIST,
    /// Fashion-MNIST from a local directory, 1x28x28, 10 classes.
    FashionMnist => mnist::FASHION_MNIST,
    /// Tiny ImageNet from a local directory or archive, 3x64x64, 200 classes.
    TinyImagenet => tiny_imagenet::TinyImagenet,
    /// Your own images, in a folder for each class.
    Folder => folder::Folder,
    /// Generated images of any shape and any number of classes, for tests and benchmarks.
    Synthetic => synthetic::Synthetic,
}

impl Source {
    /// The data set with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }

    /// The name in recipes and summaries.
    pub fn name(self) -> &'static str {
        (*self).name()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::remote::{Checksum, Packing};

    fn remote_files() -> impl Iterator<Item = &'static crate::remote::RemoteFiles<'static>> {
        Source::ALL.into_iter().filter_map(|source| source.remote())
    }

    #[test]
    fn remote_files_have_the_name_of_their_source_and_a_folder_of_their_own() {
        let mut folders = HashSet::new();
        for source in Source::ALL {
            if let Some(remote) = source.remote() {
                assert_eq!(remote.name, source.name());
                assert!(folders.insert(remote.folder), "{}", remote.folder);
            }
        }
        assert_eq!(folders.len(), 5);
    }

    #[test]
    fn checksums_have_the_length_of_their_kind() {
        for download in remote_files().flat_map(|remote| remote.downloads) {
            let (digits, length) = match download.checksum {
                Checksum::Sha256(digits) => (digits, 64),
                Checksum::Md5(digits) => (digits, 32),
            };
            assert_eq!(digits.len(), length, "{}", download.file);
            assert!(digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{}", download.file);
        }
    }

    #[test]
    fn sizes_of_downloads_and_contents_agree() {
        for remote in remote_files() {
            assert!(remote.base.ends_with('/'), "{}", remote.base);
            let packed = remote.downloads.iter().any(|file| file.packing != Packing::Plain);
            let known = || remote.contents.iter().filter_map(|content| content.bytes);
            if packed {
                assert!(known().sum::<u64>() < remote.unpacked_bytes, "{}", remote.name);
            } else {
                let sizes: Vec<_> = remote.downloads.iter().map(|file| file.bytes).collect();
                assert!(known().eq(sizes), "{}", remote.name);
            }
        }
    }
}
