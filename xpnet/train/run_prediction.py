"""What a run's model says of new examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.backend import Backend
from xpnet.data import load_image
from xpnet.errors import ConfigError, DataError
from xpnet.train.run_evaluation import open_run

__all__ = ["predict_run"]


def predict_run(
    run: str | Path, images: list[str], top: int | None = None, backend: str | Backend | None = None
) -> list[dict[str, Any]]:
    """Classify image files by a run's model, each resized to the size it was trained on.

    Args:
        run: the run's folder.
        images: the files.
        top: the number of classes to return, 1 .. K; by default 3, or K if there are fewer.
        backend: where to compute; the default one by default.
    Returns:
        For each image {image, classes: the top K names, probabilities}.
    Raises:
        ConfigError: top is outside 1 .. K. DataError: a file does not exist or is not an image.
    """
    trainer, meta = open_run(run, backend)
    images = [images] if isinstance(images, str) else arguments.items("predict_run", "images", images)
    images = [str(arguments.path("predict_run", "images", i)) for i in images]
    if not images:
        raise ConfigError("predict_run", "images, at least one", images="none")
    classes, shape = meta["classes"], tuple(meta["shape"])
    top = min(3, len(classes)) if top is None else top
    if arguments.as_index(top) is None or not 1 <= top <= len(classes):
        raise ConfigError("top", f"1 <= top <= {len(classes)}, the number of classes", top=arguments.shown(top))
    if len(shape) != 3:
        raise ConfigError("predict", "a run trained on images (H, W, C)", shape=shape)
    if folders := [path for path in images if Path(path).is_dir()]:
        do = f"name its files: {folders[0].rstrip('/')}/*.png"
        raise DataError.event(folders[0], "this is a folder, and predict takes image files", do)
    pixels = np.stack([load_image(path, shape, fit=meta.get("fit", "stretch")) for path in images]).astype(np.float32)
    if trainer.scale:
        chances = trainer.predict(pixels, white=255.0)
    else:  # a run of xpnet 0.6 or older
        chances = trainer.predict(pixels * np.float32(meta["white"] / 255.0))
    ranked = np.argsort(-chances, axis=1, kind="stable")[:, :top]
    return [
        {
            "image": path,
            "classes": [classes[k] for k in order],
            "probabilities": [round(float(row[k]), 6) for k in order],
        }
        for path, row, order in zip(images, chances, ranked, strict=True)
    ]
