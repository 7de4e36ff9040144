"""Golden values of the networks: their sizes (networks.json), and one small forward and backward
pass (forward.json).

The script writes both files into its own folder: `python3 make_golden.py` (needs `torch`).

networks.json is {"cases": [case]}. There is a case for each network and each input size for which
no pooling window is empty:
  name        Teachers, with bias and batch norm: teacher-vgg16, teacher-resnet20, teacher-resnet18,
              teacher-densenet121. Students and intermediate networks, without both: conv3-linear2,
              vgg5, vgg7, vgg9, vgg16, resnet12.
  input       [channels, height, width]
  classes     number of classes
  parameters  number of trainable values. The gamma and beta of batch norm count, its running
              statistics do not.
  macs        multiply-accumulates of all convolutions, shortcuts included, and of all linear layers
              for one image, without biases
  layers      [{"kind", "shape": [c, h, w]}] in order. The kind is conv, pool, block (residual),
              dense-block, transition (with the shape after its pooling) or global-pool. A conv
              includes the batch norm and the ReLU that follow it.
  linears     [[inputs, outputs]] in order

The networks are written from their published definitions with modules of torch. Only their shapes
are computed (device "meta"). For 3x32x32 and 10 classes, their numbers of parameters must agree
with the published ones: ResNet20 with shortcuts of option A 269,722, ResNet18 11,173,962,
DenseNet121 6,956,298, and VGG16 with batch norm and one linear layer 14,728,266. This ResNet20 has
shortcuts of option B, which add two 1x1 convolutions with batch norm, in all 272,474.

forward.json is one object. The network is conv(2->3, 3x3, pad 1, bias) - BN - ReLU - residual block
(conv1 3->4, 3x3, stride 2; BN; ReLU; conv2 4->4; BN; shortcut 1x1, stride 2; BN; sum; ReLU) -
global average pool - linear(4->3, bias).
  input [4,2,6,6], labels, epsilon (batch norm)
  weights       name -> array, with the names and layouts of PyTorch: conv [out, in, kh, kw],
                linear [out, in]
  running       name -> array, the running mean and variance before the pass, for the eval pass
  train         {"logits", "loss", "gradients": name -> array, "running": name -> array}, with batch
                statistics, the cross-entropy averaged over the batch, and the running statistics
                after one step with momentum 0.1. The running variance uses the unbiased variance of
                the batch, and the normalisation uses the biased one.
  eval          {"logits", "loss", "gradient_maps": [map, map]}, normalised with `running`. A map
                [4,1,h,w] is the mean over channels of the squared gradient of each image's own
                cross-entropy, at the output of the first ReLU and of the block.
The gradient of conv.bias is zero except for rounding, because batch norm subtracts the mean.

All values are computed in f64 from weights that are rounded to f32. An array is
{"shape": [...], "data": [...]}, row-major, with 9 significant digits.
"""

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).parent


def bn_conv(inputs, outputs, kernel=3, stride=1, bias=False):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
    return [conv, nn.BatchNorm2d(outputs)]


class Residual(nn.Module):
    """The basic block: two 3x3 convolutions, and a 1x1 shortcut if the shapes differ."""

    def __init__(self, inputs, outputs, stride, norm):
        super().__init__()
        conv = bn_conv if norm else lambda *a: bn_conv(*a)[:1]
        self.body = nn.Sequential(
            *conv(inputs, outputs, 3, stride), nn.ReLU(), *conv(outputs, outputs, 3, 1)
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv(inputs, outputs, 1, stride))

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


class DenseLayer(nn.Module):
    """The bottleneck of DenseNet-BC: BN-ReLU-conv1x1-BN-ReLU-conv3x3, appended to its input."""

    def __init__(self, inputs, growth):
        super().__init__()
        wide = 4 * growth
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, wide, 1, bias=False),
            nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, growth, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x):
        return torch.cat([x, self.body(x)], dim=1)


def plain_stages(plan, channels, norm, pool):
    """Convolutions with the widths of the plan, and `pool` for each "A" in it."""
    stages = []
    for width in plan:
        if width == "A":
            stages.append(("pool", pool(2)))
        else:
            conv = bn_conv(channels, width, 3, 1, norm)
            stages.append(("conv", nn.Sequential(*(conv if norm else conv[:1]), nn.ReLU())))
            channels = width
    return stages


def residual_stages(channels, widths, strides, norm):
    stages = []
    for width, stride in zip(widths, strides):
        stages.append(("block", Residual(channels, width, stride, norm)))
        channels = width
    return stages


GLOBAL_POOL = ("global-pool", nn.AdaptiveAvgPool2d(1))


def teacher_vgg16(channels):
    plan = [64, 64, "A", 128, 128, "A", 256, 256, 256, "A", 512, 512, 512, "A", 512, 512, 512, "A"]
    return plain_stages(plan, channels, True, nn.MaxPool2d) + [GLOBAL_POOL]


def teacher_resnet20(channels):
    stem = plain_stages([16], channels, True, None)
    stem[0][1][0].bias = None
    return (
        stem
        + residual_stages(16, [16] * 3 + [32] * 3 + [64] * 3, [1, 1, 1, 2, 1, 1, 2, 1, 1], True)
        + [GLOBAL_POOL]
    )


def teacher_resnet18(channels):
    stem = plain_stages([64], channels, True, None)
    stem[0][1][0].bias = None
    widths = [64, 64, 128, 128, 256, 256, 512, 512]
    return stem + residual_stages(64, widths, [1, 1, 2, 1, 2, 1, 2, 1], True) + [GLOBAL_POOL]


def teacher_densenet121(channels, growth=32):
    stages = [("conv", nn.Conv2d(channels, 2 * growth, 3, padding=1, bias=False))]
    width = 2 * growth
    for index, depth in enumerate([6, 12, 24, 16]):
        stages.append(
            (
                "dense-block",
                nn.Sequential(*(DenseLayer(width + i * growth, growth) for i in range(depth))),
            )
        )
        width += depth * growth
        if index < 3:
            transition = [
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width // 2, 1, bias=False),
                nn.AvgPool2d(2),
            ]
            stages.append(("transition", nn.Sequential(*transition)))
            width //= 2
    return stages + [
        ("global-pool", nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1)))
    ]


def student(plan):
    return lambda channels: plain_stages(plan, channels, False, nn.AvgPool2d)


def resnet12(channels):
    stem = plain_stages([64, 64, 64, "A"], channels, False, nn.AvgPool2d)
    return stem + residual_stages(64, [64, 128, 256, 512], [1, 2, 2, 2], False)


# name -> (convolutional stages, widths of the hidden linear layers, bias of the linear layers)
NETWORKS = {
    "teacher-vgg16": (teacher_vgg16, [], True),
    "teacher-resnet20": (teacher_resnet20, [], True),
    "teacher-resnet18": (teacher_resnet18, [], True),
    "teacher-densenet121": (teacher_densenet121, [], True),
    "conv3-linear2": (student([64, "A", 128, "A", 256, "A"]), [1024], False),
    "vgg5": (student([64, "A", 128, 128, "A"]), [4096, 4096], False),
    "vgg7": (student([64, 64, "A", 128, 128, "A", 256, "A"]), [1024], False),
    "vgg9": (student([64, "A", 128, 256, "A", 256, 512, "A", 512, "A", 512]), [1024], False),
    "vgg16": (
        student(
            [64, 64, "A", 128, 128, "A", 256, 256, 256, "A", 512, 512, 512, "A", 512, 512, 512]
        ),
        [4096, 4096],
        False,
    ),
    "resnet12": (resnet12, [], False),
}
PUBLISHED = {
    "teacher-vgg16": 14_728_266,
    "teacher-resnet20": 269_722 + (16 * 32 + 64) + (32 * 64 + 128),
    "teacher-resnet18": 11_173_962,
    "teacher-densenet121": 6_956_298,
}


def describe(name, image, classes):
    features, hidden, bias = NETWORKS[name]
    macs = 0

    def count(module, inputs, output):
        nonlocal macs
        fan_in = module.weight[0].numel()
        macs += fan_in * output[0].numel()

    def watched(module):
        for part in module.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                part.register_forward_hook(count)
        return module

    with torch.device("meta"):
        x = torch.zeros(2, *image)  # Batch norm refuses a batch of one image of 1x1.
        layers, parameters = [], 0
        for kind, module in features(image[0]):
            x = watched(module)(x)
            parameters += sum(p.numel() for p in module.parameters())
            layers.append({"kind": kind, "shape": list(x.shape[1:])})
        x = x.flatten(1)
        linears = []
        for width in [*hidden, classes]:
            module = watched(nn.Linear(x.shape[1], width, bias=bias))
            linears.append([x.shape[1], width])
            parameters += sum(p.numel() for p in module.parameters())
            x = module(x)
    assert x.shape == (2, classes)
    if image == [3, 32, 32] and name in PUBLISHED:
        assert parameters == PUBLISHED[name], (name, parameters)
    return {
        "name": name, "input": image, "classes": classes, "parameters": parameters, "macs": macs,
        "layers": layers, "linears": linears,
    }  # fmt: skip


def fits(name, image):
    """Whether no 2x2 pooling window of the network is empty."""
    pools = {
        "teacher-vgg16": 5,
        "teacher-densenet121": 3,
        "conv3-linear2": 3,
        "vgg5": 2,
        "vgg7": 3,
        "vgg9": 4,
        "vgg16": 4,
    }
    return image[1] >> pools.get(name, 1) >= 1


def networks():
    sizes = [([3, 32, 32], 10), ([3, 64, 64], 200), ([1, 8, 8], 10)]
    return [
        describe(name, image, classes)
        for image, classes in sizes
        for name in NETWORKS
        if fits(name, image)
    ]


def array(tensor):
    data = [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]
    return {"shape": list(tensor.shape), "data": data}


def number(scalar):
    return float(f"{scalar.item():.9g}")


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.shortcut_conv = nn.Conv2d(3, 4, 1, stride=2, bias=False)
        self.shortcut_bn = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        x = self.low = F.relu(self.bn(self.conv(x)))
        inner = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(inner)) + self.shortcut_bn(self.shortcut_conv(x)))
        self.high = x
        return self.linear(x.mean(dim=(2, 3)))


def forward():
    # With this seed all inputs of a ReLU, in both passes, are at least 5e-3 away from 0.
    torch.manual_seed(20)
    network = Small()
    with torch.no_grad():
        for name, value in network.named_parameters():
            scale, centre = (0.3, 1.0) if "bn" in name and name.endswith("weight") else (0.5, 0.0)
            value.copy_(centre + scale * torch.randn_like(value))
        for name, value in network.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(0.3 * torch.randn_like(value))
            elif name.endswith("running_var"):
                value.copy_(0.5 + torch.rand_like(value))
    network.double()
    images = torch.randn(4, 2, 6, 6).double()
    labels = torch.tensor([0, 2, 1, 2])

    def running():
        return {name: array(value) for name, value in network.named_buffers() if "running" in name}

    golden = {
        "input": array(images), "labels": labels.tolist(), "epsilon": network.bn.eps,
        "weights": {name: array(value) for name, value in network.named_parameters()},
        "running": running(),
    }  # fmt: skip
    network.eval()
    logits = network(images)
    losses = F.cross_entropy(logits, labels, reduction="none")
    maps = []
    for tap in (network.low, network.high):
        # The gradient of an image's own loss, image by image.
        rows = [
            torch.autograd.grad(loss, tap, retain_graph=True)[0][image]
            for image, loss in enumerate(losses)
        ]
        maps.append(array(torch.stack(rows).square().mean(1, keepdim=True)))
    golden["eval"] = {
        "logits": array(logits),
        "loss": number(losses.mean()),
        "gradient_maps": maps,
    }
    network.train()
    logits = network(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    gradients = {name: array(value.grad) for name, value in network.named_parameters()}
    golden["train"] = {
        "logits": array(logits),
        "loss": number(loss),
        "gradients": gradients,
        "running": running(),
    }
    return golden


def main():
    cases = ",\n".join(json.dumps(case, separators=(",", ":")) for case in networks())
    (HERE / "networks.json").write_text(f'{{"cases":[\n{cases}\n]}}\n')
    fields = ",\n".join(
        f'"{key}":{json.dumps(value, separators=(",", ":"))}' for key, value in forward().items()
    )
    (HERE / "forward.json").write_text(f"{{\n{fields}\n}}\n")


if __name__ == "__main__":
    main()
