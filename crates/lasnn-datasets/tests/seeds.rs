//! Runs every parser over the seeds of the fuzz targets and over simple changes of them, on a
//! stable toolchain. No parser may panic, and each must accept the good seeds and refuse the bad
//! ones.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb};

#[path = "../fuzz/targets.rs"]
mod targets;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// The names and bytes of the committed seeds of a target.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder().join(target)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut seeds: Vec<_> = paths.map(|path| (name(&path), fs::read(path).unwrap())).collect();
    seeds.sort();
    seeds
}

#[test]
fn good_seeds_are_accepted_and_bad_ones_refused() {
    for (target, accepts) in targets::ALL {
        let seeds = seeds(target);
        for kind in ["good", "bad"] {
            assert!(seeds.iter().any(|(name, _)| name.starts_with(kind)), "{target}: no {kind}");
        }
        for (name, bytes) in seeds {
            assert!(bytes.len() < 1000, "{target}/{name} is not small");
            assert_eq!(accepts(&bytes), name.starts_with("good"), "{target}/{name}");
        }
    }
}

#[test]
fn changed_seeds_make_no_parser_panic() {
    for (target, accepts) in targets::ALL {
        for (_, bytes) in seeds(target) {
            for end in 0..bytes.len() {
                accepts(&bytes[..end]);
                accepts(&[&bytes[..], &bytes[end..]].concat());
            }
            for at in 0..bytes.len() {
                for change in [0x01, 0x80, 0xFF] {
                    let mut changed = bytes.clone();
                    changed[at] ^= change;
                    accepts(&changed);
                }
                let mut without = bytes.clone();
                without.remove(at);
                accepts(&without);
            }
            // Extreme values of numbers with 16 and 32 bits.
            for at in 0..bytes.len().saturating_sub(3) {
                for (size, value) in [(2, 0), (2, 0xFF), (4, 0), (4, 0xFF), (4, 0x7F)] {
                    let mut changed = bytes.clone();
                    changed[at..at + size].fill(value);
                    accepts(&changed);
                }
            }
        }
    }
}

/// Makes the seeds again, after a change of this file or of a format.
#[test]
#[ignore = "it writes into the sources"]
fn make_the_seeds() {
    for (target, name, bytes) in all() {
        let folder = folder().join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
}

type Seed = (&'static str, &'static str, Vec<u8>);

fn all() -> Vec<Seed> {
    let mut seeds = lists();
    seeds.extend(archives());
    seeds.extend(pictures());
    seeds
}

/// Text and tables of numbers.
fn lists() -> Vec<Seed> {
    let images = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 9, 8, 7, 6];
    let mut huge = images.clone();
    huge[4..16].fill(0xFF);
    let mut floats = images.clone();
    floats[2] = 13;
    vec![
        ("idx", "good-images", images),
        ("idx", "good-labels", vec![0, 0, 8, 1, 0, 0, 0, 3, 4, 9, 0]),
        ("idx", "bad-label", vec![0, 0, 8, 1, 0, 0, 0, 3, 4, 10, 0]),
        ("idx", "bad-huge", huge),
        ("idx", "bad-type", floats),
        ("records", "good", vec![1, 2, 5, 6, 7, 8, 0, 0, 9, 9, 9, 9]),
        ("records", "bad-class", vec![1, 2, 5, 6, 7, 8, 0, 3, 9, 9, 9, 9]),
        ("records", "bad-short", vec![1, 2, 5, 6, 7, 8, 0]),
        ("text", "good", b"cat\ndog\n  cow \r\n\n".to_vec()),
        ("text", "bad-twice", b"cat\ndog\ncat\n".to_vec()),
        ("text", "bad-latin1", b"cat\nd\xF6g\ncow\n".to_vec()),
        ("tiny_imagenet", "good-wnids", b"n00000002\nn00000001\n".to_vec()),
        ("tiny_imagenet", "good-words", b"n00000001\tcat\nn00000002\tdog, hound\n".to_vec()),
        (
            "tiny_imagenet",
            "good-annotations",
            b"val_0.JPEG\tn00000002\t0\t32\t44\t62\nval_1.JPEG\tn00000001\t5\t6\t7\t8\n".to_vec(),
        ),
        (
            "tiny_imagenet",
            "good-boxes",
            b"n00000001_0.JPEG\t0\t10\t63\t58\nn00000001_1.JPEG\t0\t1\t2\t3\n".to_vec(),
        ),
        ("tiny_imagenet", "bad-path", b"../val_0.JPEG\tn00000002\t0\t32\t44\t62\n".to_vec()),
        ("tiny_imagenet", "bad-number", b"val_0.JPEG\tn00000002\t0\t32\t44\tx\n".to_vec()),
    ]
}

fn archives() -> Vec<Seed> {
    let pack = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = pack(&b"worth packing, ".repeat(20));
    let bomb = pack(&[0; 100_000]);

    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    writer.add_directory("a", options).unwrap();
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        writer.start_file(format!("a/{method}"), options.compression_method(method)).unwrap();
        writer.write_all(&b"worth packing, ".repeat(5)).unwrap();
    }
    let archive = writer.finish().unwrap().into_inner();
    let outside = replaced(&archive, b"a/", b"/a");
    vec![
        ("gzip", "bad-cut", gzip[..gzip.len() - 3].to_vec()),
        ("gzip", "good", gzip),
        ("gzip", "bad-bomb", bomb),
        ("zip", "bad-cut", archive[..archive.len() - 30].to_vec()),
        ("zip", "bad-path", outside),
        ("zip", "good", archive),
    ]
}

fn pictures() -> Vec<Seed> {
    let encode = |image: DynamicImage, format| {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let coloured: DynamicImage =
        ImageBuffer::from_fn(3, 2, |x, y| Rgb([90 * x as u8, 200 * y as u8, 7])).into();
    let grey: DynamicImage = ImageBuffer::from_fn(3, 2, |x, y| Luma([(90 * x + y) as u8])).into();
    let jpeg = encode(coloured.clone(), ImageFormat::Jpeg);
    let png = encode(coloured.clone(), ImageFormat::Png);
    let webp = encode(coloured.clone(), ImageFormat::WebP);
    let smaller = encode(coloured.crop_imm(0, 0, 2, 2), ImageFormat::Png);
    let cut = jpeg[..jpeg.len() - 20].to_vec();
    // Only the checksum of the end chunk is missing; every pixel is present.
    let cut_png = png[..png.len() - 4].to_vec();
    vec![
        ("jpeg", "good", jpeg.clone()),
        ("jpeg", "bad-cut", cut.clone()),
        ("picture", "good-png", png.clone()),
        ("picture", "good-grey-png", encode(grey.clone(), ImageFormat::Png)),
        ("picture", "good-webp", webp),
        ("picture", "good-grey-jpeg", encode(grey, ImageFormat::Jpeg)),
        ("picture", "good-jpeg", jpeg),
        ("picture", "bad-cut-jpeg", cut),
        ("picture", "bad-cut-png", cut_png.clone()),
        ("picture", "bad-size", smaller),
        ("png", "bad-cut", cut_png),
        ("png", "good", png),
    ]
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}
