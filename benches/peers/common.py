"""The code that both peers share: the case, the network around their neurons, and the protocol.

A case is one safetensors file that `snn-step make` wrote. It holds weights, thresholds, images,
labels and, with Poisson encoding, the input spikes of every time step. Both sides read the same
file, so they compute the same network on the same input.

A worker reads one command per line and answers it with one line of JSON:

    step     runs one timed step               {"ms": 12.3}
    check    runs fp32 without gradients       {"spikes": [[...], ...], "logits": [[...], ...]}
    reset    resets the peak of memory         {}
    peak     peak of memory since that reset   {"mib": 456.7}

It ends when its input ends. `--list` prints the settings of a peer, one per line.
"""

import argparse
import gc
import json
import sys
import time

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

# So small that the optimiser does all its work, but the weights and the firing rates stay those of
# the case.
LEARNING_RATE = 1e-8


class Case:
    """Weights, images and their description."""

    def __init__(self, path):
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["lasnn"])["metadata"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        self.layers = about["architecture"]["layers"]
        self.time_steps = about["time_steps"]
        self.labels = torch.tensor(about["labels"])
        self.weights = {
            name.removeprefix("network."): tensor
            for name, tensor in tensors.items()
            if name.startswith("network.")
        }
        spiking = about["spiking"]
        # With other values the libraries would compute different networks.
        neuron = spiking["neuron"]
        expected = {
            "kind": "lif",
            "leak": 1.0,
            "reset": "subtract",
            "step_order": "integrate-then-fire",
        }
        for key, value in expected.items():
            if neuron[key] != value:
                raise SystemExit(f"{path}: {key} is {neuron[key]}, expected {value}")
        self.constant = spiking["encoding"]["kind"] == "direct"
        # `[batch, ...]` if the input is the same in every step, else `[time_steps, batch, ...]`.
        self.input = tensors["images"] if self.constant else tensors["input"]


class Residual(nn.Module):
    """Two convolutions, and a shortcut that is added to the currents of the second neurons."""

    def __init__(self, first, first_neurons, second, second_neurons, shortcut):
        super().__init__()
        self.first, self.first_neurons = first, first_neurons
        self.second, self.second_neurons = second, second_neurons
        self.shortcut = shortcut

    def forward(self, x):
        currents = self.second(self.first_neurons(self.first(x)))
        return self.second_neurons(currents + self.shortcut(x))


class Network(nn.Module):
    """The network of a case.

    `library.neurons(threshold)` makes a layer of neurons. `library.stateless(module)` adapts a
    module without memory: layer by layer it takes all time steps at once, and step by step it is
    unchanged.
    As in lasnn, a current that is the same in every step is computed once, and the readout, which
    neither leaks nor fires, multiplies the sum over time.
    """

    def __init__(self, case, library):
        super().__init__()
        self.case, self.library = case, library
        weights = case.weights
        self.head = None
        layers = []
        for index, layer in enumerate(case.layers):
            name, kind = f"layers.{index}", layer["kind"]
            if kind == "conv":
                conv = convolution(weights[f"{name}.conv.weight"], layer["stride"])
                if self.head is None and not layers:
                    self.head = conv if case.constant else library.stateless(conv)
                else:
                    layers.append(library.stateless(conv))
                layers.append(library.neurons(threshold(weights, name)))
            elif kind == "residual":
                layers.append(self.residual(name, layer["stride"]))
            elif kind == "average-pool":
                layers.append(library.stateless(nn.AvgPool2d(layer["size"])))
            elif kind == "global-average-pool":
                layers.append(library.stateless(nn.AdaptiveAvgPool2d(1)))
            elif kind == "linear":
                connect = linear(weights[f"{name}.linear.weight"])
                layers.append(library.stateless(nn.Sequential(nn.Flatten(), connect)))
                layers.append(library.neurons(threshold(weights, name)))
            elif kind == "dropout":
                continue  # In an evaluation, dropout is the identity.
            elif kind == "classifier":
                self.classifier = linear(weights[f"{name}.linear.weight"])
            else:
                raise SystemExit(f"a layer of kind {kind} has no counterpart here")
        self.body = nn.Sequential(*layers)

    def residual(self, name, stride):
        weights, library = self.case.weights, self.library
        conv = lambda part, stride: library.stateless(
            convolution(weights[f"{name}.{part}.conv.weight"], stride)
        )
        neurons = lambda part: library.neurons(threshold(weights, f"{name}.{part}"))
        changes = f"{name}.shortcut.conv.weight" in weights
        return Residual(
            conv("first", stride),
            neurons("first"),
            conv("second", 1),
            neurons("second"),
            conv("shortcut", stride) if changes else nn.Identity(),
        )

    def forward(self, x):
        steps = self.case.time_steps
        if self.library.step_by_step:
            currents = self.head(x) if self.case.constant else None
            total = 0
            for t in range(steps):
                total = total + self.body(self.head(x[t]) if currents is None else currents)
        else:
            currents = self.head(x)
            if self.case.constant:
                currents = currents.unsqueeze(0).expand(steps, *currents.shape)
            total = self.body(currents).sum(0)
        logits = self.classifier(total.flatten(1)).float()
        # As in lasnn, class scores are the mean over the time steps.
        return logits / steps


def convolution(weight, stride):
    outputs, inputs, kernel, _ = weight.shape
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    conv.weight.data.copy_(weight)
    return conv


def linear(weight):
    # The shape is [inputs, outputs] in the case and [outputs, inputs] in PyTorch.
    connect = nn.Linear(*weight.shape, bias=False)
    connect.weight.data.copy_(weight.T)
    return connect


def threshold(weights, name):
    return weights[f"{name}.neurons.threshold"].item()


class Runner:
    """A network in one setting.

    A setting is `fp32` or `bf16` (autocast), and then any of `nhwc` (channels last), `steps` (step
    by step instead of layer by layer) and `compiled`, with hyphens between the words.
    """

    def __init__(self, case, make_library, setting, mode):
        words = setting.split("-")
        self.case, self.train, self.bf16 = case, mode == "train", words[0] == "bf16"
        self.library = make_library(step_by_step="steps" in words)
        self.network = Network(case, self.library)
        self.input, self.optimizer = case.input, None
        if "nhwc" in words:
            self.network = self.network.to(memory_format=torch.channels_last)
            self.input = images_last(self.input)
        if self.train:
            self.optimizer = torch.optim.Adam(self.network.parameters(), LEARNING_RATE, fused=True)
        elif self.bf16:
            # Otherwise autocast would convert the weights in every pass.
            for module in self.network.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    module.to(torch.bfloat16)
        self.forward = self.network
        if "compiled" in words:
            # Frozen weights are packed for their kernels once. In training the weights change.
            options = None if self.train else {"freezing": True}
            self.forward = torch.compile(self.network, options=options)

    def step(self):
        """Milliseconds of one step."""
        start = time.perf_counter()
        if self.train:
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                logits = self.forward(self.input)
                loss = F.cross_entropy(logits, self.case.labels)
            loss.backward()
            self.optimizer.step()
            loss.item()
        else:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                self.forward(self.input).sum().item()
        self.library.reset(self.network)
        return 1e3 * (time.perf_counter() - start)


def images_last(x):
    """The same numbers in the memory layout channels last."""
    folded = x.flatten(0, -4) if x.dim() == 5 else x
    return folded.contiguous(memory_format=torch.channels_last).view_as(x)


def check(case, make_library):
    """The spike counts of every layer and image, and the logits, in fp32 and the default layout."""
    library = make_library(step_by_step=False)
    network = Network(case, library)
    counts = []
    for module in network.modules():
        if library.is_neurons(module):
            # The shape of the spikes is `[time_steps, batch, ...]`.
            module.register_forward_hook(
                lambda _m, _i, spikes: counts.append(spikes.flatten(2).sum((0, 2)).tolist())
            )
    with torch.inference_mode():
        logits = network(case.input)
    library.reset(network)
    return {"spikes": counts, "logits": logits.tolist()}


def reset_peak():
    """Resets the peak of resident memory that the operating system keeps."""
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_mib():
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main(make_library, settings, description):
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--list", action="store_true", help="print the settings and end")
    arguments.add_argument("--case", help="file that `snn-step make` wrote")
    arguments.add_argument("--mode", choices=["infer", "train"], default="infer")
    arguments.add_argument("--setting", choices=settings, default="fp32")
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    if options.list:
        print(*settings, sep="\n")
        return
    if options.case is None:
        arguments.error("--case is missing")
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    answer = lambda value: print(json.dumps(value), flush=True)

    case = Case(options.case)
    runner = Runner(case, make_library, options.setting, options.mode)
    # The network has its own copies.
    case.weights.clear()
    for line in sys.stdin:
        command = line.strip()
        if command == "step":
            answer({"ms": runner.step()})
        elif command == "check":
            answer(check(Case(options.case), make_library))
        elif command == "reset":
            reset_peak()
            answer({})
        elif command == "peak":
            answer({"mib": peak_mib()})
        else:
            raise SystemExit(f"unknown command `{command}`")
