//! From `u8` pixels to the numbers that a network sees.

use serde::{Deserialize, Serialize};

use crate::dataset::Images;

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

impl Normaliser {
    /// The numbers for `normalisation`. Only `standard` looks at the images: at those in
    /// `indices`, which should be the ones trained on. A channel that is constant there is only
    /// centred.
    pub fn fit(normalisation: Normalisation, images: &Images, indices: &[u32]) -> Self {
        let all = |value| vec![value; images.shape.channels];
        Self(match normalisation {
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
        })
    }

    /// What is subtracted from each channel and what it is divided by.
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
            pixels: vec![0, 255, 7, 7, 255, 0, 7, 7],
            labels: vec![0, 1],
            shape: Shape { channels: 2, height: 1, width: 2 },
        }
    }

    #[test]
    fn signed_and_unit_span_their_range_exactly() {
        for (normalisation, low, high) in
            [(Normalisation::Signed, -1.0, 1.0), (Normalisation::Unit, 0.0, 1.0)]
        {
            let tables = Normaliser::fit(normalisation, &images(), &[0, 1]).tables();
            assert_eq!(tables.len(), 2);
            assert_eq!((tables[1][0], tables[1][255]), (low, high));
            assert!(tables[1].is_sorted());
        }
    }

    #[test]
    fn standard_centres_and_scales_each_channel() {
        let normaliser = Normaliser::fit(Normalisation::Standard, &images(), &[0, 1]);
        let tables = normaliser.tables();
        assert_eq!((tables[0][0], tables[0][255]), (-1.0, 1.0));
        assert_eq!(tables[1][7], 0.0, "a constant channel is only centred");
        assert!(tables[1].iter().all(|value| value.is_finite()));
    }

    #[test]
    fn moments_are_those_of_the_chosen_images() {
        let mut images = images();
        images.pixels[..4].copy_from_slice(&[51, 102, 0, 0]);
        let moments = Moments::of(&images, &[0]);
        assert!((moments.mean[0] - 0.3).abs() < 1e-12, "{moments:?}");
        assert!((moments.deviation[0] - 0.1).abs() < 1e-12, "{moments:?}");
        assert_eq!(
            Moments::of(&images, &[]),
            Moments { mean: vec![0.0; 2], deviation: vec![0.0; 2] }
        );
    }
}
