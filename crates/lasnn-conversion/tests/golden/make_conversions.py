"""Golden values of whole conversions (conversions.json).

The script writes the file into its own folder: `python3 make_conversions.py` (needs `torch` and
`numpy`).

The ordinary network is

    0  conv(2->4, 3x3, pad 1) - batch norm - a
    1  residual block (4->4): first conv - norm - a - second conv - norm, plus the input - a
    2  residual block (4->6, stride 2), with a shortcut of conv(1x1, stride 2) - norm
    3  average pooling 2x2
    4  linear(24->8, bias) - a
    5  linear(8->3, bias)

with a(x) = max(x, 0) and 8x8 images. Its conversion is written down in units of the ordinary
network and with batch norms that are not folded: a spike of a layer is worth its threshold, a
scalar or one number for each channel. Only percentiles depend on the scales of lasnn, since it
rounds them up to the edge of a bin of its histogram; see `edge`.

conversions.json is a list of cases, each with
  name
  config        the table `conversion` of lasnn
  neuron        the table `spiking.neuron` of lasnn
  steps         time steps of the spiking network
  batches       [[images, 2, 8, 8]], the images for calibration
  weights       name -> array, in the layouts of PyTorch
  thresholds    of each layer of neurons, in units of the ordinary network: one, or one per channel
  potentials    null, or initial membrane potentials of the layers in units of the ordinary network
  counts        spikes of each neuron for the first batch
  logits        mean over the steps for the first batch
  offset        for offset spikes: offset_steps, time_steps, and counts and logits as above. The
                counts include the spikes of the first offset_steps steps twice.

All values are computed in f64 from numbers that are rounded to f32. In each case no membrane
potential comes close to its threshold. An array is {"shape": [...], "data": [...]}, row-major.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

HERE = Path(__file__).parent
EPS = 1e-5
LAYERS = ["0", "1.first", "1.second", "2.first", "2.second", "4"]


class Network:
    """The ordinary network. `norms` holds the mean and the variance of each batch norm."""

    def __init__(self, weights):
        self.weights = {name: w.clone() for name, w in weights.items()}
        self.extra = {}  # layer -> current of each channel that a calibration adds

    def norm(self, name, x):
        w = self.weights
        one = lambda part: w[f"layers.{name}.norm.{part}"][None, :, None, None]
        x = (x - one("running_mean")) / (one("running_var") + EPS).sqrt()
        return one("gamma") * x + one("beta")

    def conv(self, name, x):
        size = self.weights[f"layers.{name}.conv.weight"].shape[-1]
        stride = 2 if name in ("2.first", "2.shortcut") else 1
        weight = self.weights[f"layers.{name}.conv.weight"]
        return F.conv2d(x, weight, stride=stride, padding=size // 2)

    def main(self, name, x):
        """The currents that the main weights of a layer give."""
        if name == "4":
            w = self.weights
            y = F.linear(x.flatten(1), w["layers.4.linear.weight"], w["layers.4.linear.bias"])
            return y[:, :, None, None]
        return self.norm(name, self.conv(name, x))

    def currents(self, name, inputs):
        """Currents from (input,) or, at the end of a block, from (inner, entrance)."""
        y = self.main(name, inputs[0])
        if name == "1.second":
            y = y + inputs[1]
        if name == "2.second":
            y = y + self.norm("2.shortcut", self.conv("2.shortcut", inputs[1]))
        return y + self.extra.get(name, 0.0)

    def run(self, x, fire):
        """Calls fire(layer, inputs) for each layer; returns the input of the classifier."""
        outputs = {}
        x = fire("0", (x,))
        for block in "12":
            inner = fire(f"{block}.first", (x,))
            x = fire(f"{block}.second", (inner, x))
        return fire("4", (F.avg_pool2d(x, 2),))

    def logits(self, x):
        w = self.weights
        return F.linear(x.flatten(1), w["layers.5.linear.weight"], w["layers.5.linear.bias"])

    def activations(self, x):
        found = {}

        def fire(name, inputs):
            found[name] = self.currents(name, inputs).clamp(min=0.0)
            return found[name]

        self.run(x, fire)
        return found


def per_channel(threshold):
    t = torch.as_tensor(threshold, dtype=torch.float64).reshape(-1)
    return t[None, :, None, None]


class Spiking:
    """The converted network: a threshold and an initial membrane potential of each layer."""

    def __init__(self, ann, thresholds, fraction):
        self.ann, self.thresholds = ann, thresholds
        self.starts = {n: per_channel(t) * fraction for n, t in thresholds.items()}
        self.margins = []

    def run(self, images, steps, until=None):
        """Spike counts of the layers, mean inputs, currents by step, and mean logits."""
        counts, means, currents = {}, {}, {}
        membranes, seen = {}, {}
        total = 0.0
        for _ in range(steps):

            def fire(name, inputs):
                current = self.ann.currents(name, inputs)
                currents.setdefault(name, []).append(current)
                means[name] = tuple(a + b for a, b in zip(means.get(name, (0.0, 0.0)), inputs))
                threshold = per_channel(self.thresholds.get(name, 1.0))
                start = self.starts.get(name, torch.zeros(1, dtype=torch.float64))
                u = membranes.get(name, torch.zeros_like(current) + start) + current
                if name in self.thresholds:
                    self.margins.append(((u - threshold) / threshold).abs().min())
                spikes = (u > threshold).double()
                membranes[name] = u - threshold * spikes
                counts[name] = counts.get(name, 0.0) + spikes
                return spikes * threshold

            total = total + self.ann.logits(self.ann.run(images, fire))
        means = {n: tuple(x / steps for x in xs) for n, xs in means.items()}
        return counts, means, currents, total / steps


def edge(numbers, percentile):
    """The upper edge of the histogram bin of a percentile, as lasnn computes it in f32."""
    values = np.sort(numbers.astype(np.float32))
    value = values[math.ceil(percentile / 100.0 * len(values)) - 1]
    bits = np.array([value], dtype=np.float32).view(np.uint32)
    return float((((bits >> 12) + 1) << 12).view(np.float32)[0])


def unit(name, thresholds):
    """What lasnn's currents of a layer stand for, if every layer has one threshold."""
    before = {"0": None, "1": "0", "2": "1.second", "4": "2.second"}[name.split(".")[0]]
    return 1.0 if before is None else thresholds[before]


def balance(ann, batches, config):
    policy, steps = config["method"]["policy"], config["time_steps"]
    thresholds = {}
    for name in LAYERS:
        spiking = Spiking(ann, thresholds, 0.0)
        found = []
        for images in batches:
            _, _, currents, _ = spiking.run(images, steps)
            found.append(torch.cat([c.flatten() for c in currents[name]]))
        found = torch.cat(found)
        if policy["kind"] == "maximum":
            thresholds[name] = found.max().item()
        else:
            scale = unit(name, thresholds)
            thresholds[name] = scale * edge((found / scale).numpy(), policy["percentile"])
    return thresholds


def normalise(ann, batches, config):
    thresholds = {}
    found = [ann.activations(images) for images in batches]
    for name in LAYERS:
        numbers = torch.cat([a[name].flatten() for a in found])
        numbers = numbers[numbers > 0.0]
        thresholds[name] = edge(numbers.numpy(), config["method"]["percentile"])
    return thresholds


def local(ann, batches, config):
    thresholds = {}
    for _ in range(config["method"]["passes"]):
        for images in batches:

            def fire(name, inputs):
                x = ann.currents(name, inputs).clamp(min=0.0)
                v = thresholds.get(name, torch.zeros(x.shape[1], dtype=torch.float64))
                v = v + 2.0 * (x - per_channel(v)).clamp(min=0.0).mean((0, 2, 3))
                thresholds[name] = v
                return torch.minimum(x, per_channel(v))

            ann.run(images, fire)
    # A channel without activations gets the mean threshold and stays silent.
    return {n: torch.where(v <= 1e-3 * v.mean(), v.mean(), v) for n, v in thresholds.items()}


def calibrate(ann, spiking, kind, name, batches, steps):
    """Changes one layer of the spiking network, whose weights may be those of `ann` no more."""
    network, options = spiking.ann, kind
    kind = kind["kind"]
    threshold = per_channel(spiking.thresholds[name])
    missing, inputs, targets = [], [], []
    for images in batches:
        counts, means, _, _ = spiking.run(images, steps)
        target = ann.activations(images)[name]
        missing.append(target - counts[name] * threshold / steps)
        inputs.append(means[name])
        targets.append(target)
    missing, targets = torch.cat(missing), torch.cat(targets)
    inputs = tuple(torch.cat(parts) for parts in zip(*inputs))
    if kind == "bias":
        extra = missing.mean((0, 2, 3))[None, :, None, None]
        network.extra[name] = network.extra.get(name, 0.0) + extra
    elif kind == "potential":
        spiking.starts[name] = spiking.starts[name] + steps * missing.mean(0, keepdim=True)
    elif kind == "batch-norm":
        if name == "4":
            return
        convs = [(name, inputs[0])]
        if name == "2.second":
            convs.append(("2.shortcut", inputs[1]))
        for conv, x in convs:
            y = network.conv(conv, x)
            w, norm = network.weights, f"layers.{conv}.norm."
            # lasnn adds its epsilon to the variance relative to the one before.
            before = w[norm + "running_var"] + EPS
            w[norm + "running_mean"] = y.mean((0, 2, 3))
            w[norm + "running_var"] = y.var((0, 2, 3), unbiased=False) + EPS * before - EPS
    elif kind == "weights":
        train(network, spiking, options, name, inputs, targets, steps)


def train(network, spiking, options, name, inputs, targets, steps):
    """Trains the folded weights and the bias of a layer."""
    threshold, start = per_channel(spiking.thresholds[name]), spiking.starts[name]
    w = network.weights
    if name == "4":
        weight, bias = w["layers.4.linear.weight"].clone(), w["layers.4.linear.bias"].clone()
        scale = 1.0 / unit(name, spiking.thresholds)
        rest = 0.0
        forward = lambda x, weight, bias: F.linear(x.flatten(1), weight, bias)[:, :, None, None]
    else:
        norm = lambda part: w[f"layers.{name}.norm.{part}"]
        factor = norm("gamma") / (norm("running_var") + EPS).sqrt()
        weight = w[f"layers.{name}.conv.weight"] * factor[:, None, None, None]
        bias = norm("beta") - factor * norm("running_mean")
        stride = 2 if name == "2.first" else 1
        rest = (network.currents(name, inputs) - network.main(name, inputs[0])).detach()
        forward = lambda x, weight, bias: F.conv2d(x, weight, bias, stride=stride, padding=1)
    # Adam is not blind to scales: lasnn trains the bias in units of its currents, and the weights
    # of a block's second convolution times the first threshold.
    by = unit(name, spiking.thresholds)
    inner = 1.0
    if name.endswith("second"):
        inner = spiking.thresholds[name.replace("second", "first")] / by
    weight, bias = (weight * inner).requires_grad_(), (bias / by).requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], lr=options["learning_rate"])
    count = len(targets)
    batch = min(options["batch"], count)
    for step in range(options["steps"]):
        cosine = 0.5 * (1.0 + math.cos(math.pi * step / options["steps"]))
        optimizer.param_groups[0]["lr"] = options["learning_rate"] * cosine
        first = step * batch % count
        rows = slice(first, first + batch)
        z = forward(inputs[0][rows], weight / inner, bias * by)
        z = z + (rest[rows] if torch.is_tensor(rest) else rest)
        charge = (steps * z + start) / threshold
        floor = charge + (charge.floor() - charge).detach()
        q = threshold / steps * floor.clamp(0.0, steps)
        # The clamp has the gradient of the charge before the floor.
        inside = ((charge > 0.0) & (charge < steps)).double().detach()
        through = threshold / steps * charge * inside
        q = q.detach() + through - through.detach()
        loss = ((q - targets[rows]) ** 2).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weight, bias = weight.detach() / inner, bias.detach() * by
    if name == "4":
        w["layers.4.linear.weight"], w["layers.4.linear.bias"] = weight, bias
        return
    # A batch norm that does nothing but add the bias.
    channels = len(bias)
    w[f"layers.{name}.conv.weight"] = weight
    w[f"layers.{name}.norm.gamma"] = torch.ones(channels, dtype=torch.float64)
    w[f"layers.{name}.norm.beta"] = bias
    w[f"layers.{name}.norm.running_mean"] = torch.zeros(channels, dtype=torch.float64)
    w[f"layers.{name}.norm.running_var"] = torch.ones(channels, dtype=torch.float64) - EPS


def with_offset(spiking, images, time_steps, offset_steps):
    """Offset spikes: each layer runs offset_steps steps, is corrected, and runs all steps."""
    steps, batch = max(time_steps, offset_steps), len(images)
    counts = {}

    def fire(name, inputs):
        currents = spiking.ann.currents(name, inputs)
        currents = currents.reshape(steps, batch, *currents.shape[1:])
        threshold = per_channel(spiking.thresholds[name])

        def run(start, steps):
            u, before, spikes = start * torch.ones_like(currents[0]), [], []
            for t in range(steps):
                u = u + currents[t]
                before.append(u / threshold)
                spiking.margins.append((before[-1] - 1.0).abs().min())
                spikes.append((u > threshold).double())
                u = u - threshold * spikes[-1]
            return u / threshold, torch.stack(before), torch.stack(spikes)

        start = spiking.starts[name]
        left, before, spikes = run(start, offset_steps)
        spiking.margins += [left.abs().min(), (left - 1.0).abs().min()]
        least = torch.where(spikes > 0.0, before, torch.tensor(1e3).double()).amin(0)
        most = torch.where(spikes > 0.0, torch.tensor(-1e3).double(), before).amax(0)
        less = ((left < 0.0) & (spikes.sum(0) > 0.0)).double() * (least - 0.999).clamp(min=1.0)
        more = (left >= 1.0).double() * (1.001 - most).clamp(min=1.0)
        _, _, spikes = run(start + threshold * (more - less), steps)
        counts[name] = spikes.sum(0) + spikes[:offset_steps].sum(0)
        return (spikes * threshold).flatten(0, 1)

    repeated = images.repeat(steps, 1, 1, 1)
    logits = spiking.ann.logits(spiking.ann.run(repeated, fire)).reshape(steps, batch, -1)
    return {
        "offset_steps": offset_steps, "time_steps": time_steps,
        "counts": [array(counts[n]) for n in LAYERS], "logits": array(logits[:time_steps].mean(0)),
    }  # fmt: skip


def array(tensor):
    data = [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]
    return {"shape": list(tensor.shape), "data": data}


def attempt(kind, seed):
    torch.manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float32).double()

    weights = {}
    for name, outputs, inputs, size in [
        ("0", 4, 2, 3), ("1.first", 4, 4, 3), ("1.second", 4, 4, 3),
        ("2.first", 6, 4, 3), ("2.second", 6, 6, 3), ("2.shortcut", 6, 4, 1),
    ]:  # fmt: skip
        weight = normal(outputs, inputs, size, size) / (inputs * size)
        weights[f"layers.{name}.conv.weight"] = weight
        norm = f"layers.{name}.norm."
        weights[norm + "gamma"] = 1.0 + 0.2 * normal(outputs)
        weights[norm + "beta"] = 0.2 * normal(outputs)
        weights[norm + "running_mean"] = 0.1 * normal(outputs)
        weights[norm + "running_var"] = 0.6 + 0.2 * normal(outputs).abs()
    weights["layers.4.linear.weight"] = 0.3 * normal(8, 24)
    weights["layers.4.linear.bias"] = 0.1 * normal(8)
    weights["layers.5.linear.weight"] = 0.5 * normal(3, 8)
    weights["layers.5.linear.bias"] = 0.3 * normal(3)
    weights = {name: weight.float().double() for name, weight in weights.items()}
    batches = [normal(3, 2, 8, 8), normal(2, 2, 8, 8)]

    ann = Network(weights)
    method = {"threshold-balancing": balance, "weight-normalisation": normalise,
              "local-threshold-balancing": local}[kind["config"]["method"]["kind"]]  # fmt: skip
    thresholds = method(ann, batches, kind["config"])
    scale = kind["config"].get("scale", 1.0)
    # lasnn scales every threshold in the unit of its layer, so the scales of earlier layers count,
    # too.
    depths = {"0": 1, "1.first": 2, "1.second": 2, "2.first": 3, "2.second": 3, "4": 4}
    thresholds = {name: t * scale ** depths[name] for name, t in thresholds.items()}
    fraction = kind["neuron"].get("initial_membrane", {}).get("value", 0.0)
    spiking = Spiking(Network(weights), thresholds, fraction)
    steps = 5
    for name in LAYERS:
        for calibration in kind["config"].get("calibration", []):
            calibrate(ann, spiking, calibration, name, batches, steps)
    counts, _, _, logits = spiking.run(batches[0], steps)
    offset = [with_offset(spiking, batches[0], *steps) for steps in kind.pop("offset")]
    by_neuron = kind["neuron"].get("initial_membrane", {}).get("per") == "neuron"
    potentials = None
    if by_neuron:
        # A neuron of lasnn that starts above its threshold v is reset once before the first step,
        # so its potential is greater by v.
        for name in LAYERS:
            start, threshold = spiking.starts[name], per_channel(thresholds[name])
            start = torch.where(start > threshold, start + threshold, start)
            spiking.starts[name] = start.expand(1, *counts[name].shape[1:])
        potentials = [array(spiking.starts[name]) for name in LAYERS]
    case = {
        **kind, "steps": steps, "batches": [array(b) for b in batches],
        "weights": {name: array(weight) for name, weight in weights.items()},
        "thresholds": [array(per_channel(thresholds[n]).flatten()) for n in LAYERS],
        "potentials": potentials, "counts": [array(counts[n]) for n in LAYERS],
        "logits": array(logits), "offset": offset,
    }  # fmt: skip
    return case, min(spiking.margins).item()


def main():
    by_neuron = {"initial_membrane": {"value": 0.5, "per": "neuron"}}
    by_channel = {**by_neuron, "threshold": {"per": "channel"}}
    maximum = {"kind": "threshold-balancing", "policy": {"kind": "maximum"}}
    policy = {"kind": "percentile", "percentile": 99.0}
    percentile = {"kind": "threshold-balancing", "policy": policy}
    diehl = {"kind": "weight-normalisation", "percentile": 98.0}
    local = {"kind": "local-threshold-balancing", "passes": 3}
    train = {"kind": "weights", "steps": 4, "batch": 3, "learning_rate": 0.002}
    with_maximum = lambda *calibration: {
        "method": maximum, "time_steps": 6, "scale": 0.8, "calibration": list(calibration),
    }  # fmt: skip
    several = [{"kind": "batch-norm"}, {"kind": "bias"}, {"kind": "potential"}]
    kinds = [
        ("balanced by the maximum", {"method": maximum, "time_steps": 6}, {}),
        ("balanced by a percentile", {"method": percentile, "time_steps": 6, "scale": 0.8}, {}),
        ("normalised weights", {"method": diehl}, {"initial_membrane": {"value": 0.5}}),
        ("local thresholds", {"method": local}, by_channel),
        ("calibrated biases", with_maximum({"kind": "bias"}), {}),
        ("calibrated potentials", with_maximum({"kind": "potential"}), by_neuron),
        ("calibrated batch norms", with_maximum({"kind": "batch-norm"}), {}),
        ("calibrated weights", with_maximum(train), {"initial_membrane": {"value": 0.5}}),
        ("local thresholds, calibrated", {"method": local, "calibration": several}, by_channel),
    ]  # fmt: skip
    cases = []
    for name, config, neuron in kinds:
        for seed in range(1000):
            offset = [(5, 3), (2, 4)] if name in ("normalised weights", "local thresholds") else []
            kind = {"name": name, "config": config, "neuron": neuron, "offset": offset}
            case, margin = attempt(kind, seed)
            if margin > 3e-5:
                break
        assert margin > 3e-5, f"{name}: a membrane potential is too close to its threshold"
        print(f"{name}: seed {seed}, margin {margin:.1e}")
        cases.append(case)
    (HERE / "conversions.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
