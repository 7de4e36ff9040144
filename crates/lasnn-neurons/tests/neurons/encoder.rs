//! Encoders: firing rates, signs, and the keys of the random draws.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Pass, Seed};
use lasnn_neurons::{Direct, Encoding, Poisson, PoissonRange};

use crate::support::{on_every_backend, tensor, values};

on_every_backend!(
    direct_encoding_repeats_the_image,
    poisson_rates_and_signs_follow_the_pixels,
    draws_do_not_depend_on_the_batch_or_on_the_calls,
    draws_depend_on_epoch_seed_and_mode,
);

const SIGNED: Encoding = Encoding::Poisson(Poisson { range: PoissonRange::Signed });
const UNIT: Encoding = Encoding::Poisson(Poisson { range: PoissonRange::Unit });

/// `count` different images `[2, 3, 3]`.
fn images<B: Backend>(count: usize) -> Tensor<B, 4> {
    let pixels = (0..count * 18).map(|i| ((i * 7) % 19) as f32 / 9.0 - 1.0).collect();
    tensor(pixels, [count, 2, 3, 3])
}

fn direct_encoding_repeats_the_image<B: Backend>() {
    let direct = Encoding::Direct(Direct {});
    assert!(direct.values().is_constant() && SIGNED.values().are_signed());
    assert!(UNIT.values().are_spikes() && !UNIT.values().are_signed());
    let pass = Pass::evaluate(Seed(1), &[0, 1]);
    let encoded = direct.encode(images::<B>(2), 5, 3, &pass);
    assert_eq!(encoded.dims(), [6, 2, 3, 3]);
    let image = values(images::<B>(2));
    assert!(values(encoded).chunks_exact(36).all(|step| step == image));
}

fn poisson_rates_and_signs_follow_the_pixels<B: Backend>() {
    let pixels = [-1.5f32, -1.0, -0.6, -0.1, 0.0, 0.1, 0.6, 1.0, 1.5];
    let steps = 4000;
    let pass = Pass::evaluate(Seed(1), &[0]);
    for encoding in [SIGNED, UNIT] {
        let images = tensor::<B, 4>(pixels.to_vec(), [1, 1, 3, 3]);
        let spikes = values(encoding.encode(images, 0, steps, &pass));
        for (index, &pixel) in pixels.iter().enumerate() {
            let train: Vec<f64> = spikes.iter().skip(index).step_by(9).copied().collect();
            let sign = f64::from(pixel.signum());
            assert!(train.iter().all(|&spike| spike == 0.0 || spike == sign), "{pixel}");
            let rate = train.iter().map(|spike| spike.abs()).sum::<f64>() / steps as f64;
            let expected = match encoding {
                UNIT if pixel < 0.0 => 0.0,
                _ => f64::from(pixel.abs().min(1.0)),
            };
            // Four standard deviations of the rate at 0.5.
            assert!(
                (rate - expected).abs() < 0.032,
                "{encoding:?}: pixel {pixel} spikes at rate {rate}"
            );
            if expected == 0.0 || expected == 1.0 {
                assert_eq!(rate, expected, "{pixel}");
            }
        }
    }
}

fn draws_do_not_depend_on_the_batch_or_on_the_calls<B: Backend>() {
    let samples = [40, 7, 12];
    let pass = Pass::train(Seed(1), 2, &samples);
    let whole = values(SIGNED.encode(images::<B>(3), 0, 6, &pass));
    assert_ne!(whole[..54], whole[54..108], "the steps must differ");

    // Only image 1, and only the last four of the six steps.
    let alone = images::<B>(3).narrow(0, 1, 1);
    let part = values(SIGNED.encode(alone, 2, 4, &pass.slice(1..2)));
    for (step, spikes) in part.chunks_exact(18).enumerate() {
        assert_eq!(spikes, &whole[(step + 2) * 54 + 18..][..18], "step {step}");
    }
}

fn draws_depend_on_epoch_seed_and_mode<B: Backend>() {
    let samples = [1, 2];
    let encode = |pass: Pass<'_>| values(SIGNED.encode(images::<B>(2), 0, 3, &pass));
    let first = encode(Pass::train(Seed(1), 0, &samples));
    assert_eq!(first, encode(Pass::train(Seed(1), 0, &samples)));
    assert_ne!(first, encode(Pass::train(Seed(1), 1, &samples)));
    assert_ne!(first, encode(Pass::train(Seed(2), 0, &samples)));
    let evaluation = encode(Pass::evaluate(Seed(1), &samples));
    assert_ne!(first, evaluation);
    assert_eq!(evaluation, encode(Pass { epoch: 3, ..Pass::evaluate(Seed(1), &samples) }));
}

#[test]
fn recipes_name_encodings() {
    let read = |text| serde_json::from_str::<Encoding>(text);
    assert_eq!(read(r#"{"kind": "direct"}"#).unwrap(), Encoding::Direct(Direct {}));
    assert_eq!(read(r#"{"kind": "poisson"}"#).unwrap(), SIGNED);
    assert_eq!(read(r#"{"kind": "poisson", "range": "unit"}"#).unwrap(), UNIT);
    assert!(read(r#"{"kind": "poisson", "rage": "unit"}"#).is_err());
}
