use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb};

use super::*;

/// Of several scans, the brightness in twice the rows and columns of the colours.
const PROGRESSIVE: &[u8] = include_bytes!("../../../fuzz/seeds/jpeg/good-progressive");
/// Of one scan with a restart after each unit.
const RESTARTS: &[u8] = include_bytes!("../../../fuzz/seeds/jpeg/good-restarts");

/// A file without its end mark.
fn without_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xD9]).unwrap();
    &bytes[..end]
}

/// Where the pixels of each scan begin and end. Between scans there may be other parts.
fn scans(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut scans, mut rest) = (Vec::new(), &bytes[2..]);
    while let Some((mark, _, after)) = part(rest) {
        rest = after;
        if mark == 0xDA {
            rest = Bits::new(after).rest();
            scans.push(bytes.len() - after.len()..bytes.len() - rest.len());
        }
    }
    scans
}

#[test]
fn the_end_of_a_preview_is_not_the_end() {
    let header = [0xFF, 0xD8, 0xFF, 0xE1, 0, 4, 0xFF, 0xD9];
    let pixels = [0xFF, 0xFF, 0xDA, 0, 3, 0, 1, 2, 0xFF, 0, 3];
    assert!(!has_end(&header));
    assert!(!has_end(&[&header[..], &pixels].concat()));
    assert!(has_end(&[&header[..], &pixels, &[0xFF, 0xD9]].concat()));
    assert!(has_end(&[&header[..], &pixels, &[0xFF, 0xD9, 0, 0]].concat()));
    assert!(!has_end(&[&header[..], &[7, 7], &pixels, &[0xFF, 0xD9]].concat()));
    assert!(!has_end(b"") && !has_end(&[0xFF]) && !has_end(&[0xFF, 0xD8, 0xFF, 0xDA, 0]));
}

#[test]
fn pixels_that_are_missing_before_the_end_mark_are_missed() {
    let noise = |x: u32, y: u32| (x * 97 + y * 57 + x * y * 31) as u8;
    let grey: DynamicImage = ImageBuffer::from_fn(21, 13, |x, y| Luma([noise(x, y)])).into();
    let coloured: DynamicImage =
        ImageBuffer::from_fn(17, 9, |x, y| Rgb([noise(x, y), noise(y, x), x as u8])).into();
    let encoded = [grey, coloured].map(|image| {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    });
    for whole in encoded.iter().map(Vec::as_slice).chain([RESTARTS, PROGRESSIVE]) {
        assert!(is_whole(whole) && pixels(whole) == Ok(()));
        assert!(is_whole(&[whole, b"more"].concat()));
        let scans = scans(whole);
        assert_eq!(scans.last().unwrap().end, without_end(whole).len());
        // Whatever is lost of a scan. All of the last ones is no loss that could be seen.
        for cut in scans.iter().flat_map(|scan| scan.start..scan.end) {
            let cut = [&whole[..cut], &[0xFF, 0xD9]].concat();
            assert!(has_end(&cut) && !is_whole(&cut), "{} of {}", cut.len(), whole.len());
        }
    }
    assert!(scans(PROGRESSIVE).len() > 3);
}
