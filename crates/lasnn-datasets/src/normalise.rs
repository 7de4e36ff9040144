//! From `u8` pixels to the numbers that a network sees.

use serde::{Deserialize, Serialize};

use crate::config::Source;
use crate::dataset::Images;
use crate::error::DatasetError;

/// How pixels become numbers; the key `normalisation` of a recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// 0..255 to -1..1, as hybrid training does.
    #[default]
    Signed,
    /// 0..255 to 0..1.
    Unit,
    /// Per channel, the mean of the images trained on becomes 0 and their standard deviation 1.
    Standard,
    /// The same with the numbers that are customary for the data set, see [`Moments::published`].
    Published,
}

impl Normalisation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Signed, Self::Unit, Self::Standard, Self::Published];

    /// The name as recipes write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Unit => "unit",
            Self::Standard => "standard",
            Self::Published => "published",
        }
    }
}

/// Mean and standard deviation of each channel, of pixels scaled to 0..1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// The mean by channel.
    pub mean: Vec<f64>,
    /// The standard deviation by channel, of the images as the whole population.
    pub deviation: Vec<f64>,
}

impl Moments {
    /// The statistics of the training images that publications normalise `source` with; none where
    /// there is no custom.
    ///
    /// They are those of all training images as one population, to the four digits that are usually
    /// written: for CIFAR-10 as in K. Jordan's airbench, for CIFAR-100 as in weiaicunzai's
    /// pytorch-cifar100, for MNIST as in PyTorch's example, for Fashion-MNIST and Tiny ImageNet as in
    /// common use.
    /// Some publications have smaller deviations, such as 0.2023 for CIFAR-10's red, which are the
    /// mean of the deviations of single images; those are not meant here.
    pub fn published(source: Source) -> Option<Self> {
        let (mean, deviation): (&[f64], &[f64]) = match source {
            Source::Cifar10 => (&[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]),
            Source::Cifar100 => (&[0.5071, 0.4865, 0.4409], &[0.2673, 0.2564, 0.2762]),
            Source::Mnist => (&[0.1307], &[0.3081]),
            Source::FashionMnist => (&[0.2860], &[0.3530]),
            Source::TinyImagenet => (&[0.4802, 0.4481, 0.3975], &[0.2770, 0.2691, 0.2821]),
            Source::Digits | Source::Folder | Source::Synthetic => return None,
        };
        Some(Self { mean: mean.to_vec(), deviation: deviation.to_vec() })
    }

    /// The moments of the images `indices`.
    ///
    /// Pixels are counted by value first, in integers, so the result does not depend on the order
    /// of the images.
    pub fn of(images: &Images, indices: &[u32]) -> Self {
        let plane = images.shape.height * images.shape.width;
        let mut counts = vec![[0_u64; 256]; images.shape.channels];
        for &index in indices {
            let planes = images.image(index as usize).chunks_exact(plane.max(1));
            for (counts, plane) in counts.iter_mut().zip(planes) {
                plane.iter().for_each(|&pixel| counts[usize::from(pixel)] += 1);
            }
        }
        let (mean, deviation) = counts.iter().map(moments).unzip();
        Self { mean, deviation }
    }
}

/// The published statistics of `source`, or an error of the recipe that asks for them.
pub(crate) fn published(source: Source) -> Result<Moments, DatasetError> {
    Moments::published(source).ok_or_else(|| {
        let expected = format!(
            "another normalisation, since no statistics of the source `{}` are published",
            source.name()
        );
        DatasetError::config("normalisation", Normalisation::Published.name(), expected)
    })
}

/// Mean and standard deviation of pixels counted by value; 0 and 0 of no pixel.
fn moments(counts: &[u64; 256]) -> (f64, f64) {
    let pixels = counts.iter().sum::<u64>().max(1) as f64;
    let weighted = || counts.iter().zip(0_u32..).map(|(&n, v)| (n as f64, f64::from(v)));
    let mean = weighted().map(|(n, v)| n * v).sum::<f64>() / pixels;
    let variance = weighted().map(|(n, v)| n * (v - mean).powi(2)).sum::<f64>() / pixels;
    (mean / 255.0, variance.sqrt() / 255.0)
}

/// Normalisation with its numbers: channel `c` of a pixel `p` becomes
/// `(p / 255 - mean[c]) / deviation[c]`, worked out in `f64` and rounded once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Normaliser(Moments);

impl From<Moments> for Normaliser {
    /// A normaliser with known numbers, for instance those of a checkpoint.
    fn from(moments: Moments) -> Self {
        Self(moments)
    }
}

impl Normaliser {
    /// The numbers for `normalisation` of images of `source`. Only `standard` looks at the images:
    /// at those in `indices`, which should be the ones trained on. A channel that is constant there
    /// is only centred.
    ///
    /// # Errors
    ///
    /// Names the key if it is `published` and there are no such numbers for the source.
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

    /// The normalised value of each of the 256 pixel values, by channel.
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
    fn published_numbers_need_no_images() {
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
            "`data.normalisation` is published, expected another normalisation, since no statistics \
             of the source `digits` are published"
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

    #[test]
    fn moments_are_those_of_the_chosen_images() {
        let mut images = images();
        images.pixels = vec![51, 102, 0, 0, 255, 0, 7, 7].into();
        let moments = Moments::of(&images, &[0]);
        assert!((moments.mean[0] - 0.3).abs() < 1e-12, "{moments:?}");
        assert!((moments.deviation[0] - 0.1).abs() < 1e-12, "{moments:?}");
        assert_eq!(
            Moments::of(&images, &[]),
            Moments { mean: vec![0.0; 2], deviation: vec![0.0; 2] }
        );
    }
}
