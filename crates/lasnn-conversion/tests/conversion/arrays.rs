//! Arrays of golden values.

use burn::tensor::TensorData;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

impl Array {
    /// The tensor in the layout of [`Network`], whose matrices are transposed.
    pub fn translated(&self) -> TensorData {
        let [rows, columns] = self.shape[..] else {
            return TensorData::new(self.data.clone(), self.shape.clone());
        };
        let at = |i: usize| self.data[(i % rows) * columns + i / rows];
        TensorData::new((0..rows * columns).map(at).collect(), vec![columns, rows])
    }
}

#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= 1e-5 * scale, "{what}[{index}] is {found}, expected {expected}");
    }
}
