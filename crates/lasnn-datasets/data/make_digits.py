"""Writes digits.bin, the data set that lasnn-datasets embeds, from scikit-learn's copy of it.

    pip install scikit-learn
    python make_digits.py

One record per image, in scikit-learn's order: one byte for the digit, then 64 bytes for the
pixels row by row, their values 0..16 scaled to 0..255.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
assert digits.images.shape == (1797, 8, 8)
pixels = np.rint(digits.images.reshape(-1, 64) * 255 / 16).astype(np.uint8)
labels = digits.target.astype(np.uint8)[:, None]
records = np.concatenate([labels, pixels], axis=1)
Path(__file__).with_name("digits.bin").write_bytes(records.tobytes())
