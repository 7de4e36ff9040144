"""Golden values of conversions by the bounds of activations (bounds.json).

The script writes the file into its own folder: `python3 make_bounds.py` (needs `torch`).

The ordinary network is conv(2->4, 3x3, pad 1, bias) - a - linear(144->6, bias) - a -
linear(6->3, bias), with a(x) = min(max(x, 0), bound) and a bound of each layer. Its conversion is
written down in units of the ordinary network: a spike of layer l is worth its bound, so a neuron of
layer l has the threshold bound_l, and all biases are as they are. Scales of lasnn follow from it:
its currents of a layer are divided by the bound of the layer before.

bounds.json has:
  time_steps, bounds, input [3,2,6,6], weights (name -> array, layouts of PyTorch)
  cases         [case], with
    initial       membrane potential before the first step, in thresholds
    shift_steps   s: each neuron gets the current bound_l / (2 s) at each step; 0 is none
    calibrated    whether biases are calibrated, layer by layer: each channel's bias gets the mean
                  of the ordinary activation minus the mean of bound_l times the firing rate
    thresholds    of lasnn: bound_1 and bound_2 / bound_1
    biases        of lasnn: [of the convolution, of the hidden linear layer]
    counts        spikes of each neuron, [layer 1, layer 2], with the image first
    logits        mean over the steps

All values are computed in f64 from numbers that are rounded to f32. No membrane potential comes
close to its threshold. An array is {"shape": [...], "data": [...]}, row-major.
"""

import json
from pathlib import Path

import torch
from torch.nn import functional as F

HERE = Path(__file__).parent
STEPS = 5
BOUNDS = [1.5, 0.75]


def layer_1(x, weights, bias):
    return F.conv2d(x, weights["layers.0.conv.weight"], bias, padding=1)


def layer_2(x, weights, bias):
    return F.linear(x.flatten(1), weights["layers.1.linear.weight"], bias)


def neurons(currents, bound, initial, margins):
    """Spikes of integrate-and-fire neurons, a tensor for each step."""
    membrane = torch.full_like(currents[0], initial * bound)
    spikes = []
    for current in currents:
        membrane = membrane + current
        margins.append((membrane - bound).abs().min())
        spikes.append((membrane > bound).double())
        membrane = membrane - bound * spikes[-1]
    return spikes


def case(weights, images, initial, shift_steps, calibrated, margins):
    biases = [weights["layers.0.conv.bias"], weights["layers.1.linear.bias"]]
    activations, x = [], images
    for layer, bias, bound in zip([layer_1, layer_2], biases, BOUNDS):
        x = layer(x, weights, bias).clamp(0.0, bound)
        activations.append(x)
    if shift_steps:
        biases = [b + bound / (2 * shift_steps) for b, bound in zip(biases, BOUNDS)]
    inputs, counts = [images] * STEPS, []
    for index, (layer, bound) in enumerate(zip([layer_1, layer_2], BOUNDS)):

        def fire(bias):
            return neurons([layer(x, weights, bias) for x in inputs], bound, initial, margins)

        spikes = fire(biases[index])
        if calibrated:
            rate = sum(spikes) / STEPS
            lack = activations[index] - bound * rate
            # The mean over images and, of a feature map, over its positions.
            axes = [axis for axis in range(lack.dim()) if axis != 1]
            biases[index] = biases[index] + lack.mean(axes)
            spikes = fire(biases[index])
        counts.append(sum(spikes))
        inputs = [bound * s for s in spikes]
    mean = sum(inputs) / STEPS
    logits = F.linear(mean, weights["layers.2.linear.weight"], weights["layers.2.linear.bias"])
    return {
        "initial": initial, "shift_steps": shift_steps, "calibrated": calibrated,
        "thresholds": [BOUNDS[0], BOUNDS[1] / BOUNDS[0]],
        "biases": [array(biases[0]), array(biases[1] / BOUNDS[0])],
        "counts": [array(c) for c in counts], "logits": array(logits),
    }  # fmt: skip


def array(tensor):
    data = [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]
    return {"shape": list(tensor.shape), "data": data}


def attempt(seed):
    torch.manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float32).double()

    images = normal(3, 2, 6, 6)
    weights = {
        "layers.0.conv.weight": 0.4 * normal(4, 2, 3, 3), "layers.0.conv.bias": 0.2 * normal(4),
        "layers.1.linear.weight": 0.1 * normal(6, 144), "layers.1.linear.bias": 0.2 * normal(6),
        "layers.2.linear.weight": 0.5 * normal(3, 6), "layers.2.linear.bias": 0.5 * normal(3),
    }  # fmt: skip
    weights = {name: weight.float().double() for name, weight in weights.items()}
    margins = []
    kinds = [(0.0, 0, False), (0.5, 0, False), (0.0, 5, False), (0.0, 0, True), (0.5, 0, True)]
    cases = [case(weights, images, *kind, margins) for kind in kinds]
    golden = {
        "time_steps": STEPS, "bounds": BOUNDS, "input": array(images),
        "weights": {name: array(weight) for name, weight in weights.items()}, "cases": cases,
    }  # fmt: skip
    return golden, min(margins).item()


def main():
    for seed in range(10000):
        golden, margin = attempt(seed)
        if margin > 2e-4:
            break
    assert margin > 2e-4, "a membrane potential is too close to its threshold"
    (HERE / "bounds.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
