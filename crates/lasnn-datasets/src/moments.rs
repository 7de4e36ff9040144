//! Mean and standard deviation of the pixels of images.

use serde::{Deserialize, Serialize};

use crate::dataset::Images;

/// Mean and standard deviation of each channel, of pixels scaled to 0..1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// The mean of each channel.
    pub mean: Vec<f64>,
    /// The population standard deviation of each channel.
    pub deviation: Vec<f64>,
}

impl Moments {
    /// Moments with known numbers, one for each channel.
    pub fn new(mean: &[f64], deviation: &[f64]) -> Self {
        Self { mean: mean.to_vec(), deviation: deviation.to_vec() }
    }

    /// The moments of the images `indices`; 0 if there is no image.
    ///
    /// The function counts the pixel values in integers first, so the result does not depend on the
    /// order of the images.
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

/// Mean and standard deviation of pixels, from the number of pixels with each value.
fn moments(counts: &[u64; 256]) -> (f64, f64) {
    let pixels = counts.iter().sum::<u64>().max(1) as f64;
    let weighted = || counts.iter().zip(0_u32..).map(|(&n, v)| (n as f64, f64::from(v)));
    let mean = weighted().map(|(n, v)| n * v).sum::<f64>() / pixels;
    let variance = weighted().map(|(n, v)| n * (v - mean).powi(2)).sum::<f64>() / pixels;
    (mean / 255.0, variance.sqrt() / 255.0)
}

#[cfg(test)]
mod tests {
    use lasnn_core::Shape;

    use super::*;

    #[test]
    fn only_the_chosen_images_count() {
        let images = Images {
            pixels: vec![51, 102, 0, 0, 255, 0, 7, 7].into(),
            labels: vec![0, 1],
            shape: Shape { channels: 2, height: 1, width: 2 },
        };
        let moments = Moments::of(&images, &[0]);
        assert!((moments.mean[0] - 0.3).abs() < 1e-12, "{moments:?}");
        assert!((moments.deviation[0] - 0.1).abs() < 1e-12, "{moments:?}");
        assert_eq!(Moments::of(&images, &[]), Moments::new(&[0.0; 2], &[0.0; 2]));
    }
}
