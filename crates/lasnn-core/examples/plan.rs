//! Plans a small network, and draws from a random stream.
//!
//! Run it with `cargo run -p lasnn-core --example plan`.

#![allow(clippy::print_stdout)]

use lasnn_core::{Architecture, ArchitectureError, Layer, Seed, Shape, Stream, Tap};

fn main() -> Result<(), ArchitectureError> {
    let architecture = Architecture {
        name: "small".into(),
        layers: vec![
            Layer::conv(16).tapped(Tap::Low),
            Layer::AveragePool { size: 2 },
            Layer::conv(32).tapped(Tap::Middle),
            Layer::AveragePool { size: 2 },
            Layer::Classifier { bias: false },
        ],
    };

    // A plan works out all shapes for one image size and one number of classes.
    let plan = architecture.plan(Shape { channels: 3, height: 32, width: 32 }, 10)?;
    for layer in &plan.layers {
        let (kind, output) = (layer.layer.kind(), layer.output.to_string());
        println!("{kind:14} {output:>9} {:6} parameters {:8} MACs", layer.parameters, layer.macs);
    }
    println!("{} parameters, {} MACs for one image", plan.parameters(), plan.macs());

    // A network that cannot be built is an error, which says what to change.
    let mut broken = architecture.clone();
    broken.layers.push(Layer::conv(8));
    if let Err(error) = broken.plan(plan.input, plan.classes) {
        println!("error: {error}");
    }

    // A draw is a function of the seed, the stream and a key: here, the order of epoch 3.
    let order = Seed(1).draws(Stream::Order, [3, 0, 0]).permutation(8);
    println!("order of 8 images in epoch 3: {order:?}");
    Ok(())
}
