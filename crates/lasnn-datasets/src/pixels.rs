//! Pixels in memory or in a file that is mapped into memory.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Read-only bytes: a vector, or a part of a file that is mapped into memory.
///
/// Clones and parts share the bytes.
#[derive(Clone)]
pub struct Pixels {
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Pixels {
    /// All of `bytes`.
    pub(crate) fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let range = 0..bytes.as_ref().len();
        Self { bytes: Arc::new(bytes), range }
    }

    /// The bytes of `range`, shared without a copy. A range beyond the end is clipped.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let place = |at: usize| self.range.start.saturating_add(at).min(self.range.end);
        let start = place(range.start);
        Self { bytes: self.bytes.clone(), range: start..place(range.end).max(start) }
    }

    /// Keeps the first `length` bytes. The rest stays in memory, since clones may use it.
    pub(crate) fn truncate(&mut self, length: usize) {
        *self = self.part(0..length);
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.bytes).as_ref()[self.range.clone()]
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Pixels {}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pixels({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_not_copied() {
        let mut pixels = Pixels::from(vec![0, 1, 2, 3, 4, 5]);
        let part = pixels.part(2..5);
        assert_eq!(part[..], [2, 3, 4]);
        assert!(std::ptr::eq(&part[0], &pixels[2]));
        assert_eq!(part.part(1..9)[..], [3, 4]);
        assert!(part.part(7..9).is_empty());
        pixels.truncate(2);
        assert_eq!(pixels[..], [0, 1]);
        assert_eq!((part.len(), format!("{pixels:?}").as_str()), (3, "Pixels(2 bytes)"));
        assert_eq!(part, Pixels::from(vec![2, 3, 4]));
    }
}
