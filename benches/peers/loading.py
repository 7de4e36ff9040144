"""Epochs of a data set with torchvision and PyTorch's DataLoader: the peer of `load-epoch`.

    python benches/peers/loading.py make --data-dir data --out images --layout jpeg64
    python benches/peers/loading.py epochs --source folder --path images --size 64 --images 12800 \
        --workers 2 --setting v2-tensor

`make` writes CIFAR-10 as a folder of encoded images: `png32` in their own size, and `jpeg64` in the
double size, which is that of Tiny ImageNet. `epochs` makes batches with random crops, flips and
normalisation to [-1, 1], and prints the seconds of each epoch as JSON. Its workers stay alive from
one epoch to the next. `--check` prints the label, the mean and a weighted mean of the first images,
without augmentation.

Settings: `v1-pil` is the way of most scripts. `v2-pil` and `v2-tensor` are the newer transforms of
torchvision, on pictures and on tensors. CIFAR-10 is read from its binary files, because torchvision
itself reads another edition. As in torchvision's CIFAR10, the images are an array in memory, and
each of them becomes a picture.
"""

import argparse
import json
import time
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import io, transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

RECORD = 1 + 3 * 32 * 32
SETTINGS = ["v1-pil", "v2-pil", "v2-tensor"]
MEAN = STD = (0.5, 0.5, 0.5)


def records(folder, names):
    """The labels `[n]` and the images `[n, 3, 32, 32]` in binary files of CIFAR-10."""
    folder = Path(folder) / "cifar-10-batches-bin"
    files = [numpy.fromfile(folder / f"{name}.bin", numpy.uint8) for name in names]
    rows = numpy.concatenate(files).reshape(-1, RECORD)
    return rows[:, 0].astype(int), rows[:, 1:].reshape(-1, 3, 32, 32)


TRAIN = [f"data_batch_{number}" for number in range(1, 6)]


class Cifar10(Dataset):
    """Like the class CIFAR10 of torchvision, for the binary files."""

    def __init__(self, folder, transform, setting):
        self.labels, images = records(folder, TRAIN)
        self.transform = transform
        self.tensors = setting == "v2-tensor"
        if self.tensors:
            self.images = torch.from_numpy(images.copy())
        else:
            self.images = numpy.ascontiguousarray(images.transpose(0, 2, 3, 1))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = self.images[index]
        image = image if self.tensors else Image.fromarray(image)
        return self.transform(image), int(self.labels[index])


def varied(setting, size):
    """Random crop, flip and normalisation."""
    if setting == "v1-pil":
        vary = [transforms.RandomCrop(size, 4), transforms.RandomHorizontalFlip()]
    else:
        vary = [v2.RandomCrop(size, 4), v2.RandomHorizontalFlip()]
    return transforms.Compose(vary + still(setting))


def still(setting):
    """Only the normalisation."""
    if setting == "v1-pil":
        return [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    first = [v2.ToImage()] if setting == "v2-pil" else []
    return first + [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def dataset(options, transform):
    if options.source == "cifar10":
        return Cifar10(options.path, transform, options.setting)
    folder = Path(options.path) / "train"
    if options.setting == "v2-tensor":
        read = lambda path: io.decode_image(path, mode=io.ImageReadMode.RGB)
        return ImageFolder(folder, transform, loader=read)
    return ImageFolder(folder, transform)


def check(options):
    images = dataset(options, transforms.Compose(still(options.setting)))
    rows = []
    for index in range(options.check):
        image, label = images[index]
        pixels = image.flatten().double()
        weights = torch.linspace(0, 1, len(pixels), dtype=torch.float64)
        rows.append([label, pixels.mean().item(), (pixels * weights).mean().item()])
    print(json.dumps(rows))


def epochs(options):
    if options.check:
        return check(options)
    # Without workers the transforms use the threads. A worker always has one thread.
    torch.set_num_threads(max(1, options.workers))
    start = time.perf_counter()
    images = dataset(options, varied(options.setting, options.size))
    preparation = time.perf_counter() - start
    loader = DataLoader(
        Subset(images, range(options.images)),
        batch_size=options.batch,
        shuffle=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    seconds = []
    for _ in range(options.epochs):
        start = time.perf_counter()
        seen = sum(len(labels) for _, labels in loader)
        seconds.append(time.perf_counter() - start)
        assert seen == options.images
    print(json.dumps({"preparation": preparation, "prepared": len(images), "epochs": seconds}))


def make(options):
    """Writes one folder for each class below `train` and `test`, unless an earlier call did."""
    out = Path(options.out)
    if (out / "whole").is_file():
        return
    for split, names in [("train", TRAIN), ("test", ["test_batch"])]:
        labels, images = records(options.data_dir, names)
        for index, (label, image) in enumerate(zip(labels, images)):
            folder = out / split / f"{label:02}"
            folder.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(image.transpose(1, 2, 0))
            if options.layout == "png32":
                picture.save(folder / f"{index:05}.png")
            else:
                picture = picture.resize((64, 64), Image.Resampling.BICUBIC)
                picture.save(folder / f"{index:05}.jpg", quality=90)
    (out / "whole").touch()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = arguments.add_subparsers(dest="verb", required=True)
    files = verbs.add_parser("make")
    files.add_argument("--data-dir", required=True)
    files.add_argument("--out", required=True)
    files.add_argument("--layout", choices=["png32", "jpeg64"], required=True)
    serve = verbs.add_parser("epochs")
    serve.add_argument("--source", choices=["cifar10", "folder"], required=True)
    serve.add_argument("--path", required=True)
    serve.add_argument("--size", type=int, default=32)
    serve.add_argument("--images", type=int, required=True)
    serve.add_argument("--batch", type=int, default=64)
    serve.add_argument("--workers", type=int, default=2)
    serve.add_argument("--epochs", type=int, default=3)
    serve.add_argument("--setting", choices=SETTINGS, default="v1-pil")
    serve.add_argument("--check", type=int)
    verbs.add_parser("settings")
    options = arguments.parse_args()
    if options.verb == "settings":
        print("\n".join(SETTINGS))
    elif options.verb == "make":
        make(options)
    else:
        epochs(options)


if __name__ == "__main__":
    main()
