"""Golden values by PyTorch's autograd: scan.json for the neuron over time, network.json for small
spiking networks.

Regenerate both, beside this script, with `python3 make_golden.py` (needs `torch`).

Neuron, with u^0 = 0 and o^0 = 0 (`detach` passes no gradient):
  reset subtract   u^t = leak u^{t-1} + I^t - v detach(o^{t-1})
  reset zero       u^t = leak u^{t-1} (1 - detach(o^{t-1})) + I^t
  o^t = 1 if u^t > v, else 0; its derivative is the surrogate: do/du = s(z) / v, z = u/v - 1
  step order integrate-then-fire sends s^t = o^t; fire-then-integrate sends s^t = o^{t-1}
Surrogates s(z), with their parameter:
  linear (gamma)        gamma max(0, 1 - |z|)
  atan (alpha)          (alpha/2) / (1 + (pi/2 alpha z)^2)
  fast-sigmoid (slope)  1 / (1 + slope |z|)^2
  rectangular (width)   1/width if |z| < width/2, else 0

scan.json: {"cases": [case]}. A case has name, leak, threshold, reset, step_order,
  surrogate {"kind", parameter}, and the arrays currents, output_grad, spikes, currents_grad, all
  [T, N]. currents_grad is the gradient of sum(spikes * output_grad).

network.json: {"plain": [case], "residual": [case]}. A case has name, leak, reset, step_order,
  readout ("sum" or "mean" over the steps), surrogate, thresholds {neuron -> v}, labels [B],
  input [T,B,2,6,6] (the same image at each step), weights {layer -> array} (conv [out, in, kh, kw],
  linear [out, in]; no bias), spikes {neuron -> [T,B,...]}, logits [B,4], loss (cross-entropy, batch
  mean), gradients {layer -> array}. The spikes are those that the neuron sends.
  plain      conv (2->3, 3x3, pad 1) - neuron "conv" - 2x2 average pool - flatten - linear (27->8)
             - neuron "linear" - readout (8->4, sums its input over the steps, neither leaks nor
             fires)
  residual   conv (2->3) - neuron "conv" - conv1 (3->3) - neuron "conv1" - conv2 (3->3), plus the
             spikes of "conv" as a current of weight 1 - neuron "conv2" - flatten - readout (108->4)

Values are computed in f64 from inputs rounded to f32. Draws are repeated until no membrane
potential is closer than MARGIN to its threshold, in units of the threshold (for the rectangular
surrogate, also until no |z| is closer to an edge), so that rounding in f32 cannot change a spike,
and until enough neurons fire. An array is {"shape": [...], "data": [...]}, row-major, with 9
significant digits.
"""

import itertools
import json
import math
from pathlib import Path

import torch
from torch.nn import functional as F

HERE = Path(__file__).parent
MARGIN = 1e-3
LINEAR = {"kind": "linear", "gamma": 0.3}
RESETS = ["subtract", "zero"]
STEP_ORDERS = ["integrate-then-fire", "fire-then-integrate"]

SLOPES = {
    "linear": lambda z, gamma: gamma * (1 - z.abs()).clamp_min(0),
    "atan": lambda z, alpha: alpha / 2 / (1 + (math.pi / 2 * alpha * z) ** 2),
    "fast-sigmoid": lambda z, slope: 1 / (1 + slope * z.abs()) ** 2,
    "rectangular": lambda z, width: (z.abs() < width / 2).to(z) / width,
}


class Fire(torch.autograd.Function):
    """Heaviside step of z, with the surrogate as its derivative."""

    @staticmethod
    def forward(ctx, z, surrogate):
        ctx.save_for_backward(z)
        ctx.surrogate = surrogate
        return (z > 0).to(z)

    @staticmethod
    def backward(ctx, grad):
        (z,) = ctx.saved_tensors
        parameters = {key: value for key, value in ctx.surrogate.items() if key != "kind"}
        return grad * SLOPES[ctx.surrogate["kind"]](z, **parameters), None


def scan(currents, leak, threshold, reset, step_order, surrogate):
    """Returns the spikes sent, the spikes fired and z of every step, each [T, ...]."""
    u = o = torch.zeros_like(currents[0])
    sent, fired, zs = [], [], []
    for current in currents:
        previous = o
        if reset == "subtract":
            u = leak * u + current - threshold * o.detach()
        else:
            u = leak * u * (1 - o.detach()) + current
        z = u / threshold - 1
        o = Fire.apply(z, surrogate)
        sent.append(o if step_order == "integrate-then-fire" else previous)
        fired.append(o)
        zs.append(z)
    return torch.stack(sent), torch.stack(fired), torch.stack(zs)


def is_clear(z, surrogate):
    """Whether no value is so close to a discontinuity that rounding could change its side."""
    distance = z.abs().min()
    if surrogate["kind"] == "rectangular":
        distance = torch.minimum(distance, (z.abs() - surrogate["width"] / 2).abs().min())
    return distance.item() > MARGIN


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float32).double()


def array(tensor):
    data = [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]
    # Zeros and ones as integers make the file of a spike train five times smaller.
    return {"shape": list(tensor.shape), "data": [int(x) if x in (0.0, 1.0) else x for x in data]}


def arrays(tensors):
    return {name: array(tensor) for name, tensor in tensors.items()}


def scan_case(name, steps, neurons, threshold, **options):
    while True:
        # With this mean and deviation, a typical neuron fires in about a quarter of the steps.
        currents = (
            (threshold * (0.25 + 0.6 * normal(steps, neurons))).float().double().requires_grad_()
        )
        output_grad = normal(steps, neurons)
        spikes, fired, z = scan(currents, threshold=threshold, **options)
        if is_clear(z, options["surrogate"]) and 0.1 <= fired.mean().item() <= 0.4:
            break
    if spikes.requires_grad:  # false if the only step sends the spikes before it
        (spikes * output_grad).sum().backward()
    return {
        "name": name,
        "threshold": threshold,
        **options,
        "currents": array(currents),
        "output_grad": array(output_grad),
        "spikes": array(spikes),
        "currents_grad": array(currents.grad),
    }


def scan_cases():
    torch.manual_seed(1)
    cases = []
    thresholds = itertools.cycle([1.0, 0.7, 1.3])
    for leak, reset, step_order in itertools.product([1.0, 0.9], RESETS, STEP_ORDERS):
        name = f"{'if' if leak == 1 else 'lif'}-{reset}-{step_order}"
        options = dict(leak=leak, reset=reset, step_order=step_order, surrogate=LINEAR)
        cases.append(scan_case(name, 7, 11, next(thresholds), **options))
    lif = dict(leak=0.9, reset="subtract", step_order="integrate-then-fire")
    others = [
        ("atan", "alpha", 2.0),
        ("fast-sigmoid", "slope", 10.0),
        ("rectangular", "width", 1.0),
    ]
    for kind, parameter, value in others:
        cases.append(
            scan_case(
                f"lif-{kind}",
                7,
                11,
                next(thresholds),
                surrogate={"kind": kind, parameter: value},
                **lif,
            )
        )
    cases.append(scan_case("one-step", 1, 5, 0.7, surrogate=LINEAR, **lif))
    cases.append(scan_case("hundred-steps", 100, 3, 1.3, surrogate=LINEAR, **lif))
    return cases


def plain(x, weights, neuron):
    x = neuron("conv", each_step(lambda i: F.conv2d(i, weights["conv"], padding=1), x))
    x = each_step(lambda i: F.avg_pool2d(i, 2).flatten(1), x)
    return neuron("linear", F.linear(x, weights["linear"]))


def residual(x, weights, neuron):
    x = neuron("conv", each_step(lambda i: F.conv2d(i, weights["conv"], padding=1), x))
    inner = neuron("conv1", each_step(lambda i: F.conv2d(i, weights["conv1"], padding=1), x))
    return neuron(
        "conv2", each_step(lambda i: F.conv2d(i, weights["conv2"], padding=1), inner) + x
    ).flatten(2)


def each_step(layer, x):
    return torch.stack([layer(step) for step in x])


# kind -> (network, shape and scale of each weight, threshold of each neuron)
NETWORKS = {
    "plain": (
        plain,
        {"conv": ((3, 2, 3, 3), 0.35), "linear": ((8, 27), 0.5), "readout": ((4, 8), 0.5)},
        {"conv": 1.1, "linear": 0.7},
    ),
    "residual": (
        residual,
        {
            "conv": ((3, 2, 3, 3), 0.35),
            "conv1": ((3, 3, 3, 3), 0.4),
            "conv2": ((3, 3, 3, 3), 0.4),
            "readout": ((4, 108), 0.1),
        },
        {"conv": 0.9, "conv1": 0.8, "conv2": 1.2},
    ),
}


def network_case(kind, leak, reset, step_order, readout, steps=5, batch=2):
    network, shapes, thresholds = NETWORKS[kind]
    labels = torch.tensor([3, 1])
    while True:
        image = (torch.rand(batch, 2, 6, 6) * 2 - 1).double()
        weights = {
            name: (scale * normal(*shape)).float().double().requires_grad_()
            for name, (shape, scale) in shapes.items()
        }
        spikes, rates, clear = {}, {}, []

        def neuron(name, currents):
            spikes[name], fired, z = scan(
                currents, leak, thresholds[name], reset, step_order, LINEAR
            )
            rates[name] = spikes[name].mean().item()
            clear.append(is_clear(z, LINEAR))
            return spikes[name]

        features = network(image.expand(steps, *image.shape), weights, neuron)
        logits = F.linear(features, weights["readout"]).sum(0) / (steps if readout == "mean" else 1)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        alive = all((w.grad.abs() > 1e-6).double().mean() > 0.6 for w in weights.values())
        if alive and all(clear) and all(0.1 <= rate <= 0.5 for rate in rates.values()):
            break
    return {
        "name": f"{kind}-{'if' if leak == 1 else 'lif'}-{reset}-{step_order}-{readout}",
        "leak": leak,
        "reset": reset,
        "step_order": step_order,
        "readout": readout,
        "surrogate": LINEAR,
        "thresholds": thresholds,
        "labels": labels.tolist(),
        "input": array(image.expand(steps, *image.shape)),
        "weights": arrays(weights),
        "spikes": arrays(spikes),
        "logits": array(logits),
        "loss": float(f"{loss.item():.9g}"),
        "gradients": arrays({name: weight.grad for name, weight in weights.items()}),
    }


def plain_cases():
    torch.manual_seed(2)
    cases = []
    for choice in itertools.product([0, 1], repeat=3):
        leak, reset, step_order = [1.0, 0.9][choice[0]], RESETS[choice[1]], STEP_ORDERS[choice[2]]
        # Half of the sixteen combinations, chosen so that every pair of settings occurs.
        readout = ["sum", "mean"][sum(choice) % 2]
        cases.append(network_case("plain", leak, reset, step_order, readout))
    return cases


def residual_cases():
    torch.manual_seed(3)
    return [
        network_case("residual", 0.9, "subtract", "integrate-then-fire", "sum"),
        network_case("residual", 1.0, "subtract", "fire-then-integrate", "mean"),
    ]


def write(name, groups):
    """Writes one case per line, so that a diff shows the changed cases."""
    lists = []
    for key, cases in groups.items():
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        lists.append(f'"{key}":[\n{lines}\n]')
    (HERE / name).write_text("{" + ",\n".join(lists) + "}\n")


if __name__ == "__main__":
    write("scan.json", {"cases": scan_cases()})
    write("network.json", {"plain": plain_cases(), "residual": residual_cases()})
