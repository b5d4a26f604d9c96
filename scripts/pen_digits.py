"""Digits as a shaky pen writes them: paths through a few points, which are moved at random before they are drawn."""

from __future__ import annotations

import numpy as np
import torch
from pretrain_digits_clip import CANVAS

# Paths of a pen, x to the right and y down in 0..1; "/" lifts it. Several ways to write where there are several.
STROKES = {
    0: [
        "5 0 2 1 0 5 2 9 5 10 8 9 10 5 8 1 5 0 2 1",
        "5 0 3 1 1 4 1 7 3 9 5 10 8 8 9 5 8 2 5 0 3 1",
        "6 0 3 1 1 6 3 10 7 9 9 4 6 0 4 0",
    ],
    1: [
        "5 0 5 3 5 7 5 10",
        "2 3 5 0 5 5 5 10",
        "2 3 5 0 5 5 5 10 / 2 10 5 10 8 10",
        "6 0 5 5 4 10",
        "3 2 6 0 5 5 5 10",
        "0 5 3 3 6 0 6 5 6 10",
        "1 4 5 0 5 5 4 10 / 1 10 4 10 9 10",
        "5 0 4 5 3 10 / 0 10 4 10 10 10",
    ],
    2: [
        "1 2 4 0 8 1 8 4 4 8 1 10 / 1 10 5 10 9 10",
        "1 3 3 0 7 0 8 3 5 7 2 9 2 10 4 9 6 9 9 10",
        "1 1 5 0 8 2 7 5 3 8 1 9 2 10 4 8 7 10 10 9",
    ],
    3: [
        "1 1 5 0 8 2 7 4 4 5 / 4 5 8 6 8 9 5 10 1 9",
        "1 0 5 0 9 0 6 3 4 4 / 4 4 8 6 8 9 4 10 1 9",
        "2 1 6 0 8 2 5 5 8 6 9 8 6 10 1 10",
    ],
    4: [
        "6 0 3 3 0 6 / 0 6 5 6 10 6 / 7 3 7 6 7 10",
        "2 0 1 3 1 5 / 1 5 5 5 8 5 / 8 0 8 5 7 10",
        "5 0 3 3 1 6 5 7 9 6 / 6 4 6 7 5 10",
        "7 0 3 3 0 7 / 0 7 5 7 9 7 / 7 0 7 5 7 10",
    ],
    5: [
        "9 0 5 0 2 0 / 2 0 2 2 1 4 / 1 4 5 3 8 5 8 8 5 10 1 9",
        "8 0 5 0 3 0 2 4 5 4 8 6 7 9 4 10 1 9",
        "9 0 6 1 3 1 3 4 6 4 8 6 6 9 2 10",
    ],
    6: ["7 0 3 3 1 6 2 9 5 10 8 8 7 6 4 5 2 7", "5 0 2 4 1 8 4 10 7 9 8 7 5 5 2 7", "4 0 2 4 2 8 5 10 8 8 6 6 2 8"],
    7: [
        "1 0 5 0 9 0 / 9 0 6 4 4 10",
        "1 1 5 0 8 0 6 4 4 7 3 10 / 2 5 5 5 8 5",
        "1 0 5 1 9 0 / 9 0 7 5 6 10",
        "1 2 2 0 6 1 9 0 6 5 5 10 / 3 5 6 5 9 4",
    ],
    8: [
        "5 5 2 3 3 0 7 0 8 3 5 5 1 7 3 10 7 10 9 7 5 5",
        "8 1 5 0 2 2 5 5 8 8 5 10 2 8 5 5 8 2 8 1",
        "7 0 3 1 3 4 7 7 6 10 3 9 4 6 7 3 7 0",
    ],
    9: [
        "8 2 5 0 2 2 3 5 6 5 8 2 / 8 2 8 6 7 10",
        "8 1 4 0 1 3 4 5 8 3 8 1 / 8 3 7 7 4 10",
        "7 1 3 1 2 4 5 5 8 2 8 6 6 9 2 10",
        "8 2 5 0 2 3 5 5 8 2 8 6 8 8 5 10 2 9",
        "8 1 4 0 2 2 4 5 8 4 8 1 / 8 4 9 8 6 10 2 10 1 9",
        "7 0 3 0 1 3 4 5 7 4 7 0 / 7 4 8 8 5 10 1 10",
        "7 0 2 1 2 4 6 5 8 1 7 0 / 8 3 6 6 5 10",
        "6 0 2 1 1 4 5 4 7 1 / 7 2 8 6 9 8 7 10 3 10 0 10",
        "9 0 5 0 1 3 3 5 7 4 9 1 9 0 7 5 5 10",
    ],
}
HANDS = 200  # drawings of each digit by pen


def pen_bank(seed: int) -> torch.Tensor:
    """Digits drawn by a shaky pen: (HANDS, 10, CANVAS, CANVAS), ink 1 on 0."""
    rng = np.random.RandomState(seed)
    return torch.from_numpy(np.array([[_written(digit, rng) for digit in range(10)] for _ in range(HANDS)]))


def _written(digit: int, rng: np.random.RandomState) -> np.ndarray:
    ways = STROKES[digit]
    points = []
    for stroke in ways[rng.randint(len(ways))].split("/"):
        path = np.array(stroke.split(), dtype=np.float64).reshape(-1, 2) / 10
        points.append(_smooth(path + rng.normal(0, 0.03 if digit == 0 else 0.05, path.shape)))
    ink = np.concatenate(points)
    ink = (ink - ink.min(0)) / np.maximum(ink.max(0) - ink.min(0), 0.25)
    wide = rng.uniform(0.45, 0.75) * (rng.uniform(0.3, 0.9) if digit == 1 else 1)
    ink = (ink - 0.5) * (wide * CANVAS, 0.75 * CANVAS) + CANVAS / 2
    rows, columns = np.mgrid[:CANVAS, :CANVAS]
    distance = np.full((CANVAS, CANVAS), 1e9)
    for x, y in ink:
        distance = np.minimum(distance, (columns - x) ** 2 + (rows - y) ** 2)
    return np.clip(rng.uniform(2, 9 if digit == 1 else 5) + 0.5 - np.sqrt(distance), 0, 1).astype(np.float32)


def _smooth(path: np.ndarray, steps: int = 6) -> np.ndarray:
    """A curve through the points (Catmull-Rom), ``steps`` dots between two of them."""
    padded = np.concatenate([2 * path[:1] - path[1:2], path, 2 * path[-1:] - path[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:]):
        parts.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*parts, path[-1:]])
