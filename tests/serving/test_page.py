"""The page: it needs nothing from outside, and may run nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import re


def test_the_page_loads_nothing_from_outside(serve):
    reply = serve("digits")("GET", "/")
    page = reply.body.decode()
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r"(?:src|href|action)\s*=\s*[\"']?([^\"'> ]+)", markup) == ["data:,"]
    assert "http:" not in page
    assert "https:" not in page
    assert "innerHTML" not in page  # names of classes and files are text
    assert not re.search(r"\son\w+=|\sstyle=", markup)


def test_the_policy_names_the_script_and_the_style_of_the_page(serve):
    reply = serve("digits")("GET", "/")
    page, policy = reply.body.decode(), reply.headers["Content-Security-Policy"]
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_every_id_that_the_script_uses_is_on_the_page(serve):
    page = serve("digits")("GET", "/").body.decode()
    assert set(re.findall(r'\$\("(\w+)"\)', page)) <= set(re.findall(r'id="(\w+)"', page))
    assert all(f'for="{name}"' in page for name in re.findall(r'<textarea id="(\w+)"', page))
