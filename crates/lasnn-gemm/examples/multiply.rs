//! Multiplies two matrices in `f32` and in bfloat16, and compares time and error.
//!
//! Run it with `cargo run -p lasnn-gemm --example multiply`; add `--release` for the real speed.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use lasnn_core::{Precision, Seed, Stream};
use lasnn_gemm::matrix::{Matrix, multiply};
use lasnn_gemm::product::{has_tiles, relative_speed};

const SIZE: usize = 512;

fn main() {
    let normals = |key| Seed(1).draws(Stream::Test, [key, 0, 0]).normals(SIZE * SIZE);
    let (a, b) = (normals(0), normals(1));
    // The left matrix is used transposed, without a copy.
    let left = Matrix::rows(&a, [SIZE, SIZE]).transposed();
    let right = Matrix::rows(&b, [SIZE, SIZE]);

    let speed = relative_speed(Precision::Bf16);
    println!("A multiply-add in bfloat16 computes {speed} products; tiles: {}", has_tiles());
    let [exact, rounded] = [Precision::F32, Precision::Bf16].map(|precision| {
        let mut product = vec![0.0; SIZE * SIZE];
        // The first product also takes the time of allocations.
        multiply(precision, left, right, &mut product);
        let start = Instant::now();
        multiply(precision, left, right, &mut product);
        let seconds = start.elapsed().as_secs_f64();
        let gflops = 2.0 * (SIZE as f64).powi(3) / seconds / 1e9;
        println!("{precision:?}: {:.2} ms, {gflops:.0} GFLOP/s", 1e3 * seconds);
        product
    });

    let squares = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| x * x).sum::<f32>();
    let error = squares(&mut exact.iter().zip(&rounded).map(|(x, y)| x - y));
    let relative = (error / squares(&mut exact.into_iter())).sqrt();
    println!("relative error of the bfloat16 product: {:.2} %", 100.0 * relative);
}
