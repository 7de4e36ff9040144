//! Parsers of option values. Their errors say what is expected.

use std::num::NonZeroUsize;

use lasnn_core::Shape;
use lasnn_datasets::Normalisation;

/// Parses the name of a normalisation.
pub fn normalisation(text: &str) -> Result<Normalisation, String> {
    let named = |normalisation: &Normalisation| normalisation.name() == text;
    Normalisation::ALL.into_iter().find(named).ok_or_else(|| {
        let names = Normalisation::ALL.map(Normalisation::name);
        format!("expected one of {}", names.join(", "))
    })
}

/// Parses a seed.
pub fn seed(text: &str) -> Result<u32, String> {
    whole(text, 0, u64::from(u32::MAX)).map(|number| number as u32)
}

/// Parses a whole number that is at least 1.
pub fn positive(text: &str) -> Result<NonZeroUsize, String> {
    let number = whole(text, 1, u64::MAX)?;
    usize::try_from(number).ok().and_then(NonZeroUsize::new).ok_or_else(|| "too large".into())
}

/// Parses a number of classes.
pub fn classes(text: &str) -> Result<usize, String> {
    whole(text, 2, u64::from(u32::MAX)).map(|number| number as usize)
}

/// Parses the shape of an image such as `3x32x32`.
pub fn shape(text: &str) -> Result<Shape, String> {
    let side = |part: &str| whole(part, 1, 1 << 20).ok().map(|side| side as usize);
    let numbers: Option<Vec<usize>> = text.split('x').map(side).collect();
    match numbers.as_deref() {
        Some(&[channels, height, width]) => Ok(Shape { channels, height, width }),
        _ => Err(format!(
            "expected channels x height x width, each of 1 to {}, for instance 3x32x32",
            1 << 20
        )),
    }
}

/// Parses a whole number from `least` to `most`.
fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| match most {
        u64::MAX => format!("expected a whole number, at least {least}"),
        _ => format!("expected a whole number of {least} to {most}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_parsed() {
        assert_eq!(shape("1x8x9"), Ok(Shape { channels: 1, height: 8, width: 9 }));
        for invalid in ["8x8", "3x8x8x1", "3x-1x8", "0x8x8", "3x8x99999999999999999999"] {
            assert!(shape(invalid).unwrap_err().contains("3x32x32"), "{invalid}");
        }
    }
}
