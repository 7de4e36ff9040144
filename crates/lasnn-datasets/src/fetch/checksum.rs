//! What a downloaded file must be, as a hash worked out while it comes in.

use std::fmt;

use md5::Md5;
use sha2::{Digest, Sha256};

/// The hash of a file as its origin or those who mirror it publish it, in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum<'a> {
    /// SHA-256, preferred wherever somebody trustworthy published one.
    Sha256(&'a str),
    /// MD5, where nothing better is published. It tells a damaged file, not a forged one.
    Md5(&'a str),
}

impl Checksum<'_> {
    /// Starts to hash a file in the same way.
    pub(super) fn hasher(&self) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Md5(_) => Hasher::Md5(Md5::new()),
        }
    }

    /// Whether `digits` are those of this checksum.
    pub(super) fn is(&self, digits: &str) -> bool {
        let (Self::Sha256(expected) | Self::Md5(expected)) = self;
        expected.eq_ignore_ascii_case(digits)
    }
}

impl fmt::Display for Checksum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digits) => write!(f, "SHA-256 {digits}"),
            Self::Md5(digits) => write!(f, "MD5 {digits}"),
        }
    }
}

/// A hash that is being worked out.
#[derive(Clone, Debug)]
pub(super) enum Hasher {
    Sha256(Sha256),
    Md5(Md5),
}

impl Hasher {
    /// Hashes what comes next.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Md5(hash) => hash.update(bytes),
        }
    }

    /// The hash in hexadecimal digits.
    pub fn digits(self) -> String {
        match self {
            Self::Sha256(hash) => format!("{:x}", hash.finalize()),
            Self::Md5(hash) => format!("{:x}", hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers for the message "abc": RFC 1321, appendix A.5, and FIPS 180-2, appendix B.1.
    #[track_caller]
    fn check(checksum: Checksum<'_>) {
        let mut hasher = checksum.hasher();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert!(checksum.is(&hasher.clone().digits()));
        hasher.update(b"d");
        assert!(!checksum.is(&hasher.digits()));
    }

    #[test]
    fn hashes_give_the_known_answers() {
        check(Checksum::Md5("900150983cd24fb0d6963f7d28e17f72"));
        check(Checksum::Md5("900150983CD24FB0D6963F7D28E17F72"));
        check(Checksum::Sha256("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    }
}
