//! The records of CIFAR's binary versions: one or more bytes for labels, then the pixels.

use crate::error::Flaw;

/// The layout of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The labels, one byte each.
    pub labels: &'static [Label],
    /// The number of bytes of pixels that follow.
    pub pixels: usize,
}

/// One label of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name in errors.
    pub name: &'static str,
    /// The number of classes; every value is smaller.
    pub classes: usize,
}

impl Layout {
    /// The number of bytes of a record.
    pub fn record(&self) -> usize {
        self.labels.len() + self.pixels
    }

    /// Checks that `bytes` are exactly `records` records, and that every label is below its number
    /// of classes.
    ///
    /// # Errors
    ///
    /// Names the byte at which the file ends early, continues after its end, or has a label that
    /// does not exist.
    pub fn check(&self, bytes: &[u8], records: usize) -> Result<(), Flaw> {
        let record = self.record();
        let length = records * record;
        let expected = format!("{length} bytes ({records} records of {record})");
        if bytes.len() < length {
            let (complete, rest) = (bytes.len() / record, bytes.len() % record);
            let found =
                format!("the end of the file after {complete} complete records and {rest} bytes");
            return Err(Flaw::byte(bytes.len(), found, expected));
        }
        if let Some(next) = bytes.get(length) {
            return Err(Flaw::byte(length, format!("byte {next}"), expected));
        }
        for (number, bytes) in bytes.chunks_exact(record).enumerate() {
            for (at, (label, &value)) in self.labels.iter().zip(bytes).enumerate() {
                if usize::from(value) >= label.classes {
                    return Err(Flaw::byte(
                        number * record + at,
                        format!("{} {value} in record {number}", label.name),
                        format!("a {} of 0 to {}", label.name, label.classes - 1),
                    ));
                }
            }
        }
        Ok(())
    }
}
