//! Shapes and counts of small networks, and the errors of networks that cannot be built.

use super::*;

const IMAGE: Shape = Shape { channels: 3, height: 32, width: 32 };

fn network(layers: Vec<Layer>) -> Architecture {
    Architecture { name: "test".into(), layers }
}

#[track_caller]
fn refuses(layers: Vec<Layer>, message: &str) {
    let error = network(layers).plan(IMAGE, 10).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn plans_shapes_parameters_and_operations() {
    let plan = network(vec![
        Layer::conv(8),
        Layer::AveragePool { size: 2 },
        Layer::Residual {
            channels: 16,
            stride: 2,
            bias: false,
            batch_norm: true,
            dropout: 0.0,
            tap: None,
        },
        Layer::Classifier { bias: true },
    ])
    .plan(IMAGE, 10)
    .unwrap();
    assert_eq!(plan.layers[2].output, Shape { channels: 16, height: 8, width: 8 });
    let residual = 8 * 16 * 9 + 16 * 16 * 9 + 8 * 16 + 3 * 32;
    assert_eq!(plan.parameters(), 3 * 8 * 9 + residual + 16 * 64 * 10 + 10);
    let macs = 3 * 8 * 9 * 1024 + (8 * 16 * 9 + 16 * 16 * 9 + 8 * 16) * 64 + 16 * 64 * 10;
    assert_eq!(plan.macs(), macs);
}

#[test]
fn odd_sizes_round_up_in_convolutions_and_down_in_pools() {
    let input = Shape { channels: 1, height: 9, width: 7 };
    let mut strided = Layer::conv(2);
    if let Layer::Conv { stride, .. } = &mut strided {
        *stride = 2;
    }
    let layers = vec![strided, Layer::AveragePool { size: 2 }, Layer::Classifier { bias: false }];
    let plan = network(layers).plan(input, 3).unwrap();
    assert_eq!(plan.layers[0].output, Shape { channels: 2, height: 5, width: 4 });
    assert_eq!(plan.layers[1].output, Shape { channels: 2, height: 2, width: 2 });
}

#[test]
fn refuses_numbers_that_no_memory_can_contain() {
    let linear = |features| Layer::Linear { features, bias: true };
    let end = Layer::Classifier { bias: true };
    refuses(vec![linear(usize::MAX), end.clone()], "features is 18446744073709551615");
    refuses(vec![linear(1 << 32), linear(1 << 32), end.clone()], "layer 1 (linear): no memory");
    let mut wide = Layer::conv(1 << 32);
    if let Layer::Conv { kernel, .. } = &mut wide {
        *kernel = (1 << 31) - 1;
    }
    refuses(vec![wide, end.clone()], "layer 0 (conv): no memory");
    let residual = Layer::Residual {
        channels: 1 << 32,
        stride: 1,
        bias: false,
        batch_norm: true,
        dropout: 0.0,
        tap: None,
    };
    refuses(vec![residual, end.clone()], "layer 0 (residual): no memory");
    let dense = |units, growth| Layer::Dense { units, growth, tap: None };
    refuses(vec![dense(1 << 20, 1), end.clone()], "units is 1048576, expected at most 65536");
    refuses(vec![dense(1 << 16, 1 << 32), end.clone()], "layer 0 (dense): no memory");
    // An address space can contain the weights of a billion features.
    let plan = network(vec![linear(1_000_000_000), end]).plan(IMAGE, 10).unwrap();
    assert_eq!(plan.parameters(), 3073 * 1_000_000_000 + 10 * 1_000_000_000 + 10);
}

#[test]
fn errors_name_the_layer_the_value_and_the_expected_value() {
    refuses(vec![], "no layers");
    refuses(
        vec![Layer::conv(0), Layer::Classifier { bias: false }],
        "channels is 0, expected at least 1",
    );
    refuses(vec![Layer::conv(4)], "`conv` as last layer");
    refuses(
        vec![Layer::AveragePool { size: 64 }, Layer::Classifier { bias: false }],
        "layer 0 (average-pool) needs a feature map of at least 64x64, but its input is 3x32x32",
    );
    refuses(
        vec![Layer::Linear { features: 5, bias: false }, Layer::conv(4)],
        "layer 1 (conv) needs a feature map",
    );
    let tapped = || Layer::conv(4).tapped(Tap::Low);
    refuses(
        vec![tapped(), tapped(), Layer::Classifier { bias: false }],
        "tap `low` is on layers 0 and 1",
    );
    let spiking = network(vec![Layer::conv(4), Layer::MaxPool { size: 2 }]).check_spiking();
    assert!(spiking.unwrap_err().to_string().contains("layer 1 (max-pool) cannot be made spiking"));
}
