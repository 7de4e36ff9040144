//! IDX, the format of MNIST: two zero bytes, a byte for the type of the values, a byte for the
//! number of dimensions, the size of each dimension as a big-endian 32-bit number, then the values.

use crate::error::Flaw;

/// An IDX file of unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx<'a> {
    /// The sizes of the dimensions, the slowest first. None of them is 0.
    pub dimensions: Vec<usize>,
    /// The values; their number is the product of the sizes.
    pub values: &'a [u8],
}

/// The code of unsigned bytes.
const BYTES: u8 = 8;

/// Parses an IDX file of unsigned bytes in `rank` dimensions.
///
/// # Errors
///
/// Names the byte at which the file has another type or number of dimensions, has a dimension of
/// size 0, ends early, or continues after its end.
pub fn parse(bytes: &[u8], rank: usize) -> Result<Idx<'_>, Flaw> {
    let header = 4 + 4 * rank;
    if bytes.len() < header {
        let found = format!("the end of the file after {} bytes", bytes.len());
        let expected = format!("the {header} bytes that begin an IDX file of {}", dimensions(rank));
        return Err(Flaw::byte(bytes.len(), found, expected));
    }
    if bytes[..2] != [0, 0] {
        let found = format!("bytes {} and {}", bytes[0], bytes[1]);
        return Err(Flaw::byte(0, found, "two zeros, which begin every IDX file"));
    }
    if bytes[2] != BYTES {
        let found = format!("values of type {}", bytes[2]);
        return Err(Flaw::byte(2, found, format!("type {BYTES}, unsigned bytes")));
    }
    if usize::from(bytes[3]) != rank {
        return Err(Flaw::byte(3, dimensions(usize::from(bytes[3])), dimensions(rank)));
    }
    let mut sizes = Vec::with_capacity(rank);
    for (dimension, size) in bytes[4..header].as_chunks().0.iter().enumerate() {
        let size = u32::from_be_bytes(*size) as usize;
        if size == 0 {
            let found = format!("size 0 of dimension {dimension}");
            return Err(Flaw::byte(4 + 4 * dimension, found, "at least 1"));
        }
        sizes.push(size);
    }
    let values = &bytes[header..];
    let expected = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    if expected != Some(values.len()) {
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        let found = format!("the end of the file after {} values", values.len());
        return Err(Flaw::byte(bytes.len(), found, format!("{} values", sizes.join(" x "))));
    }
    Ok(Idx { dimensions: sizes, values })
}

/// The pixels of `count` images of `height` rows and `width` columns.
///
/// # Errors
///
/// Fails like [`parse`]. Also names the size that differs.
pub fn images(bytes: &[u8], count: usize, height: usize, width: usize) -> Result<&[u8], Flaw> {
    let Idx { dimensions, values } = parse(bytes, 3)?;
    for (at, (expected, what)) in
        [(count, "images"), (height, "rows"), (width, "columns")].into_iter().enumerate()
    {
        if dimensions[at] != expected {
            let found = format!("{} {what}", dimensions[at]);
            return Err(Flaw::byte(4 + 4 * at, found, format!("{expected} {what}")));
        }
    }
    Ok(values)
}

/// The labels of `count` images; each is below `classes`.
///
/// # Errors
///
/// Fails like [`parse`]. Also names a label that is too large or a number of labels that differs.
pub fn labels(bytes: &[u8], count: usize, classes: usize) -> Result<&[u8], Flaw> {
    let Idx { dimensions, values } = parse(bytes, 1)?;
    if dimensions[0] != count {
        let expected = format!("{count} labels, one for each image");
        return Err(Flaw::byte(4, format!("{} labels", dimensions[0]), expected));
    }
    match values.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok(values),
        Some(at) => {
            let found = format!("label {} of image {at}", values[at]);
            Err(Flaw::byte(bytes.len() - values.len() + at, found, below(classes)))
        }
    }
}

fn dimensions(rank: usize) -> String {
    format!("{rank} {}", if rank == 1 { "dimension" } else { "dimensions" })
}

fn below(classes: usize) -> String {
    format!("a label of 0 to {}", classes.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of two images with one row and two columns.
    const IMAGES: &[u8] = &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 9, 8, 7, 6];
    /// A file of three labels.
    const LABELS: &[u8] = &[0, 0, 8, 1, 0, 0, 0, 3, 4, 9, 0];

    #[track_caller]
    fn refuses_images(spoil: impl Fn(&mut Vec<u8>), message: &str) {
        let mut bytes = IMAGES.to_vec();
        spoil(&mut bytes);
        assert_eq!(images(&bytes, 2, 1, 2).unwrap_err().to_string(), message);
    }

    #[track_caller]
    fn refuses_labels(spoil: impl Fn(&mut Vec<u8>), message: &str) {
        let mut bytes = LABELS.to_vec();
        spoil(&mut bytes);
        assert_eq!(labels(&bytes, 3, 10).unwrap_err().to_string(), message);
    }

    #[test]
    fn well_formed_files_give_their_values() {
        assert_eq!(images(IMAGES, 2, 1, 2).unwrap(), [9, 8, 7, 6]);
        assert_eq!(labels(LABELS, 3, 10).unwrap(), [4, 9, 0]);
    }

    #[test]
    fn another_kind_of_file_is_refused() {
        refuses_images(
            |bytes| bytes[..2].copy_from_slice(&[31, 139]),
            "byte 0: found bytes 31 and 139, expected two zeros, which begin every IDX file",
        );
        refuses_images(
            |bytes| bytes[2] = 13,
            "byte 2: found values of type 13, expected type 8, unsigned bytes",
        );
        refuses_images(|bytes| bytes[3] = 1, "byte 3: found 1 dimension, expected 3 dimensions");
        refuses_labels(|bytes| bytes[3] = 3, "byte 3: found 3 dimensions, expected 1 dimension");
    }

    #[test]
    fn every_length_but_one_is_refused() {
        for end in 0..16 {
            let message = format!(
                "byte {end}: found the end of the file after {end} bytes, expected the 16 bytes \
                 that begin an IDX file of 3 dimensions"
            );
            refuses_images(|bytes| bytes.truncate(end), &message);
        }
        refuses_images(
            |bytes| bytes.truncate(19),
            "byte 19: found the end of the file after 3 values, expected 2 x 1 x 2 values",
        );
        refuses_images(
            |bytes| bytes.push(0),
            "byte 21: found the end of the file after 5 values, expected 2 x 1 x 2 values",
        );
    }

    #[test]
    fn sizes_are_checked_before_use() {
        refuses_images(
            |bytes| bytes[7] = 0,
            "byte 4: found size 0 of dimension 0, expected at least 1",
        );
        refuses_images(
            |bytes| bytes[4..16].fill(255),
            "byte 20: found the end of the file after 4 values, expected \
             4294967295 x 4294967295 x 4294967295 values",
        );
        refuses_images(|bytes| bytes.swap(11, 15), "byte 8: found 2 rows, expected 1 rows");
        refuses_images(
            |bytes| {
                bytes[7] = 1;
                bytes.truncate(18);
            },
            "byte 4: found 1 images, expected 2 images",
        );
    }

    #[test]
    fn labels_are_as_many_as_images_and_below_the_number_of_classes() {
        refuses_labels(
            |bytes| bytes[9] = 10,
            "byte 9: found label 10 of image 1, expected a label of 0 to 9",
        );
        refuses_labels(
            |bytes| {
                bytes[7] = 4;
                bytes.push(0);
            },
            "byte 4: found 4 labels, expected 3 labels, one for each image",
        );
    }
}
