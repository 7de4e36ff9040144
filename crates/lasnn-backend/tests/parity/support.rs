//! The inputs and comparisons that the tests share.

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use lasnn_backend::DenseBackend;

/// The inputs of a function, or its value and gradients.
pub type Tensors<B> = Vec<Tensor<B, 4>>;

/// A function whose value and gradients are compared.
pub type Operation<'a, B> = dyn Fn(&Tensors<B>) -> Tensor<B, 4> + 'a;

/// Pseudo-random values between -1 and 1; a different `salt` gives different values.
pub fn random<B: Backend, const D: usize>(shape: [usize; D], salt: u32) -> Tensor<B, D> {
    let hash = |i: usize| (i as u32 + 1).wrapping_mul(0x9E37_79B1 ^ salt.wrapping_mul(0x85EB_CA6B));
    let number = |i: usize| (hash(i) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let count = shape.iter().product();
    Tensor::from_data(
        TensorData::new((0..count).map(number).collect(), shape),
        &B::Device::default(),
    )
}

/// Rounds values to multiples of 1/64, which `f32` and bfloat16 both represent exactly.
pub fn short<B: Backend, const D: usize>(values: Tensor<B, D>) -> Tensor<B, D> {
    (values * 64.0).round() / 64.0
}

pub fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

pub fn tensor<B: Backend, const D: usize>(primitive: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

#[track_caller]
pub fn assert_near<B: Backend, const D: usize>(
    what: &str,
    found: Tensor<B, D>,
    expected: Tensor<B, D>,
) {
    assert_within(2e-4, what, found, expected);
}

#[track_caller]
pub fn assert_within<B: Backend, const D: usize>(
    tolerance: f64,
    what: &str,
    found: Tensor<B, D>,
    expected: Tensor<B, D>,
) {
    assert_eq!(found.dims(), expected.dims(), "shape of {what}");
    let (found, expected) = (found.into_data(), expected.into_data());
    for (index, (a, b)) in found.iter::<f64>().zip(expected.iter::<f64>()).enumerate() {
        let limit = tolerance * (1.0 + b.abs());
        assert!((a - b).abs() <= limit, "{what}, element {index} is {a}, expected {b}");
    }
}

/// Compares `fast` on backend `B` with `reference` on backend `R`: the value, and the gradients
/// with respect to all inputs.
#[track_caller]
pub fn check<B: DenseBackend, R: DenseBackend>(
    what: &str,
    inputs: Tensors<B>,
    fast: impl Fn(&Tensors<Autodiff<B>>) -> Tensor<Autodiff<B>, 4>,
    reference: impl Fn(&Tensors<Autodiff<R>>) -> Tensor<Autodiff<R>, 4>,
) {
    check_within::<B, R>(2e-4, what, inputs, fast, reference);
}

/// Like [`check`], with a tolerance for the gradients.
#[track_caller]
pub fn check_within<B: DenseBackend, R: DenseBackend>(
    tolerance: f64,
    what: &str,
    inputs: Tensors<B>,
    fast: impl Fn(&Tensors<Autodiff<B>>) -> Tensor<Autodiff<B>, 4>,
    reference: impl Fn(&Tensors<Autodiff<R>>) -> Tensor<Autodiff<R>, 4>,
) {
    let expected = run::<R>(&inputs.iter().map(to_backend).collect(), &reference);
    let found = run::<B>(&inputs, &fast);
    for (number, (found, expected)) in found.into_iter().zip(&expected).enumerate() {
        match number {
            0 => assert_near(what, found, to_backend(expected)),
            _ => {
                let what = format!("gradient {} of {what}", number - 1);
                assert_within(tolerance, &what, found, to_backend(expected));
            }
        }
    }
}

/// The value of a function, and the gradients with respect to its inputs.
pub fn run<B: Backend>(inputs: &Tensors<B>, f: &Operation<'_, Autodiff<B>>) -> Tensors<B> {
    let leaf = |input: &Tensor<B, 4>| Tensor::from_inner(input.clone()).require_grad();
    let leaves: Tensors<Autodiff<B>> = inputs.iter().map(leaf).collect();
    let output = f(&leaves);
    let output_grad = short(random::<Autodiff<B>, 4>(output.dims(), 99));
    let grads = (output.clone() * output_grad).sum().backward();
    let grads = leaves.iter().map(|leaf| leaf.grad(&grads).unwrap());
    [output.inner()].into_iter().chain(grads).collect()
}

/// Copies a tensor to another backend.
pub fn to_backend<A: Backend, B: Backend>(tensor: &Tensor<A, 4>) -> Tensor<B, 4> {
    Tensor::from_data(tensor.to_data(), &B::Device::default())
}

pub fn matrix<B: Backend>(tensor: &Tensor<B, 4>) -> Tensor<B, 2> {
    let [rows, columns, _, _] = tensor.dims();
    tensor.clone().reshape([rows, columns])
}

pub fn per_channel<B: Backend>(tensor: &Tensor<B, 4>) -> Tensor<B, 1> {
    tensor.clone().flatten(0, 3)
}
