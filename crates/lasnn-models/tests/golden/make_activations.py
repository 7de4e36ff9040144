"""Golden values of a small network whose activations have a bound (activations.json).

The script writes the file into its own folder: `python3 make_activations.py` (needs `torch`).

activations.json is {"cases": [case]}. The network is conv(2->3, 3x3, pad 1, bias) - a - residual
block (first 3->4, 3x3, stride 2, BN; a; second 4->4, 3x3, BN; shortcut 1x1, stride 2, BN; sum; a)
- dense block of one unit with growth 2 (BN - a - 1x1 to 8 - BN - a - 3x3 to 2, appended to its
input) - BN - a - linear(54->5, no bias) - a - linear(5->3, bias). Each layer may train the bound of
its activation `a`, which is one of two kinds:
- clip: min(max(x, 0), bound). Its gradient with respect to the bound is the sum of the gradients
  where x > bound.
- qcfs: bound * floor(levels * clamp(x / bound, 0, 1) + 0.5) / levels, where the gradient of `floor`
  is 1, and all else is autograd's.

A case has:
  levels        null for clip, the number of levels for qcfs
  bound, train  the configuration. With `train` each layer has another bound, and all of them have
                gradients.
  input [4,2,6,6], labels
  weights       name -> array, with the names of lasnn and the layouts of PyTorch: conv
                [out, in, kh, kw], linear [out, in]. Names of bounds end in `activation.bound`.
  activations   name -> array, the output of every activation
  logits, loss  with batch statistics, and the cross-entropy averaged over the batch
  gradients     name -> array, the gradient of the loss for every weight that has one

All values are computed in f64 from weights that are rounded to f32. An array is
{"shape": [...], "data": [...]}, row-major, with 9 significant digits.
"""

import json
from pathlib import Path

import torch
from torch.nn import functional as F

HERE = Path(__file__).parent


class Floor(torch.autograd.Function):
    """`floor` with the gradient 1."""

    @staticmethod
    def forward(context, x):
        return x.floor()

    @staticmethod
    def backward(context, gradient):
        return gradient


CONVOLUTIONS = {
    "layers.0.conv": (3, 2, 3), "layers.1.first.conv": (4, 3, 3),
    "layers.1.second.conv": (4, 4, 3), "layers.1.shortcut.conv": (4, 3, 1),
    "layers.2.units.0.first.conv": (8, 4, 1), "layers.2.units.0.second.conv": (2, 8, 3),
}  # fmt: skip
NORMS = {
    "layers.1.first.norm": 4, "layers.1.second.norm": 4, "layers.1.shortcut.norm": 4,
    "layers.2.units.0.first.norm": 4, "layers.2.units.0.second.norm": 8, "layers.3.norm": 6,
}  # fmt: skip
LINEARS = {"layers.4.linear": (5, 54), "layers.5.linear": (3, 5)}
BIASES = {"layers.0.conv": 3, "layers.5.linear": 3}
# The layer of each activation, in the order of the network, and its name among activations.
ACTIVATIONS = [
    "layers.0", "layers.1.first", "layers.1.second", "layers.2.units.0.first",
    "layers.2.units.0.second", "layers.3", "layers.4",
]  # fmt: skip


def initial(bound, train):
    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float32)

    weights = {}
    for name, (outputs, inputs, kernel) in CONVOLUTIONS.items():
        weights[f"{name}.weight"] = 0.5 * normal(outputs, inputs, kernel, kernel)
    weights |= {f"{name}.gamma": 1.0 + 0.3 * normal(size) for name, size in NORMS.items()}
    weights |= {f"{name}.beta": 0.3 * normal(size) for name, size in NORMS.items()}
    weights |= {f"{name}.weight": 0.4 * normal(*shape) for name, shape in LINEARS.items()}
    weights |= {f"{name}.bias": 0.5 * normal(size) for name, size in BIASES.items()}
    for index, name in enumerate(ACTIVATIONS):
        value = bound + 0.1 * (index - 3) if train else bound
        weights[f"{name}.activation.bound"] = torch.tensor([value], dtype=torch.float32)
    return {name: value.double() for name, value in weights.items()}


def forward(weights, images, levels):
    activations, edges = {}, []

    def activation(x, name):
        bound = weights[f"{name}.activation.bound"]
        edges.extend([x.detach().abs().min(), (x - bound).detach().abs().min()])
        if levels:
            steps = (x / bound).clamp(0.0, 1.0) * levels + 0.5
            edges.append((steps - steps.round()).detach().abs().min())
            activations[name] = bound * Floor.apply(steps) / levels
        else:
            activations[name] = torch.where(x > bound, bound, torch.where(x > 0, x, 0.0))
        return activations[name]

    def conv(x, name, stride=1):
        weight = weights[f"{name}.conv.weight"]
        bias = weights.get(f"{name}.conv.bias")
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)

    def norm(x, name):
        gamma, beta = weights[f"{name}.norm.gamma"], weights[f"{name}.norm.beta"]
        return F.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-5)

    x = activation(conv(images, "layers.0"), "layers.0")
    inner = activation(norm(conv(x, "layers.1.first", 2), "layers.1.first"), "layers.1.first")
    inner = norm(conv(inner, "layers.1.second"), "layers.1.second")
    short = norm(conv(x, "layers.1.shortcut", 2), "layers.1.shortcut")
    x = activation(inner + short, "layers.1.second")
    inner = x
    for part in ["first", "second"]:
        name = f"layers.2.units.0.{part}"
        inner = conv(activation(norm(inner, name), name), name)
    x = torch.cat([x, inner], dim=1)
    x = activation(norm(x, "layers.3"), "layers.3").flatten(1)
    x = activation(x @ weights["layers.4.linear.weight"].T, "layers.4")
    logits = x @ weights["layers.5.linear.weight"].T + weights["layers.5.linear.bias"]
    # An input at an edge of the activation could fall on either side in f32.
    return logits, activations, min(edges).item()


def array(tensor):
    data = [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]
    return {"shape": list(tensor.shape), "data": data}


def case(levels, bound, train):
    labels = torch.tensor([0, 2, 1, 2])
    for seed in range(100000):
        torch.manual_seed(seed)
        weights = initial(bound, train)
        images = torch.randn(4, 2, 6, 6).double()
        for name, value in weights.items():
            value.requires_grad_(train or not name.endswith("bound"))
        logits, activations, edge = forward(weights, images, levels)
        if edge < 2e-4:
            continue
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        # The gradient of a bound is one sum. Where its terms cancel, f32 has few digits left.
        bounds = [w.grad.abs().item() for n, w in weights.items() if train and n.endswith("bound")]
        if min(bounds, default=1.0) > (0.1 if levels else 0.02):
            break
    gradients = {name: array(w.grad) for name, w in weights.items() if w.requires_grad}
    above = {n: (activations[n] == weights[f"{n}.activation.bound"]).sum() for n in ACTIVATIONS}
    assert all(count > 0 for count in above.values()), above
    return {
        "levels": levels, "bound": bound, "train": train,
        "input": array(images), "labels": labels.tolist(),
        "weights": {name: array(value) for name, value in weights.items()},
        "activations": {name: array(value) for name, value in activations.items()},
        "logits": array(logits), "loss": loss.item(), "gradients": gradients,
    }  # fmt: skip


def main():
    kinds = [(None, 0.75, False), (None, 1.0, True), (4, 1.2, False), (8, 1.0, True)]
    cases = [case(*kind) for kind in kinds]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / "activations.json").write_text(f'{{"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
