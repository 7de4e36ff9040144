//! Normalisation: from `u8` pixels to the input of a network.

use serde::{Deserialize, Serialize};

use crate::dataset::Images;
use crate::error::DatasetError;
use crate::moments::Moments;
use crate::sources::Source;

/// How pixels are normalised: the key `normalisation` of a recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// 0..255 becomes -1..1, as in hybrid training.
    #[default]
    Signed,
    /// 0..255 becomes 0..1.
    Unit,
    /// In each channel, the mean of the training images becomes 0 and their standard deviation 1.
    Standard,
    /// Like `Standard`, with the published moments of the data set; see
    /// [`DatasetSource::published`](crate::DatasetSource::published).
    Published,
}

impl Normalisation {
    /// All variants.
    pub const ALL: [Self; 4] = [Self::Signed, Self::Unit, Self::Standard, Self::Published];

    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Unit => "unit",
            Self::Standard => "standard",
            Self::Published => "published",
        }
    }

    /// The lowest and the highest value that a pixel can have.
    pub fn range(self) -> [f32; 2] {
        match self {
            Self::Signed => [-1.0, 1.0],
            Self::Unit => [0.0, 1.0],
            // They depend on the images.
            Self::Standard | Self::Published => [f32::NEG_INFINITY, f32::INFINITY],
        }
    }
}

/// The published moments of `source`, or the error of a recipe that needs them.
pub(crate) fn published(source: Source) -> Result<Moments, DatasetError> {
    source.published().ok_or_else(|| {
        let expected = format!(
            "another normalisation, since no statistics of the source `{}` are published",
            source.name()
        );
        DatasetError::config("normalisation", Normalisation::Published.name(), expected)
    })
}

/// A normalisation with its moments: a pixel `p` of channel `c` becomes
/// `(p / 255 - mean[c]) / deviation[c]`, computed in `f64` and rounded once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Normaliser(Moments);

impl From<Moments> for Normaliser {
    /// A normaliser with known moments, for instance those of a checkpoint.
    fn from(moments: Moments) -> Self {
        Self(moments)
    }
}

impl Normaliser {
    /// The normaliser for `images` of `source`. Only `standard` reads the images `indices`, which
    /// should be the training images. A channel that is constant in them is only centred.
    ///
    /// # Errors
    ///
    /// Fails if the normalisation is `published` and the source has no published moments.
    pub fn fit(
        normalisation: Normalisation,
        source: Source,
        images: &Images,
        indices: &[u32],
    ) -> Result<Self, DatasetError> {
        let all = |value| vec![value; images.shape.channels];
        Ok(Self(match normalisation {
            Normalisation::Signed => Moments { mean: all(0.5), deviation: all(0.5) },
            Normalisation::Unit => Moments { mean: all(0.0), deviation: all(1.0) },
            Normalisation::Standard => {
                let mut moments = Moments::of(images, indices);
                for deviation in &mut moments.deviation {
                    if *deviation == 0.0 {
                        *deviation = 1.0;
                    }
                }
                moments
            }
            Normalisation::Published => published(source)?,
        }))
    }

    /// The mean that is subtracted from each channel and the deviation that divides it.
    pub fn moments(&self) -> &Moments {
        &self.0
    }

    /// For each channel, the normalised values of the 256 pixel values.
    pub(crate) fn tables(&self) -> Vec<[f32; 256]> {
        let Moments { mean, deviation } = &self.0;
        let table = |(mean, deviation): (&f64, &f64)| {
            std::array::from_fn(|value| ((value as f64 / 255.0 - mean) / deviation) as f32)
        };
        mean.iter().zip(deviation).map(table).collect()
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::Shape;

    use super::*;

    /// Two images of two channels of two pixels.
    fn images() -> Images {
        Images {
            pixels: vec![0, 255, 7, 7, 255, 0, 7, 7].into(),
            labels: vec![0, 1],
            shape: Shape { channels: 2, height: 1, width: 2 },
        }
    }

    fn fit(normalisation: Normalisation, images: &Images, indices: &[u32]) -> Normaliser {
        Normaliser::fit(normalisation, Source::Synthetic, images, indices).unwrap()
    }

    #[test]
    fn published_moments_need_no_images() {
        let none = Images {
            pixels: Vec::new().into(),
            labels: Vec::new(),
            shape: Shape { channels: 1, height: 28, width: 28 },
        };
        let fit = |source| Normaliser::fit(Normalisation::Published, source, &none, &[]);
        let tables = fit(Source::Mnist).unwrap().tables();
        assert_eq!(tables.len(), 1);
        assert!((tables[0][0] + 0.1307 / 0.3081).abs() < 1e-6);
        assert!((tables[0][255] - (1.0 - 0.1307) / 0.3081).abs() < 1e-6);
        assert_eq!(
            fit(Source::Digits).unwrap_err().to_string(),
            "`data.normalisation` is published, expected another normalisation, since no \
             statistics of the source `digits` are published"
        );
    }

    #[test]
    fn signed_and_unit_span_their_range_exactly() {
        for (normalisation, low, high) in
            [(Normalisation::Signed, -1.0, 1.0), (Normalisation::Unit, 0.0, 1.0)]
        {
            let tables = fit(normalisation, &images(), &[0, 1]).tables();
            assert_eq!(tables.len(), 2);
            assert_eq!((tables[1][0], tables[1][255]), (low, high));
            assert!(tables[1].is_sorted());
        }
    }

    #[test]
    fn standard_centres_and_scales_each_channel() {
        let normaliser = fit(Normalisation::Standard, &images(), &[0, 1]);
        let tables = normaliser.tables();
        assert_eq!((tables[0][0], tables[0][255]), (-1.0, 1.0));
        assert_eq!(tables[1][7], 0.0, "a constant channel is only centred");
        assert!(tables[1].iter().all(|value| value.is_finite()));
    }
}
