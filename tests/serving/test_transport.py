"""HTTP, and what a client may not do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import numpy as np
import pytest

from tests.serving.conftest import JSON, PNG, Client, digit

HOST = b"Host: localhost\r\n"
POST = b"POST /predict HTTP/1.1\r\nContent-Type: image/png\r\n" + HOST


def test_a_connection_serves_several_requests_and_errors_do_not_end_it(serve):
    client = serve("digits")
    client("GET", "/health")
    connection = client.connection.sock
    for ask in (lambda: client.image(b"no image"), lambda: client("GET", "/none"), lambda: client.image(digit(0))):
        ask()
        assert client.connection.sock is connection


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/other", 404, "/predict"),
        ("GET", "//predict", 405, "POST"),
        ("GET", "/../etc/passwd", 404, "no such path"),
        ("PUT", "/health", 405, "GET or HEAD"),
        ("GET", "/predict", 405, "POST"),
        ("OPTIONS", "/predict", 405, "POST"),
        ("BREW", "/", 405, "GET or HEAD"),
    ],
)
def test_other_paths_and_methods_are_refused(serve, method, path, status, words):
    reply = serve("digits")(method, path)
    assert reply.status == status
    assert words in reply.error
    assert (status == 405) == ("Allow" in reply.headers)
    assert not any(name.lower().startswith("access-control") for name in reply.headers)


def test_other_content_is_refused(serve):
    client = serve("digits")
    for headers in (
        {},
        {"Content-Type": "text/csv"},
        {"Content-Type": "image/svg+xml"},
        {**PNG, "Content-Encoding": "gzip"},
    ):
        assert client("POST", "/predict", digit(0), headers).status == 415
    assert "application/json, got image/png" in serve("rows").image(digit(0)).error


def test_every_answer_forbids_guessing_and_framing(serve):
    client = serve("digits")
    for path in ("/", "/health", "/none"):
        headers = client("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Server"] == "xpnet"
    reply = client("HEAD", "/")
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["Content-Length"]) == len(client("GET", "/").body)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "[::2]:80", ""])
def test_another_host_is_refused_on_loopback(serve, host):
    assert serve("digits")("GET", "/health", headers={"Host": host}).status == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:80"])
def test_names_of_this_machine_are_taken(serve, host):
    assert serve("digits")("GET", "/health", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /\r\n", 400),  # HTTP 0.9: no headers follow
        (b"GET /\n", 400),
        (b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"GET / HTTX\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 70000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + (b"X: " + b"y" * 60000 + b"\r\n") * 3 + b"\r\n", 431),
        (POST + b"\r\n", 411),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 411),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (POST + b"Content-Length: 99\r\n\r\nabc", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"no header\r\nContent-Length: 3\r\n\r\nabc", 400),
        (POST + b"Transfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),  # TLS
        (b"\x00" * 100, 400),
    ],
    ids=range(21),
)  # fmt: skip
def test_what_is_no_request_is_answered_and_the_connection_closed(serve, raw, status):
    reply = serve("digits").send(raw, end=True)
    assert reply.status == status, reply
    assert reply.error
    assert reply.headers["Connection"] == "close"


def test_an_incomplete_line_of_http_09_does_not_wait_for_headers(serve):
    assert serve("digits").send(b"GET /\r\n").status == 400  # the client sends no more, and waits


def test_lines_may_end_in_a_bare_newline(serve):
    reply = serve("digits").send(b"GET /health HTTP/1.1\nHost: localhost\nConnection: close\n\n")
    assert reply.status == 200


def test_a_body_that_is_too_large_is_refused_and_the_client_sees_it(serve):
    client = serve("digits", max_bytes=1000)
    for size in (1001, 40 << 20):  # the latter is more than the system buffers
        reply = client.send(
            b"POST /predict HTTP/1.1\r\n%sContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % (HOST, size)
            + bytes(size),
            end=True,
        )
        assert (reply.status, reply.headers["Connection"]) == (413, "close")
        assert "at most 1,000 bytes" in reply.error
    assert client.image(bytes(1000)).status == 400


def test_a_client_that_waits_to_be_told_to_send_its_body_is_told(serve):
    client = serve("digits", max_bytes=1000)
    head = b"POST /predict HTTP/1.1\r\n%sContent-Type: image/png\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(client.address, timeout=20) as connection:
        connection.sendall(head % (HOST, len(digit(0))))
        assert connection.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(digit(0))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.send(head % (HOST, 1001), end=True).status == 413


def test_a_request_that_is_sent_too_slowly_is_ended(serve):
    client = serve("digits", timeout=0.3)
    for start in (
        b"GET / HTTP/1.1\r\nX: ",
        POST + b"Content-Length: 999\r\n\r\n",
    ):
        with socket.create_connection(client.address, timeout=20) as connection:
            connection.sendall(start)
            with contextlib.suppress(OSError):  # it is closed while bytes are sent
                for _ in range(100):
                    connection.sendall(b"a")
                    time.sleep(0.02)
                    connection.settimeout(0.001)
                    with contextlib.suppress(TimeoutError):
                        found = connection.recv(1 << 16)
                        break
            assert found.startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_asks_nothing_is_closed_without_an_answer(serve):
    client = serve("digits", idle=0.1)
    with socket.create_connection(client.address, timeout=20) as connection:
        assert connection.recv(100) == b""


def test_connections_beyond_the_limit_are_told_to_try_later(serve):
    client = serve("digits", connections=2)
    others = [Client(client.server) for _ in range(2)]
    for other in others:
        assert other("GET", "/health").status == 200
    reply = client("GET", "/health")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert "connections" in reply.error
    others[0].connection.close()
    for _ in range(200):  # the server sees it soon
        if client("GET", "/health").status == 200:
            break
        time.sleep(0.01)
    assert client("GET", "/health").status == 200
    others[1].connection.close()


def test_a_full_queue_and_a_slow_model_are_told_to_try_later(serve):
    client = serve("rows", queue=2, timeout=2.0, wait=0.0)
    batcher, free = client.server._service.batcher, threading.Event()
    scores = batcher._predict
    batcher._predict = lambda xs: (free.wait(10), scores(xs))[1]
    replies, batches = [], batcher.batches

    def ask() -> None:
        replies.append(Client(client.server).rows([[0.5] * 5]))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    threads[0].start()
    while batcher.batches == batches:  # until the first is computed
        time.sleep(0.001)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reply.status for reply in replies} == {503}
    assert all(reply.headers["Retry-After"] for reply in replies)
    said = [reply.error for reply in replies]
    assert sum("examples wait already" in line for line in said) == 3  # one is computed, two wait
    assert sum("no answer in 2 s" in line for line in said) == 3
    free.set()
    assert client.rows([[0.5] * 5]).status == 200


def test_an_image_of_too_many_pixels_is_refused(serve, monkeypatch):
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    client = serve("digits")
    assert "at most 100,000,000 pixels" in client.image(bomb).error
    monkeypatch.setenv("XPNET_MAX_PIXELS", "63")
    assert "at most 63 pixels" in client.image(digit(0)).error


def test_too_many_rows_and_images_are_refused(serve):
    assert serve("rows", rows=2).rows([[0.0] * 5] * 3).status == 413
    client = serve("digits", images=2)
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nno\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client("POST", "/predict", part * 2 + b"--x--", kind).status == 400  # no images, but as many as may be
    assert client("POST", "/predict", part * 3 + b"--x--", kind).status == 413


def test_random_bytes_never_harm_the_server(serve, capfd):
    draw, client = np.random.default_rng(0), serve("digits")
    whole = bytearray(digit(0))
    for i in range(60):
        content = bytearray(whole)
        for place in draw.integers(0, len(content), 3):
            content[place] = draw.integers(0, 256)
        reply = client.image(bytes(content[: draw.integers(1, len(content) + 1)]))
        assert reply.status in (200, 400), reply
        assert reply.status == 200 or reply.error
        text = draw.integers(32, 127, 30, dtype=np.uint8).tobytes()
        assert client("POST", "/predict", text, JSON).status == 400, i
    assert capfd.readouterr() == ("", "")


def test_an_error_of_ours_is_an_internal_error_without_details(serve, monkeypatch, caplog):
    client = serve("digits")
    monkeypatch.setattr(client.server._service, "answer", lambda *_: 1 / 0)
    reply = client("GET", "/health")
    assert (reply.status, reply.error) == (500, "server: an internal error")
    assert "ZeroDivisionError" in caplog.text


def test_a_line_is_printed_for_each_request_only_where_it_is_wanted(serve):
    lines = []
    client = serve("digits", say=lines.append)
    client("GET", "/health")
    client.send(b"GET /a\x9b\x1b[31m HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
    for _ in range(500):  # it is printed after the answer is sent
        if len(lines) == 2:
            break
        time.sleep(0.01)
    lines.sort(key=lambda line: "/health" not in line)  # each by the thread of its connection
    assert lines[0].split()[1:4] == ["GET", "/health", "200"]
    assert len(lines) == 2
    assert "\x1b" not in lines[1]
    assert "\u009b" not in lines[1]
