"""The command line: parses, calls, prints. Every error is one line and exit code 2."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
import typer.core

from xpnet.errors import XpnetError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Train neural networks on NumPy, CuPy, torch or jax: the same layers, written once.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

DataDir = Annotated[str | None, typer.Option(help="Folder of the data files; XPNET_DATA_DIR by default.")]
BackendName = Annotated[str | None, typer.Option("--backend", help="numpy, cupy, torch, jax or a registered one.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="End standard output with one JSON object.")]
ModelOrRun = Annotated[str, typer.Argument(metavar="MODEL|RUN", help="{models}, or the folder of a run.")]
Input = Annotated[str | None, typer.Option(metavar="HxWxC", help="Another input than its own; HxW keeps the channels.")]


class _NamesAll(typer.core.TyperCommand):
    """A command whose help names what {models}, {datasets} and {optimizers} stand for; they are loaded only then."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from xpnet.data import DATASETS
        from xpnet.models import MODELS
        from xpnet.optim import OPTIMIZERS

        names = {"{models}": MODELS, "{datasets}": DATASETS, "{optimizers}": OPTIMIZERS}
        for parameter in self.params:
            for place, those in names.items():
                if text := getattr(parameter, "help", None):
                    parameter.help = text.replace(place, ", ".join(those))  # pyright: ignore[reportAttributeAccessIssue]
        super().format_help(ctx, formatter)


def main() -> None:
    """Run the command line and exit: 0 done, 2 bad input, 130 interrupted."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except XpnetError as error:
        error.where, error.do = (text.replace("data_dir", "--data-dir") for text in (error.where, error.do))
        _fail(error)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror or error}")
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's own errors have one
            raise
        _fail(error.format_message())  # pyright: ignore[reportAttributeAccessIssue]
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: object, code: int = 2) -> None:
    print(f"xpnet: {message}".replace("\n", " "), file=sys.stderr)
    sys.exit(code)


def _print(line: str) -> None:
    print(line, flush=True)


@contextlib.contextmanager
def _loading() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error that shows itself when loading takes long enough to report."""
    from rich.console import Console
    from rich.progress import Progress

    bar: Any = None
    task: Any = None
    console = Console(stderr=True)

    def report(done: int, total: int) -> None:
        nonlocal bar, task
        if not console.is_terminal:
            return
        if bar is None:
            bar = Progress(console=console, transient=True)
            bar.start()
            task = bar.add_task("loading", total=total)
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    try:
        yield report
    finally:
        if bar is not None:
            bar.stop()


@app.command(cls=_NamesAll)
def train(
    model: Annotated[str | None, typer.Argument(help="{models}; cnn by default.")] = None,
    data: Annotated[
        str | None, typer.Option(help="{datasets}, a folder of images or an .npz file; digits by default.")
    ] = None,
    data_dir: DataDir = None,
    backend: BackendName = None,
    device: Device = None,
    epochs: Annotated[int | None, typer.Option(help="How often to go through the training set.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples a step; by default 64, 32 for small sets.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="{optimizers}; by default the model's own.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Highest learning rate; by default what suits model and optimizer.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of every random draw; 0 by default.")] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="fp32|tf32|fp16", help="Of the arithmetic; fp32 by default.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Of the CPU, that share out a step; by default one a core, where that is of use.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder of the run; a new one in runs/ by default.")] = None,
    resume: Annotated[str | None, typer.Option(help="Folder of a run to go on with.")] = None,
    as_json: Json = False,
) -> int:
    """Train a model and keep the run in a folder."""
    from xpnet.train.callbacks import Progress
    from xpnet.train.run import RunConfig, resolve_backend, resumed_config, train_run

    asked = {
        "model": model,
        "data": data,
        "data_dir": data_dir,
        "backend": resolve_backend(backend, device) if backend or device else None,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "lr": lr,
        "seed": seed,
        "precision": precision,
        "threads": threads,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    if resume and out:
        raise typer.BadParameter("--resume goes on in the run's own folder: leave out --out")
    config = resumed_config(resume, asked) if resume else RunConfig(**asked)
    with _loading() as progress:
        result = train_run(config, out, resume=resume, callbacks=[Progress()], progress=progress, announce=_print)
    interrupted = result.pop("interrupted")
    if interrupted:
        _print(f"interrupted and saved; go on with: xpnet train --resume {result['run']}")
    else:
        accuracy = "" if result["test_accuracy"] is None else f"test accuracy {result['test_accuracy']:.2%}, "
        speed = f"{result['seconds']:.1f} s, {result['images_per_second']:,.0f} images/s"
        _print(f"{accuracy}{speed}, kept in {result['run']}")
    if as_json:
        _print(json.dumps(result))
    return 130 if interrupted else 0


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    data: Annotated[str | None, typer.Option(help="Data set to test on; the run's own by default.")] = None,
    data_dir: DataDir = None,
    backend: BackendName = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure a trained model on test data."""
    from xpnet.train.run import evaluate_run, resolve_backend

    with _loading() as progress:
        result = evaluate_run(run, data, data_dir, resolve_backend(backend, device), progress=progress)
    _print(
        f"{result['model']} on {result['data']}: test accuracy {result['test_accuracy']:.2%}, "
        f"test loss {result['test_loss']:.4f}, {result['examples']:,} examples"
    )
    _print_confusion(result["confusion"], result["classes"])
    if as_json:
        _print(json.dumps(result))


def _print_confusion(counts: list[list[int]], classes: list[str]) -> None:
    """A table of true classes (rows) against said ones, where it fits on a screen; else the five worst confusions."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if len(classes) <= 12:
        table = Table(title="taken for", title_style="dim", box=None, pad_edge=False)
        for name in ("true", *classes, "right"):
            table.add_column(escape(name[:9]), justify="right")
        for i, (name, row) in enumerate(zip(classes, counts, strict=True)):
            cells = [f"[bold]{n}[/bold]" if i == j else (str(n) if n else "·") for j, n in enumerate(row)]
            table.add_row(escape(name[:9]), *cells, f"{row[i] / max(1, sum(row)):.1%}")
        Console().print(table)
        return
    worst = sorted(
        ((n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n), reverse=True
    )[:5]
    for n, i, j in worst:
        _print(f"{n:>6} of {classes[i]} taken for {classes[j]}")


@app.command()
def predict(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    images: Annotated[list[str], typer.Argument(help="Image files.")],
    top: Annotated[int | None, typer.Option(help="How many classes to name; 3 by default.")] = None,
    backend: BackendName = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Say what a trained model sees in images."""
    from xpnet.train.run import predict_run, resolve_backend

    results = predict_run(run, images, top, resolve_backend(backend, device))
    for r in results:
        chances = (f"{c} {p:.1%}" for c, p in zip(r["classes"], r["probabilities"], strict=True))
        _print(f"{r['image']}: " + ", ".join(chances))
    if as_json:
        _print(json.dumps(results))


@app.command(cls=_NamesAll)
def summary(
    model_or_run: ModelOrRun,
    input: Input = None,
    batch: Annotated[int, typer.Option(metavar="N", help="Examples that are kept for training at once.")] = 1,
    as_json: Json = False,
) -> None:
    """Count parameters, multiply-adds and memory of each layer."""
    from xpnet.train.describe import summarize_model

    title, found = summarize_model(model_or_run, input, batch)
    _print(f"{title}\n\n{found}")
    if as_json:
        _print(json.dumps({"model": title, **found.to_json()}))


@app.command(cls=_NamesAll)
def draw(
    model_or_run: ModelOrRun,
    style: Annotated[
        str, typer.Option(metavar="blocks|volumes", help="A column of layers, or boxes in three dimensions.")
    ] = "blocks",
    input: Input = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="FILE.svg, .png or .pdf; MODEL-STYLE.svg by default.")
    ] = None,
) -> None:
    """Draw a model into a file."""
    from xpnet.train.describe import draw_model

    title, path = draw_model(model_or_run, style, input, out)
    _print(f"{title} drawn in {path}, {path.stat().st_size / 1000:,.0f} kB")


@app.command()
def devices(as_json: Json = False) -> None:
    """List the backends: versions, devices, and how to install the absent ones."""
    import dataclasses

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from xpnet.backend import describe_backends

    found = describe_backends()
    table = Table(box=None, pad_edge=False)
    for column in ("backend", "version", "devices", "otherwise"):
        table.add_column(column, overflow="fold")
    for b in found:
        absent = escape(f"{b.problem}: {b.install}") if b.problem else ""
        named = "\n".join(f"{d}  {gpu}" for d, gpu in zip(b.devices, b.hardware, strict=True)) if b.hardware else ""
        table.add_row(b.name, b.version or "-", escape(named) or ", ".join(b.devices) or "-", absent)
    Console().print(table, highlight=False)
    if as_json:
        _print(json.dumps([dataclasses.asdict(b) for b in found]))
