//! Optimiser steps.

use burn_flex::Flex;
use lasnn_backend::{AdamStep, DenseBackend, SgdStep, ops, reference};

use crate::support::{assert_near, primitive, random, tensor};

pub fn updates<B: DenseBackend>() {
    // More elements than one thread takes at a time.
    let flat = |salt| random::<B, 1>([40_000], salt);
    let squares = |salt| flat(salt).square();
    for (amsgrad, decoupled) in [(false, false), (true, false), (false, true), (true, true)] {
        let max = amsgrad.then(|| squares(5));
        let step = AdamStep {
            rate: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            decoupled,
            step: 3,
        };
        let (p, [m, v], u) = ops::adam(step, flat(1), flat(2), [flat(3), squares(4)], max.clone());
        let (rp, [rm, rv], ru) = reference::adam::<B>(
            step,
            primitive(flat(1)),
            primitive(flat(2)),
            [primitive(flat(3)), primitive(squares(4))],
            max.map(primitive),
        );
        assert_near("parameter", p, tensor(rp));
        assert_near("mean", m, tensor(rm));
        assert_near("square", v, tensor(rv));
        assert_eq!(u.is_some(), amsgrad);
        if let (Some(u), Some(ru)) = (u, ru) {
            assert_near("max square", u, tensor(ru));
        }
    }
    for (nesterov, momentum) in [(false, 0.9), (true, 0.9), (false, 0.0)] {
        let step = SgdStep { rate: 0.01, weight_decay: 0.1, momentum, nesterov };
        let buffer = (momentum > 0.0).then(|| flat(3));
        let (p, b) = ops::sgd(step, flat(1), flat(2), buffer.clone());
        let (rp, rb) = reference::sgd::<B>(
            step,
            primitive(flat(1)),
            primitive(flat(2)),
            buffer.map(primitive),
        );
        assert_near("parameter", p, tensor(rp));
        assert_eq!(b.is_some(), rb.is_some());
        if let (Some(b), Some(rb)) = (b, rb) {
            assert_near("buffer", b, tensor(rb));
        }
    }
    let sum = ops::sum_of_squares(flat(1));
    assert_near("sum of squares", sum, tensor(reference::sum_of_squares::<B>(primitive(flat(1)))));
}

/// A step leaves the values of a tensor alone that shares its memory with the parameter.
#[test]
fn updates_leave_clones_alone() {
    let parameter = random::<Flex, 1>([50_000], 1);
    let clone = parameter.clone();
    let before = clone.to_data();
    let step = SgdStep { rate: 0.5, weight_decay: 0.0, momentum: 0.0, nesterov: false };
    let (updated, _) = ops::sgd(step, parameter, random([50_000], 2), None);
    assert_eq!(clone.into_data(), before);
    assert_ne!(updated.into_data(), before);
}
