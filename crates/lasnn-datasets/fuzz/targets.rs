//! The functions that the fuzz targets run, and `tests/seeds.rs` on a stable toolchain. Each one
//! passes arbitrary bytes to a parser, returns whether it accepts them, and asserts the properties
//! of its result.

use std::io::{Cursor, Read};

use lasnn_core::Shape;
use lasnn_datasets::formats::picture::{Format, Target};
use lasnn_datasets::formats::records::{Label, Layout};
use lasnn_datasets::formats::{self, tiny_imagenet as lists};

/// A target: returns whether the parser accepts the bytes.
pub type Accepts = fn(&[u8]) -> bool;

/// All targets with their names.
pub const ALL: &[(&str, Accepts)] = &[
    ("gzip", gzip),
    ("idx", idx),
    ("jpeg", jpeg),
    ("picture", picture),
    ("png", png),
    ("records", records),
    ("text", text),
    ("tiny_imagenet", tiny_imagenet),
    ("zip", zip),
];

const LONGEST: usize = 1 << 16;

pub fn gzip(bytes: &[u8]) -> bool {
    let unpacked = formats::gzip::gunzip(bytes, LONGEST);
    assert!(unpacked.as_ref().map_or(0, Vec::len) <= LONGEST);
    unpacked.is_ok()
}

pub fn idx(bytes: &[u8]) -> bool {
    for rank in 0..=4 {
        if let Ok(idx) = formats::idx::parse(bytes, rank) {
            assert_eq!(idx.dimensions.len(), rank);
            assert_eq!(idx.dimensions.iter().product::<usize>(), idx.values.len());
        }
    }
    let labels = formats::idx::labels(bytes, 3, 10);
    assert_eq!(labels.as_ref().map_or(3, |labels| labels.len()), 3);
    let images = formats::idx::images(bytes, 2, 1, 2);
    assert_eq!(images.as_ref().map_or(4, |pixels| pixels.len()), 4);
    labels.is_ok() || images.is_ok()
}

pub fn jpeg(bytes: &[u8]) -> bool {
    formats::jpeg::has_end_marker(bytes)
}

/// Decodes an image of two rows and three columns, and resizes any other image.
pub fn picture(bytes: &[u8]) -> bool {
    let Some(format) = Format::of_bytes(bytes) else { return false };
    let decode = |channels, height, width, resize| {
        let shape = Shape { channels, height, width };
        let mut out = vec![0; shape.len()];
        formats::picture::decode(bytes, format, Target { shape, resize }, &mut out).is_ok()
    };
    let (as_it_is, resized) = (decode(3, 2, 3, false), decode(1, 4, 4, true));
    assert!(resized || !as_it_is, "an image that can be decoded can be resized");
    as_it_is
}

pub fn png(bytes: &[u8]) -> bool {
    formats::png::is_complete(bytes)
}

/// Parses records like those of CIFAR-100 with two labels, but only four pixels.
pub fn records(bytes: &[u8]) -> bool {
    const LAYOUT: Layout = Layout {
        labels: &[Label { name: "coarse class", classes: 2 }, Label { name: "class", classes: 3 }],
        pixels: 4,
    };
    let checked = LAYOUT.check(bytes, 2).is_ok();
    assert!(!checked || bytes.len() == 2 * LAYOUT.record());
    checked
}

pub fn text(bytes: &[u8]) -> bool {
    let names = formats::text::class_names(bytes, 3);
    assert_eq!(names.as_ref().map_or(3, Vec::len), 3);
    names.is_ok()
}

/// Accepts bytes that are one of the four lists.
pub fn tiny_imagenet(bytes: &[u8]) -> bool {
    let classes = ["n00000001", "n00000002"].map(str::to_owned);
    let wnids = lists::wnids(bytes, 2);
    if let Ok(wnids) = &wnids {
        assert!(wnids.is_sorted() && wnids.len() == 2);
    }
    let words = lists::words(bytes, &classes);
    assert_eq!(words.as_ref().map_or(2, Vec::len), 2);
    let annotations = lists::val_annotations(bytes, &classes);
    for annotation in annotations.iter().flatten() {
        assert!(annotation.class < 2 && !annotation.file.contains(['/', '\\', '\0']));
    }
    let boxes = lists::boxes(bytes, &classes[0]);
    for (file, line) in boxes.iter().flatten() {
        assert!(*line > 0 && file.starts_with(&classes[0]) && !file.contains(['/', '\\', '\0']));
    }
    // No bytes are a valid list without images.
    !bytes.is_empty() && (wnids.is_ok() || words.is_ok() || annotations.is_ok() || boxes.is_ok())
}

/// Opens an archive and reads the first bytes of all its files.
pub fn zip(bytes: &[u8]) -> bool {
    let Ok((mut archive, names)) = formats::zip::open(Cursor::new(bytes)) else { return false };
    let mut readable = true;
    for name in &names {
        assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."));
        let mut unpacked = Vec::new();
        readable &= archive
            .by_name(name)
            .is_ok_and(|entry| entry.take(LONGEST as u64).read_to_end(&mut unpacked).is_ok());
    }
    readable
}
