//! Records of CIFAR's binary versions: one or more bytes for labels, then the pixels.

use crate::error::Flaw;

/// What every record of a file holds, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The labels, one byte each.
    pub labels: &'static [Label],
    /// How many bytes of pixels follow.
    pub pixels: usize,
}

/// One label of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// What errors call it.
    pub name: &'static str,
    /// How many classes it tells apart; its value is below.
    pub classes: usize,
}

impl Layout {
    /// Bytes of a record.
    pub fn record(&self) -> usize {
        self.labels.len() + self.pixels
    }

    /// Checks that `bytes` are exactly `records` records and that every label of each is below its
    /// number of classes.
    ///
    /// # Errors
    ///
    /// Says at which byte the file ends, goes on, or has a label that does not exist.
    pub fn check(&self, bytes: &[u8], records: usize) -> Result<(), Flaw> {
        let record = self.record();
        let length = records * record;
        let expected = format!("{length} bytes ({records} records of {record})");
        if bytes.len() < length {
            let (whole, rest) = (bytes.len() / record, bytes.len() % record);
            let found = format!("the end of the file after {whole} whole records and {rest} bytes");
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
