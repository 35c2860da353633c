"""Small runs, servers of them on a free port, and clients."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from xpnet import data
from xpnet.serving import Limits, Server, open_source
from xpnet.train import RunConfig, train_run

PNG, JSON = {"Content-Type": "image/png"}, {"Content-Type": "application/json"}


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one line of an error, in which there is nothing of Python."""
        assert self.status >= 400
        assert self.body.count(b"\n") == 1
        assert set(self.json) == {"error"}
        assert "Traceback" not in self.json["error"]
        return self.json["error"]


class Client:
    """A client that keeps its connection."""

    def __init__(self, server: Server) -> None:
        self.address = (server.host, server.port)
        self.connection = http.client.HTTPConnection(*self.address, timeout=20)

    def __call__(self, method: str, path: str, body: Any = None, headers: Any = None) -> Reply:
        self.connection.request(method, path, body, headers or {})
        found = self.connection.getresponse()
        return Reply(found.status, dict(found.getheaders()), found.read())

    def image(self, content: bytes, query: str = "") -> Reply:
        return self("POST", f"/predict{query}", content, PNG)

    def rows(self, rows: Any, query: str = "") -> Reply:
        return self("POST", f"/predict{query}", json.dumps(rows), JSON)

    def send(self, raw: bytes, end: bool = False) -> Reply:
        """Send bytes over a new connection, and read until the server closes it."""
        with socket.create_connection(self.address, timeout=20) as connection:
            connection.sendall(raw)
            if end:
                connection.shutdown(socket.SHUT_WR)
            found = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        head, _, body = found.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return Reply(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body)


def digit(i: int) -> bytes:
    """A digit of the test set as a PNG file."""
    import PIL.Image

    pixels = data.load("digits")[1].x[i, :, :, 0]
    file = io.BytesIO()
    PIL.Image.fromarray((pixels * (255 / 16)).round().astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Train a small run of a kind, once; see _config."""
    folder = tmp_path_factory.mktemp("runs")

    def train(kind: str) -> Path:
        if not (folder / kind).exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("xpnet.train.runs.training.draw_run", lambda *drawn: None)
                train_run(_config(kind, folder), folder / kind)
        return folder / kind

    return train


def _config(kind: str, folder: Path) -> RunConfig:
    draw, path = np.random.default_rng(0), folder / f"{kind}.npz"
    if kind == "digits":
        return RunConfig("softmax", epochs=1)
    if kind == "photos":
        import PIL.Image

        for k, name in enumerate(("green", "red")):
            (folder / "pictures" / name).mkdir(parents=True)
            for i in range(12):
                pixels = draw.integers(0, 99, (12, 18, 3), np.uint8)
                pixels[..., 1 - k] += 120
                PIL.Image.fromarray(pixels).save(folder / "pictures" / name / f"{i}.png")
        return RunConfig("softmax", str(folder / "pictures"), epochs=2, image_size="9x8", image_fit="crop")
    if kind in ("classes", "price"):
        path = path.with_suffix(".csv")
        a, b = draw.normal(size=(2, 60))
        words = ["red" if value > 0 else "blue" for value in b]
        target = 100 + 10 * a if kind == "price" else ["old" if value > 0 else "new" for value in a]
        lines = [f"{x:.3f},{word},{y}" for x, word, y in zip(a, words, target, strict=True)]
        path.write_text("\n".join(["size,its colour,what", *lines]))
        return RunConfig("mlp", str(path), target="what", epochs=2)
    if kind == "labels":
        x = draw.normal(size=(60, 5)).astype(np.float32)
        np.savez(path, x=x, y=(x[:, :3] > 0).astype(np.float32), classes=np.asarray(["a", "b", "c"]))
        return RunConfig("mlp", str(path), epochs=2)
    if kind == "sequences":
        x = draw.normal(size=(60, 4, 3)).astype(np.float32)
        np.savez(path, x=x, y=(x[:, 0, 0] > 0).astype(np.int64))
        return RunConfig("mlp", str(path), epochs=2)
    x = draw.normal(size=(60, 5)).astype(np.float32)
    if kind == "copies":
        np.savez(path, x=x)
        return RunConfig("mlp", str(path), task="reconstruction", epochs=2)
    np.savez(path, x=x, y=(x[:, 0] > 0).astype(np.int64))
    return RunConfig("mlp", str(path), epochs=2)


@pytest.fixture
def serve(runs: Callable[[str], Path]) -> Iterator[Callable[..., Client]]:
    """Serve a run, and return a client."""
    with contextlib.ExitStack() as stack:

        def start(kind: str = "digits", say: Any = None, **limits: Any) -> Client:
            server = Server(open_source(runs(kind)), port=0, limits=Limits(**limits), say=say)
            client = Client(stack.enter_context(server))
            client.server = server  # type: ignore[attr-defined]
            stack.callback(client.connection.close)
            return client

        yield start
