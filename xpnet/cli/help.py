"""The help of the program and of its commands: descriptions in full, and examples."""

from __future__ import annotations

import re
from typing import Any

import typer.core

__all__ = ["EXAMPLES", "Program", "write_examples", "write_rows"]

EXAMPLES: dict[str, tuple[str, ...]] = {
    "train": (
        "xpnet train",
        "xpnet train lenet5 --data mnist --device cuda",
        "xpnet train cnn --data photos/ --augment light",
        "xpnet train mlp --data flats.csv --target price",
        "xpnet train --resume runs/cnn-digits-1 --epochs 40",
    ),
    "launch": (
        "xpnet launch -n 4 -- train lenet5 --data mnist",
        "xpnet launch -n 8 --hosts a,b --restarts 3 -- train lenet5 --data mnist",
        "xpnet launch -n 4 -- own_loop.py --epochs 10",
    ),
    "evaluate": ("xpnet evaluate runs/cnn-digits-1", "xpnet evaluate runs/cnn-photos-1 --data new-photos/"),
    "predict": (
        "xpnet predict runs/cnn-digits-1 five.png --top 3",
        "xpnet predict runs/mlp-flats-1 new.csv --csv prices.csv",
        "xpnet predict resnet50.onnx cat.jpg --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
    ),
    "data": ("xpnet data photos/ -o photos.html", "xpnet data flats.csv --target price"),
    "summary": ("xpnet summary lenet5", "xpnet summary resnet18 --input 64x64x3 --batch 32", "xpnet summary m.onnx"),
    "draw": ("xpnet draw alexnet --style volumes -o alexnet.svg", "xpnet draw runs/cnn-digits-1"),
    "export": ("xpnet export runs/cnn-digits-1 -o digits.onnx --with-preprocessing",),
    "runs": ("xpnet runs", "xpnet runs --sort test_accuracy"),
    "compare": ("xpnet compare runs/cnn-digits-1 runs/mlp-digits-1 -o both.svg",),
    "serve": ("xpnet serve runs/cnn-digits-1 --port 8000",),
    "playground": ("xpnet playground", "xpnet playground --step xor", "xpnet playground --backend torch"),
    "exercises": (
        "xpnet exercises",
        "xpnet exercises start exercises",
        "xpnet exercises check 05",
        "xpnet exercises check exercises --backend torch",
        "xpnet exercises show im2col",
    ),
    "devices": ("xpnet devices", "xpnet devices --kernels"),
}


class Program(typer.core.TyperGroup):
    """The commands, each described in full, with an example of each."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands; a long description is wrapped."""
        found = [(name, self.commands[name].get_short_help_str(limit=1000)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            write_rows(formatter, found)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Show an example of each command."""
        write_examples(formatter, [EXAMPLES[name][0] for name in self.list_commands(ctx) if name in EXAMPLES])
        formatter.write_paragraph()
        formatter.write_text("xpnet COMMAND --help describes the options of a command.")


_HYPHEN, _SPACE = "\ue000", "\ue001"  # where no line ends


def write_rows(formatter: Any, rows: list[tuple[str, str]]) -> None:
    """Write a list of names and what they are; no line ends within a name such as fashion-mnist, or "[default: 8]"."""
    start = len(formatter.buffer)
    formatter.write_dl([(name, _UNBROKEN.sub(_held, text)) for name, text in rows])
    formatter.buffer[start:] = [text.replace(_HYPHEN, "-").replace(_SPACE, " ") for text in formatter.buffer[start:]]


_UNBROKEN = re.compile(r"(?<=\w)-(?=\w)|\[default: [^\]]*\]")


def _held(match: re.Match[str]) -> str:
    return match[0].replace("-", _HYPHEN).replace(" ", _SPACE)


def write_examples(formatter: Any, lines: list[str] | tuple[str, ...]) -> None:
    """Write lines that can be copied: they are not wrapped."""
    if lines:
        with formatter.section("Examples"):
            for line in lines:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
