"""Requests that are no page's: each is answered by one line, and nothing is printed."""

from __future__ import annotations

import json
import socket

import pytest

from tests.playground.conftest import JSON, Page
from xpnet import get_backend
from xpnet.playground import Server


def test_the_page_and_its_files_are_answered_with_a_policy(server, page):
    token = server.playground.token
    status, headers, body = page.get(f"/{token}/")
    assert status == 200
    assert b"<title>" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "path", ["/", "/events", "/TOKEN", "/x/events", "/TOKEN/../service.py", "/TOKEN/none.js", "/TOKEN/%2e%2e/x"]
)
def test_without_the_token_and_beside_the_files_there_is_nothing(server, page, path):
    status, _, body = page.get(path.replace("TOKEN", server.playground.token if path != "/TOKEN" else "A" * 24))
    assert status == 404
    assert json.loads(body)["error"].startswith("request: there is no such page")
    assert server.playground.token not in body.decode()


def test_another_name_of_this_machine_is_refused(server, page):
    for host in ("evil.example", "localhost.evil"):
        assert page.get(f"/{server.playground.token}/", {"Host": host})[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_is_refused(server, page, site):
    assert page.get(f"/{server.playground.token}/", {"Sec-Fetch-Site": site})[0] == 403


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("", 400, "expected JSON"),
        ("{", 400, "expected JSON"),
        ("[]", 400, "the name of a command"),
        ('{"do": 3}', 400, "the name of a command"),
        ('{"do": "play", "session": "none"}', 409, "reload the page"),
        ('{"do": "play", "session": []}', 409, "reload the page"),
        ("[" * 100_000, 400, "nested"),
        ("x" * ((1 << 20) + 1), 413, "at most 1,048,576 bytes"),
    ],
    ids=["empty", "cut", "a list", "a number", "no session", "a list as session", "nested", "large"],
)
def test_bodies_that_are_no_command(page, body, status, words):
    found, reply = page.post(body)
    assert found == status
    assert words in reply["error"]


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"do": "dance"}, 404, "no such command"),
        ({"do": "open", "kind": "music"}, 400, "a known kind"),
        ({"do": "open", "settings": {"layers": [99]}}, 400, "neurons, 1 to 16"),
        ({"do": "open", "steps": 10**9}, 400, "steps, 0 to 1e+07"),
        ({"do": "lr", "value": 0}, 400, "1e-06 <= lr <= 10"),
        ({"do": "rate", "value": None}, 400, "steps per second"),
        ({"do": "rate", "value": 0}, 400, "steps per second"),
    ],
    ids=str,
)
def test_commands_that_are_refused(page, given, status, words):
    page.do("open")
    found, reply = page.do(**{"name": given["do"], **{k: v for k, v in given.items() if k != "do"}})
    assert (found, words in reply["error"]) == (status, True)
    assert page.do("step") == (200, {})


def test_a_command_before_a_network_is_refused(page):
    assert page.do("play") == (400, {"error": "play: there is no network yet; reload the page"})


def test_other_methods_and_content_are_refused(server, page):
    token = server.playground.token
    assert page.get(f"/{token}/do")[0] == 405
    assert page.post("{}", JSON, "events")[0] == 405
    assert page.post("{}", {"Content-Type": "text/plain"})[0] == 415


def test_garbage_is_answered_and_ends_nothing(server, page, capfd):
    for raw in (
        b"\0\1\2\3\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        with socket.create_connection((server.host, server.port), timeout=60) as connection:
            connection.sendall(raw)
            assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert page.do("open") == (200, {})
    assert capfd.readouterr() == ("", "")


def test_more_pages_than_sixteen_are_told_so_and_closing_ends_all():
    server = Server(get_backend("cpu"))
    pages = [Page(server) for _ in range(16)]
    late = Page(server)
    assert late.reply.status == 503
    assert "too many pages" in json.loads(late.reply.read())["error"]
    assert server.close(30)
    for each in pages:
        assert not each.reply.read().strip(b":\n")  # and then the end
        each.close()
    late.close()
