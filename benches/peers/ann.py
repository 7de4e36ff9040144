"""One training step of an ordinary network in PyTorch: the peer of `ann-step`.

    python benches/peers/ann.py --network vgg5 --steps 10
    python benches/peers/ann.py --network teacher-resnet20 --all

The networks, the batch and the optimisers are those of `benches/src/bin/ann-step.rs`. A step has
the forward pass, cross-entropy, the backward pass, and one step of Adam (intermediate networks) or
of SGD with Nesterov momentum (teachers). The script prints one JSON object per line with the
milliseconds of a step.

`--mode` is the setting: fp32 or bfloat16 (autocast), `-nhwc` for channels_last, `-fused` for the
fused optimisers of PyTorch, and `-compiled` for `torch.compile`. `--all` runs every setting.
"""

import argparse
import itertools
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

VGG16 = [[64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3]


def student(stages, hidden):
    """Convolutions and linear layers without biases, with average pooling and dropout."""
    layers, channels, size = [], 3, 32
    for number, stage in enumerate(stages):
        if number > 0:
            layers.pop()  # A pooling replaces the dropout.
            layers.append(nn.AvgPool2d(2))
            size //= 2
        for outputs in stage:
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                nn.ReLU(inplace=True),
            ]
            layers.append(nn.Dropout(0.2))
            channels = outputs
    layers.append(nn.Flatten())
    features = channels * size * size
    for outputs in hidden:
        layers += [nn.Linear(features, outputs, bias=False), nn.ReLU(inplace=True), nn.Dropout(0.5)]
        features = outputs
    layers.append(nn.Linear(features, 10, bias=False))
    return nn.Sequential(*layers)


def brick(inputs, outputs, kernel=3, stride=1, bias=False):
    """A convolution and its batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """The basic block of He et al. If the shape changes, its shortcut is a 1x1 convolution."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = brick(inputs, outputs, 3, stride)
        self.second = brick(outputs, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else brick(inputs, outputs, 1, stride)

    def forward(self, x):
        inner = self.second(F.relu(self.first(x), inplace=True))
        return F.relu(inner + self.shortcut(x), inplace=True)


def teacher_resnet20():
    layers, channels = [brick(3, 16), nn.ReLU(inplace=True)], 16
    for number, outputs in enumerate([16, 32, 64]):
        for block in range(3):
            layers.append(Residual(channels, outputs, 2 if number > 0 and block == 0 else 1))
            channels = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def teacher_vgg16():
    layers, channels = [], 3
    for stage in VGG16:
        for outputs in stage:
            layers += [brick(channels, outputs, bias=True), nn.ReLU(inplace=True)]
            channels = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


NETWORKS = {
    "vgg5": lambda: student([[64], [128, 128], []], [4096, 4096]),
    "teacher-resnet20": teacher_resnet20,
    "teacher-vgg16": teacher_vgg16,
}


def optimizer(network, parameters, fused):
    # `fused=None` leaves the choice to PyTorch, which on a CPU runs one loop for each parameter.
    fused = True if fused else None
    if network.startswith("teacher"):
        return torch.optim.SGD(
            parameters, lr=1e-3, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=fused
        )
    return torch.optim.Adam(parameters, lr=1e-4, fused=fused)


def run(network, mode, batch, steps, warmup):
    torch.manual_seed(1)
    model = NETWORKS[network]().train()
    images = torch.randn(batch, 3, 32, 32)
    targets = torch.arange(batch) % 10
    if "nhwc" in mode:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    rule = optimizer(network, model.parameters(), "fused" in mode)
    forward = torch.compile(model) if "compiled" in mode else model
    times = []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        rule.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in mode):
            loss = F.cross_entropy(forward(images), targets)
        loss.backward()
        rule.step()
        loss.item()
        times.append(1e3 * (time.perf_counter() - start))
    times = times[warmup:]
    print(
        json.dumps(
            {
                "program": "pytorch " + torch.__version__,
                "network": network,
                "mode": mode,
                "batch": batch,
                "threads": torch.get_num_threads(),
                "min_ms": round(min(times), 2),
                "median_ms": round(statistics.median(times), 2),
            }
        ),
        flush=True,
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--network", choices=NETWORKS, required=True)
    arguments.add_argument("--mode", default="fp32-fused")
    arguments.add_argument("--all", action="store_true")
    arguments.add_argument("--batch", type=int, default=64)
    arguments.add_argument("--steps", type=int, default=10)
    arguments.add_argument("--warmup", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    modes = [options.mode]
    if options.all:
        parts = itertools.product(["fp32", "bfloat16"], ["", "-nhwc"], ["", "-fused"])
        modes = ["".join(part) for part in parts]
        # A compilation takes a minute, so only the fastest layout and optimiser are compiled.
        modes += [f"{number}-nhwc-fused-compiled" for number in ("fp32", "bfloat16")]
    for mode in modes:
        run(options.network, mode, options.batch, options.steps, options.warmup)


if __name__ == "__main__":
    main()
