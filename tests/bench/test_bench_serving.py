"""The serve suite: clients that count answers, and servers that are asked in turn."""

from __future__ import annotations

import http.server
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def counting() -> Iterator[Any]:
    """A server that counts requests, and answers with its status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            server.asked.append((self.client_address, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(server.status)
            self.send_header("content-length", "5000")
            self.end_headers()
            self.wfile.write(b"x" * 5000)

        def log_message(self, format: str, *args: Any) -> None: ...

    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.status, server.daemon_threads = [], 200, True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_client_keeps_its_connection_and_whole_answers_are_counted(
    bench: Any, counting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = bench("http_load")
    monkeypatch.setattr(load, "WARM", 0.0)
    (tmp_path / "body").write_bytes(b"a body")
    asked = {"url": f"http://127.0.0.1:{counting.server_port}/predict", "body": str(tmp_path / "body")}
    found = load.measure({**asked, "clients": 3, "seconds": 0.1})
    assert len({address for address, _ in counting.asked}) == 3
    assert {body for _, body in counting.asked} == {b"a body"}
    assert len(counting.asked) - 3 <= found["rate"] * 0.1 <= len(counting.asked)
    assert 0 < found["p50"] <= found["p99"]
    counting.status = 503
    with pytest.raises(ValueError, match="503"):
        load.measure({**asked, "clients": 1, "seconds": 0.1})


def test_servers_that_do_not_answer_the_same_are_not_compared(bench: Any) -> None:
    serving = bench("serving")
    one = {"classes": ["a", "b"], "probabilities": [0.7, 0.3]}
    serving.check_same({"xpnet": one, "fastapi": one | {"probabilities": [0.70001, 0.29999]}})
    for other in ({"classes": ["b", "a"]}, {"probabilities": [0.701, 0.299]}):
        with pytest.raises(bench("turns").WorkerError, match="fastapi: expected"):
            serving.check_same({"xpnet": one, "fastapi": one | other})


def test_the_best_process_counts_the_most_requests_or_the_least_time(bench: Any) -> None:
    of_runs, figures = bench("rows").of_runs, bench("serving").FIGURES
    runs = [
        of_runs("serve", task, "mlp", "xpnet", *figures[task][:1], [3.0, 2.0], figures[task][1]) for task in figures
    ]
    assert [(r["value"], r["unit"]) for r in runs] == [(3.0, "requests/s"), (2.0, "ms"), (2.0, "ms")]
    assert (runs[0]["turns"], runs[0]["spread"]) == ([[3.0], [2.0]], 0.5)
    peer = of_runs("serve", "rate", "mlp", "fastapi", "requests/s", [1.5], max)
    text = bench("tables").markdown({"machine": "m", "versions": {}, "notes": [], "rows": [runs[0], peer]})
    assert "| MLP | 3 requests/s | 1.5 requests/s, 0.50x |" in text


def test_both_servers_are_measured(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fastapi", "uvicorn", "onnxruntime", "onnx"):
        pytest.importorskip(name)
    serving = bench("serving")
    monkeypatch.setattr("xpnet.train.runs.training.draw_run", lambda *drawn: None)
    options = Namespace(only="mlp", processes=1, seconds=0.1, json=tmp_path / "o.json")
    results = serving.serve(options)
    assert not results.failed
    assert {(r["library"], r["task"]) for r in results.rows} == {
        (library, task) for library in ("xpnet", "fastapi") for task in ("rate", "p50", "p99")
    }
    assert all(r["value"] > 0 for r in results.rows)
    assert (tmp_path / "o.json").exists()
