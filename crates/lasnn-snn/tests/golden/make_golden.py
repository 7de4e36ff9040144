"""Golden values by PyTorch's autograd: params.json, the gradients of every parameter of spiking
networks whose weights, biases, thresholds, leaks and initial membrane potentials are all trained.

Regenerate it, beside this script, with `python3 make_golden.py` (needs `torch`).

Neuron (`detach` passes no gradient), from the initial membrane potential u^0:
  reset subtract   u^t = leak u^{t-1} + I^t - v detach(o^{t-1})
  reset zero       u^t = leak u^{t-1} (1 - detach(o^{t-1})) + I^t
  o^t = 1 if u^t > v, else 0; its derivative is that of gamma max(0, 1 - |z|) / 2 ... a triangle:
  do/du = s(z) / v and do/dv = -s(z) u / v^2, with s(z) = 0.3 max(0, 1 - |z|), z = u/v - 1
  step order integrate-then-fire sends s^t = o^t; fire-then-integrate sends s^t = o^{t-1}

params.json: [case]. A case has name, time_steps, layers (of an `Architecture`), spiking (a
  `SpikingConfig`), image [B,2,6,6], labels [B], and state and gradients {tensor -> array} with the
  names and layouts of lasnn (linear weights are [in, out]), logits [B,4] (the mean over the steps)
  and loss (cross-entropy of the logits, batch mean).

All numbers of the forward pass are binary fractions that f32 holds exactly, so no spike depends on
rounding. Values are computed in f64. An array is {"shape": [...], "data": [...]}, row-major.
"""

import itertools
import json
from pathlib import Path

import torch
from torch.nn import functional as F

T, BATCH, CLASSES = 6, 2, 4
PLAIN = [
    {"kind": "conv", "channels": 3, "bias": True},
    {"kind": "average-pool"},
    {"kind": "conv", "channels": 4, "bias": True},
    {"kind": "linear", "features": 8, "bias": True},
    {"kind": "classifier", "bias": True},
]
RESIDUAL = [
    {"kind": "conv", "channels": 3, "bias": True},
    {"kind": "residual", "channels": 3, "bias": True},
    {"kind": "residual", "channels": 4, "stride": 2, "bias": True},
    {"kind": "classifier", "bias": True},
]


class Spike(torch.autograd.Function):
    """1 where u > v. Its derivative with respect to z = u/v - 1 is the surrogate."""

    @staticmethod
    def forward(context, u, v):
        context.save_for_backward(u, v)
        return (u > v).to(u)

    @staticmethod
    def backward(context, grad):
        u, v = context.saved_tensors
        slope = grad * 0.3 * (1 - (u / v - 1).abs()).clamp_min(0)
        of_threshold = -slope * u / v**2
        while of_threshold.dim() > v.dim():
            of_threshold = of_threshold.sum(0)
        for axis, size in enumerate(v.shape):
            if size == 1:
                of_threshold = of_threshold.sum(axis, keepdim=True)
        return slope / v, of_threshold


class Network:
    def __init__(self, layers, spiking, draw):
        self.layers, self.spiking, self.draw = layers, spiking, draw
        self.state, self.margin = {}, float("inf")

    def param(self, name, make):
        if name not in self.state:
            self.state[name] = make().requires_grad_()
        return self.state[name]

    def weight(self, name, shape):
        fan_in = shape[0] if len(shape) == 2 else shape[1] * shape[2] * shape[3]
        return self.param(name, lambda: self.draw(shape, 3 / fan_in**0.5))

    def bias(self, name, size):
        return self.param(name, lambda: self.draw([size], 0.3))

    def neurons(self, name, currents):
        """Spikes of currents [T,B,C,H,W]."""
        channels, height, width = currents.shape[2:]
        per_channel = self.spiking["threshold"]["per"] == "channel"
        initial = self.spiking["initial_membrane"]
        count = channels if per_channel else 1
        # An odd multiple of 2^-9, so that no sum of the other numbers meets it.
        threshold = self.param(
            f"{name}.neurons.threshold", lambda: self.draw([count], 0.2) + 0.75 + 2**-9
        )
        leak = self.param(
            f"{name}.neurons.leak",
            lambda: torch.tensor([self.spiking["leak"]["value"]], dtype=torch.float64),
        )
        size = 1 if initial["per"] == "layer" else channels * height * width
        start = self.param(f"{name}.neurons.initial_membrane", lambda: self.draw([size], 1.2))
        v = threshold.reshape(-1, 1, 1)
        u = start.expand(channels * height * width) if size == 1 else start
        u = u.reshape(1, channels, height, width).expand(currents.shape[1:])
        fired, sent = Spike.apply(u, v).detach(), []
        for current in currents:
            before = fired
            if self.spiking["reset"] == "subtract":
                u = leak * u + current - v * before.detach()
            else:
                u = leak * u * (1 - before.detach()) + current
            fired = Spike.apply(u, v)
            self.margin = min(self.margin, (u - v).abs().min().item())
            first = self.spiking["step_order"] == "integrate-then-fire"
            sent.append(fired if first else before)
        return torch.stack(sent)

    def conv(self, name, signal, channels, kernel, stride):
        steps = signal.flatten(0, 1)
        weight = self.weight(f"{name}.weight", [channels, signal.shape[2], kernel, kernel])
        bias = self.bias(f"{name}.bias", channels)
        currents = F.conv2d(steps, weight, bias, stride=stride, padding=kernel // 2)
        return currents.unflatten(0, signal.shape[:2])

    def linear(self, name, signal, features):
        vectors = signal.flatten(2)
        weight = self.weight(f"{name}.weight", [vectors.shape[2], features])
        return (vectors @ weight + self.bias(f"{name}.bias", features))[..., None, None]

    def forward(self, image):
        signal = image.expand(T, *image.shape)
        for index, layer in enumerate(self.layers):
            name = f"layers.{index}"
            if layer["kind"] == "conv":
                signal = self.neurons(
                    name, self.conv(f"{name}.conv", signal, layer["channels"], 3, 1)
                )
            elif layer["kind"] == "average-pool":
                signal = F.avg_pool2d(signal.flatten(0, 1), 2).unflatten(0, signal.shape[:2])
            elif layer["kind"] == "residual":
                channels, stride = layer["channels"], layer.get("stride", 1)
                inner = self.conv(f"{name}.first.conv", signal, channels, 3, stride)
                inner = self.neurons(f"{name}.first", inner)
                currents = self.conv(f"{name}.second.conv", inner, channels, 3, 1)
                if signal.shape[2:] == currents.shape[2:]:
                    currents = currents + signal
                else:
                    short = self.conv(f"{name}.shortcut.conv", signal, channels, 1, stride)
                    currents = currents + short
                signal = self.neurons(f"{name}.second", currents)
            elif layer["kind"] == "linear":
                features = layer["features"]
                signal = self.neurons(name, self.linear(f"{name}.linear", signal, features))
            else:
                return self.linear(f"{name}.linear", signal, CLASSES).mean(0).flatten(1)


def array(tensor):
    return {"shape": list(tensor.shape), "data": tensor.detach().flatten().tolist()}


def case(name, layers, spiking, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(shape, scale):
        """Multiples of 2^-5."""
        normal = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (normal * scale * 32).round() / 32

    network = Network(layers, spiking, draw)
    image = (torch.rand([BATCH, 2, 6, 6], generator=generator, dtype=torch.float64) * 8).round() / 8
    labels = torch.randint(CLASSES, [BATCH], generator=generator)
    logits = network.forward(image)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    assert network.margin > 0, name
    assert all(tensor.grad is not None for tensor in network.state.values()), name
    kinds = ["threshold", "leak", "initial_membrane", "bias", "weight"]
    for kind in kinds:
        some = [t.grad.abs().max() for n, t in network.state.items() if n.endswith(kind)]
        assert min(some) > 1e-6, (name, kind, some)
    return {
        "name": name,
        "time_steps": T,
        "layers": layers,
        "spiking": {"neuron": {"kind": "lif", **spiking}},
        "image": array(image),
        "labels": labels.tolist(),
        "state": {name: array(tensor) for name, tensor in network.state.items()},
        "gradients": {name: array(tensor.grad) for name, tensor in network.state.items()},
        "logits": array(logits),
        "loss": loss.item(),
    }


def main():
    cases = []
    options = itertools.product(
        [("plain", PLAIN), ("residual", RESIDUAL)],
        ["subtract", "zero"],
        ["integrate-then-fire", "fire-then-integrate"],
        [(1.0, "layer", "neuron"), (0.75, "channel", "layer")],
    )
    for index, ((kind, layers), reset, order, (leak, threshold, initial)) in enumerate(options):
        spiking = {
            "leak": {"value": leak, "train": True},
            "threshold": {"per": threshold, "train": True},
            "initial_membrane": {"value": 0.5, "per": initial, "train": True},
            "reset": reset,
            "step_order": order,
        }
        name = f"{kind}, {reset}, {order}, leak {leak}, v per {threshold}, u0 per {initial}"
        attempts = (attempt(name, layers, spiking, index, seed) for seed in range(99))
        cases.append(next(filter(None, attempts)))
    lines = ",\n".join(json.dumps(case) for case in cases)
    (Path(__file__).parent / "params.json").write_text(f"[\n{lines}\n]\n")


def attempt(name, layers, spiking, index, again):
    """A case in which every parameter has a gradient; None for draws without one."""
    try:
        return case(name, layers, spiking, 1000 * index + again)
    except AssertionError:
        return None


if __name__ == "__main__":
    main()
