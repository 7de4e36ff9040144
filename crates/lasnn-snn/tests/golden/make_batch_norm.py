"""Golden values by PyTorch's autograd: batch_norm.json, the gradients of every parameter of spiking
networks with a batch norm over images and time steps after each convolution.

Regenerate it, beside this script, with `python3 make_batch_norm.py` (needs `torch`).

The networks and neurons are those of make_golden.py. The currents [T·B,C,H,W] of a convolution pass
`torch.nn.functional.batch_norm` in training mode (momentum 0.1, epsilon 1e-5). In a residual block
both convolutions and that of the shortcut are normalised before the sum.

batch_norm.json: [case], as in params.json, with {tensor -> array} of running statistics after the
pass in `running`. The running variance has the divisor n, where PyTorch's has n - 1.

Values are computed in f64. Unlike in params.json they are no binary fractions, so that every
membrane potential of a case is at least 1e-4 away from its threshold.
"""

import itertools
import json
from pathlib import Path

import torch
from make_golden import BATCH, CLASSES, T, Network, array
from torch.nn import functional as F

MARGIN = 1e-4
MOMENTUM = 0.1


def with_batch_norm(layer):
    is_conv = layer["kind"] in ("conv", "residual")
    return {**layer, "bias": False, "batch_norm": True} if is_conv else layer


PLAIN = [
    {"kind": "conv", "channels": 3},
    {"kind": "average-pool"},
    {"kind": "conv", "channels": 4},
    {"kind": "linear", "features": 8, "bias": True},
    {"kind": "classifier", "bias": True},
]
RESIDUAL = [
    {"kind": "conv", "channels": 3},
    {"kind": "residual", "channels": 3},
    {"kind": "residual", "channels": 4, "stride": 2},
    {"kind": "classifier", "bias": True},
]


class Normalised(Network):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.running = {}

    def conv(self, name, signal, channels, kernel, stride):
        steps = signal.flatten(0, 1)
        weight = self.weight(f"{name}.weight", [channels, signal.shape[2], kernel, kernel])
        currents = F.conv2d(steps, weight, stride=stride, padding=kernel // 2)
        norm = name.removesuffix("conv") + "norm"
        gamma = self.param(f"{norm}.gamma", lambda: self.draw([channels], 0.2) + 1)
        beta = self.param(f"{norm}.beta", lambda: self.draw([channels], 0.3) + 0.25)
        mean = torch.zeros(channels, dtype=torch.float64)
        variance = torch.ones(channels, dtype=torch.float64)
        currents = F.batch_norm(currents, mean, variance, gamma, beta, True, MOMENTUM, 1e-5)
        count = currents.numel() / channels
        before = 1 - MOMENTUM
        self.running[f"{norm}.running_mean"] = mean
        self.running[f"{norm}.running_var"] = (variance - before) * (count - 1) / count + before
        return currents.unflatten(0, signal.shape[:2])


def case(name, layers, spiking, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(shape, scale):
        """Multiples of 2^-5."""
        normal = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (normal * scale * 32).round() / 32

    network = Normalised(layers, spiking, draw)
    image = (torch.rand([BATCH, 2, 6, 6], generator=generator, dtype=torch.float64) * 8).round() / 8
    labels = torch.randint(CLASSES, [BATCH], generator=generator)
    logits = network.forward(image)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    # A smaller gradient is a sum that cancels, which f32 does not have to four digits.
    enough = all(t.grad is not None and t.grad.abs().max() > 2e-3 for t in network.state.values())
    if network.margin < MARGIN or not enough:
        return None
    state = {name: array(tensor) for name, tensor in network.state.items()}
    for running in network.running:
        fill = torch.zeros if running.endswith("mean") else torch.ones
        state[running] = array(fill(network.running[running].shape))
    return {
        "name": name,
        "time_steps": T,
        "layers": [with_batch_norm(layer) for layer in layers],
        "spiking": {"neuron": {"kind": "lif", **spiking}},
        "image": array(image),
        "labels": labels.tolist(),
        "state": state,
        "gradients": {name: array(tensor.grad) for name, tensor in network.state.items()},
        "running": {name: array(tensor) for name, tensor in network.running.items()},
        "logits": array(logits),
        "loss": loss.item(),
    }


def main():
    cases = []
    options = itertools.product(
        [("plain", PLAIN), ("residual", RESIDUAL)], ["subtract", "zero"], [1.0, 0.75]
    )
    for index, ((kind, layers), reset, leak) in enumerate(options):
        spiking = {
            "leak": {"value": leak, "train": True},
            "threshold": {"per": "layer", "train": True},
            "initial_membrane": {"value": 0.5, "per": "layer", "train": True},
            "reset": reset,
            "step_order": "integrate-then-fire",
        }
        name = f"{kind}, {reset}, leak {leak}"
        attempts = (case(name, layers, spiking, 1000 * index + seed) for seed in range(99))
        cases.append(next(filter(None, attempts)))
    lines = ",\n".join(json.dumps(case) for case in cases)
    (Path(__file__).parent / "batch_norm.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
