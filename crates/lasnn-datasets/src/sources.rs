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

use lasnn_core::Kind;
use serde::{Deserialize, Serialize};

use crate::source::DatasetSource;

/// Declares the enum [`Source`] and its table. A line has the description of the data set, its
/// variant, its implementation, and its publication.
macro_rules! sources {
    ($(#[doc = $about:literal] $name:ident => $source:expr, $published:literal;)*) => {
        /// The data set that a recipe names. It dereferences to its [`DatasetSource`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Source {
            $(#[doc = $about] $name,)*
        }

        impl Source {
            /// All data sets.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];

            /// The data set in words.
            pub fn kind(self) -> Kind {
                match self {
                    $(Self::$name => Kind {
                        name: self.name(),
                        about: $about.trim_ascii().trim_end_matches('.'),
                        source: $published,
                    },)*
                }
            }
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
    Digits => digits::Digits, "Alpaydin and Kaynak 1998";
    /// CIFAR-10 in its binary version from a local directory, 3x32x32, 10 classes.
    Cifar10 => cifar10::Cifar10, "Krizhevsky 2009";
    /// CIFAR-100 in its binary version from a local directory, 3x32x32, 100 or 20 classes.
    Cifar100 => cifar100::Cifar100, "Krizhevsky 2009";
    /// MNIST's handwritten digits from a local directory, 1x28x28, 10 classes.
    Mnist => mnist::MNIST, "LeCun, Cortes and Burges 1998";
    /// Fashion-MNIST from a local directory, 1x28x28, 10 classes.
    FashionMnist => mnist::FASHION_MNIST, "Xiao, Rasul and Vollgraf 2017";
    /// Tiny ImageNet from a local directory or archive, 3x64x64, 200 classes.
    TinyImagenet => tiny_imagenet::TinyImagenet, "Stanford's course CS231n 2015";
    /// Your own images, in a folder for each class.
    Folder => folder::Folder, "";
    /// Generated images of any shape and any number of classes, for tests and benchmarks.
    Synthetic => synthetic::Synthetic, "";
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
    fn every_name_is_read_as_its_data_set() {
        for source in Source::ALL {
            let kind = source.kind();
            let read: Source = serde_json::from_value(kind.name.into()).unwrap();
            assert_eq!(read, source);
            assert!(!kind.about.ends_with('.') && !kind.about.starts_with(' '), "{kind:?}");
        }
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
