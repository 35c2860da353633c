"""xpnet predict."""

from __future__ import annotations

from typing import Annotated

import typer

from xpnet.cli.options import BackendName, Device, Json, print_json, print_line

__all__ = ["predict"]


def predict(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    images: Annotated[list[str], typer.Argument(help="Image files.")],
    top: Annotated[int | None, typer.Option(help="How many classes to name; 3 by default.")] = None,
    backend: BackendName = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Classify images with a trained model."""
    from xpnet.train.run_config import resolve_backend
    from xpnet.train.run_prediction import predict_run

    results = predict_run(run, images, top, resolve_backend(backend, device))
    for r in results:
        classes = (f"{c} {p:.1%}" for c, p in zip(r["classes"], r["probabilities"], strict=True))
        print_line(f"{r['image']}: " + ", ".join(classes), as_json)
    if as_json:
        print_json(results)
