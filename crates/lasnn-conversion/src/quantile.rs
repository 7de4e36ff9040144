//! Percentiles of a stream of numbers in constant memory.

/// Two positive numbers share a bin if the first 20 bits of their `f32` agree. These are the sign,
/// the exponent and 11 bits of the mantissa, so a bin is at most 1/2048 of its value wide.
const DROPPED_BITS: u32 = 12;

/// A histogram of a stream of numbers, from which any percentile can be read with a relative error
/// of at most 1/2048.
///
/// The bits of positive `f32` numbers, read as integers, are in the order of the numbers. The upper
/// bits therefore are the index of the bin: no range has to be known beforehand, and the memory
/// (4 MiB) does not grow with the stream. Numbers of zero or less share one bin, because thresholds
/// are positive.
#[derive(Clone, Debug)]
pub struct StreamingQuantile {
    bins: Vec<u64>,
    not_positive: u64,
    not_finite: Option<f32>,
    count: u64,
}

impl Default for StreamingQuantile {
    fn default() -> Self {
        let bins = vec![0; (f32::INFINITY.to_bits() >> DROPPED_BITS) as usize];
        Self { bins, not_positive: 0, not_finite: None, count: 0 }
    }
}

impl StreamingQuantile {
    /// Adds `values` to the histogram.
    pub fn extend(&mut self, values: &[f32]) {
        self.count += values.len() as u64;
        for &value in values {
            if value <= 0.0 {
                self.not_positive += 1;
            } else if value.is_finite() {
                self.bins[(value.to_bits() >> DROPPED_BITS) as usize] += 1;
            } else {
                self.not_finite = Some(value);
            }
        }
    }

    /// The share of positive numbers, 0 to 1.
    pub fn positive_share(&self) -> f64 {
        (self.count - self.not_positive) as f64 / self.count.max(1) as f64
    }

    /// The smallest number of the stream that at least `percentile` per cent of the stream do not
    /// exceed, rounded up to the edge of its bin.
    ///
    /// Returns 0 if that number is not positive or the stream is empty. If the stream has an
    /// infinite number or a NaN, returns that.
    pub fn percentile(&self, percentile: f64) -> f32 {
        if let Some(value) = self.not_finite {
            return value;
        }
        let rank = (percentile / 100.0 * self.count as f64).ceil() as u64;
        let mut below = self.not_positive;
        if rank <= below {
            return 0.0;
        }
        for (bin, &count) in self.bins.iter().enumerate() {
            below += count;
            if below >= rank {
                return f32::from_bits((bin as u32 + 1) << DROPPED_BITS);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Seed, Stream};

    use super::*;

    #[test]
    fn percentiles_agree_with_the_sorted_stream() {
        let values = Seed(5).draws(Stream::Test, [0; 3]).normals(50_000);
        let mut stream = StreamingQuantile::default();
        values.chunks(777).for_each(|chunk| stream.extend(chunk));
        let mut sorted = values;
        sorted.sort_by(f32::total_cmp);
        for percentile in [60.0, 90.0, 99.7, 100.0] {
            let rank = (percentile / 100.0 * sorted.len() as f64).ceil() as usize;
            let exact = sorted[rank - 1];
            let found = stream.percentile(percentile);
            let close = found >= exact && found <= exact * (1.0 + 1.0 / 2048.0);
            assert!(close, "{percentile} %: {found}, sorted {exact}");
        }
        assert_eq!(stream.percentile(10.0), 0.0, "a negative percentile is no threshold");
        let positive = sorted.iter().filter(|&&value| value > 0.0).count();
        assert_eq!(stream.positive_share(), positive as f64 / 50_000.0);
    }

    #[test]
    fn numbers_that_are_not_finite_are_returned() {
        let mut stream = StreamingQuantile::default();
        stream.extend(&[1.0, f32::NAN, 2.0]);
        assert!(stream.percentile(50.0).is_nan());
        assert_eq!(StreamingQuantile::default().percentile(50.0), 0.0);
    }
}
