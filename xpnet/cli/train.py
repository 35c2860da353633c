"""xpnet train."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Any

import typer

from xpnet.cli.options import BackendName, DataDir, Device, Json, Version, loading, print_json, print_line
from xpnet.errors import ConfigError

__all__ = ["train"]


def _option(group: str, help: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=group)


def train(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Argument(help="{models}; cnn by default.")] = None,
    data: Annotated[
        str | None,
        _option("Data", "{datasets}, a folder of images, a table or an .npz file; digits by default."),
    ] = None,
    data_dir: DataDir = None,
    task: Annotated[
        str | None,
        _option(
            "Data",
            "What is learned; by default the targets say.",
            metavar="classification|multilabel|regression|reconstruction",
        ),
    ] = None,
    target: Annotated[str | None, _option("Data", "Column of a table that is learned.", metavar="COLUMN")] = None,
    image_size: Annotated[
        str | None, _option("Images", "Pixels of the shorter side, or height x width.", metavar="N|HxW")
    ] = None,
    image_fit: Annotated[
        str | None,
        _option("Images", "How another shape is fitted; crop by default.", "--fit", metavar="crop|pad|stretch"),
    ] = None,
    augment: Annotated[
        str | None,
        _option("Images", "Change training images at random; none by default.", metavar="none|light|strong"),
    ] = None,
    skip_damaged: Annotated[bool, _option("Images", "Leave out damaged images.", "--skip-damaged")] = False,
    cache_images: Annotated[
        str | None, _option("Images", "Memory for decoded images; 1GB by default.", metavar="SIZE")
    ] = None,
    cache_folder: Annotated[
        str | None,
        _option("Images", "Folder to keep decoded images in, for this run and later ones.", metavar="FOLDER"),
    ] = None,
    workers: Annotated[
        int | None, _option("Images", "Threads that decode images; one a core by default.", metavar="N")
    ] = None,
    epochs: Annotated[
        int | None,
        _option(
            "Training",
            "Passes over the training set; by default 20 if it has fewer than 10,000 examples, else 5; of mlp on a "
            "table 20, or as many as make 1,000 steps if that is more.",
            metavar="N",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        _option(
            "Training",
            "Examples a step; by default 32 if there are fewer than 10,000, else 64; of mlp on a table, 16 if there "
            "are fewer than 1,000.",
            metavar="N",
        ),
    ] = None,
    optimizer: Annotated[str | None, _option("Training", "{optimizers}; by default the model's own.")] = None,
    lr: Annotated[
        float | None, _option("Training", "Highest learning rate; by default that of model and optimizer.")
    ] = None,
    schedule: Annotated[
        str | None,
        _option(
            "Training",
            "How the rate changes after its rise; inverse by default, of mlp on a table cosine.",
            metavar="inverse|constant|cosine|step|one-cycle",
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        _option(
            "Training",
            "Steps in which the rate rises first; with inverse 300, but at most 3/8 of all; with cosine and step at "
            "most 1/10.",
            metavar="STEPS",
        ),
    ] = None,
    momentum: Annotated[float | None, _option("Training", "Of sgd, momentum, nesterov and rmsprop.")] = None,
    weight_decay: Annotated[float | None, _option("Training", "By default that of the model.")] = None,
    clip: Annotated[float | None, _option("Training", "Largest norm of the gradient.", metavar="NORM")] = None,
    ema: Annotated[
        float | None,
        _option("Training", "Evaluate an average of the weights, of this decay, such as 0.999.", metavar="DECAY"),
    ] = None,
    accumulate: Annotated[
        int | None, _option("Training", "Batches whose gradients are averaged for an update.", metavar="N")
    ] = None,
    label_smoothing: Annotated[float | None, _option("Training", "Part of a label given to all classes.")] = None,
    class_weights: Annotated[
        str | None,
        _option("Training", "Weights of the classes in the loss.", metavar="balanced|NAME=WEIGHT,..."),
    ] = None,
    seed: Annotated[int | None, _option("Training", "Seed of every random draw; 0 by default.")] = None,
    val: Annotated[
        str | None,
        _option(
            "Validation",
            "Part of the training set to validate with, or a folder of its own; 0.1 by default, 0 for none.",
            metavar="FRACTION|FOLDER",
        ),
    ] = None,
    best: Annotated[bool, _option("Validation", "Keep and evaluate the best epoch by validation.", "--best")] = False,
    patience: Annotated[
        int | None, _option("Validation", "Stop after N epochs without a better one.", metavar="N")
    ] = None,
    from_run: Annotated[
        str | None,
        _option(
            "Fine-tuning",
            "Begin with the weights of a run; the last layer is new for other classes.",
            "--from",
            metavar="RUN",
        ),
    ] = None,
    freeze: Annotated[
        str | None, _option("Fine-tuning", "Train the last layer alone, with --from.", metavar="body")
    ] = None,
    out: Annotated[
        str | None, _option("Run", "Folder of the run; a new one in runs/ by default.", "-o", "--out", metavar="FOLDER")
    ] = None,
    run_name: Annotated[
        str | None, _option("Run", "Name of the run, and of its folder in runs/.", "--name", metavar="NAME")
    ] = None,
    resume: Annotated[str | None, _option("Run", "Continue a run: its folder.", metavar="RUN")] = None,
    checkpoint_every: Annotated[
        str | None,
        _option("Run", "Save every N epochs, or steps: 5 or 500steps; each epoch by default.", metavar="N|Nsteps"),
    ] = None,
    log_dir: Annotated[
        str | None,
        _option(
            "Run",
            "Write curves, histograms and pictures there, in a folder of the run's name, or name-2, name-3 where that "
            "exists; see them with: tensorboard --logdir FOLDER",
            metavar="FOLDER",
        ),
    ] = None,
    backend: BackendName = None,
    device: Device = None,
    precision: Annotated[
        str | None, _option("Machine", "Precision of products; fp32 by default.", metavar="fp32|tf32|fp16")
    ] = None,
    threads: Annotated[
        int | None,
        _option("Machine", "CPU threads that share a step; by default one a core, where that is faster.", metavar="N"),
    ] = None,
    shards: Annotated[
        int | None,
        _option(
            "Machine",
            "Divide each batch into N shards: the same bits on 1 to N processes. 8 by default where launched, see "
            "xpnet launch, else none; 1 is faster, and equal to rounding.",
            metavar="N",
        ),
    ] = None,
    batch_norm: Annotated[
        str | None,
        _option("Machine", "Statistics of the whole batch, the default, or of each shard.", metavar="sync|local"),
    ] = None,
    quiet: Annotated[bool, _option("Output", "Print the last line alone.", "--quiet")] = False,
    as_json: Json = False,
    version: Version = False,
) -> int:
    """Train a model and keep the run in a folder."""
    from xpnet.train import Progress
    from xpnet.train.runs.config import RunConfig, read_config, resolve_backend, resumed_config
    from xpnet.train.runs.result import headline_text
    from xpnet.train.runs.training import train_run

    given = {field.name: ctx.params.get(field.name) for field in dataclasses.fields(RunConfig)}
    given["backend"] = resolve_backend(backend, device) if backend or device else None
    given["val"] = _number_or_path(val)
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    if resume and (out or run_name):
        option, value = ("--out", out) if out else ("--name", run_name)
        raise ConfigError("resume", "the folder of the run as the only one", f"omit {option}", **{option: value})
    resume, out = _continued(resume, out)
    config = resumed_config(resume, given) if resume else RunConfig(**given)
    if from_run and not (resume or model):
        config = dataclasses.replace(config, model=read_config(from_run)[0].model)

    def say(line: str) -> None:
        if not quiet:
            print_line(line, as_json)

    with loading() as progress:
        on_output = not as_json and bool(getattr(sys.stdout, "isatty", bool)())
        callbacks = [] if quiet else [Progress(on_output=on_output)]
        result = train_run(config, out, resume=resume, callbacks=callbacks, progress=progress, announce=say)
    interrupted = result.pop("interrupted")
    if interrupted:
        print_line(f"interrupted and saved; continue with: xpnet train --resume {result['run']}", as_json)
    else:
        figure = headline_text(result, "test") or headline_text(result, "validation")
        speed = f"{result['seconds']:.1f} s, {result['images_per_second']:,.0f} examples/s"
        print_line(", ".join(filter(None, [figure, speed, f"saved in {result['run']}"])), as_json)
    if as_json:
        print_json(result)
    return 128 + interrupted if interrupted else 0


def _continued(resume: str | None, out: str | None) -> tuple[str | None, str | None]:
    """The folders to resume and to write: those of the run that this process continues after a fault."""
    from xpnet.distributed.supervised import continued_run

    folder = continued_run()
    if folder is None:
        return resume, out
    is_saved = (folder / "checkpoint.safetensors").exists()
    return (str(folder), None) if is_saved else (None, str(folder))


def _number_or_path(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
