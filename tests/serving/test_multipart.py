"""Forms with files."""

from __future__ import annotations

from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart

import pytest

from xpnet.serving.messages import HttpError
from xpnet.serving.multipart import read_multipart

PART = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'
KIND = "multipart/form-data; boundary=x"


def test_files_are_those_that_the_standard_library_wrote():
    files = [("a.png", b"\r\n--not the mark\r\n\r\n"), ("b c.png", bytes(range(256)) * 3), ('ü;".png', b"")]
    form = MIMEMultipart("form-data", boundary="a 'b")
    for name, content in files:
        part = MIMEApplication(content, _encoder=lambda message: None)
        part.add_header("Content-Disposition", "form-data", name="f", filename=name)
        form.attach(part)
    body = b""
    for part, (_, content) in zip(form.get_payload(), files, strict=True):
        disposition = part["Content-Disposition"].encode()
        body += (
            b"--a 'b\r\nContent-Type: image/png\r\nContent-Disposition: "
            + disposition
            + b"\r\n\r\n"
            + content
            + b"\r\n"
        )
    found = read_multipart(body + b"--a 'b--\r\n", 'multipart/form-data; boundary="a \'b"', 3)
    assert [part.content for part in found] == [content for _, content in files]
    assert [part.name for part in found][:2] == ["a.png", "b c.png"]


def test_browsers_write_names_in_utf8():
    body = (
        'ignored\r\n--x \r\ncontent-disposition: form-data; name="f"; filename="größe 1.png"\r\n\r\nA\r\n--x--'.encode()
    )
    assert read_multipart(body, KIND, 1) == [("größe 1.png", b"A")]


def test_names_in_the_form_of_rfc_2231_are_read_too():
    body = b"--x\r\nContent-Disposition: form-data; name=f; filename*=UTF-8''%e2%82%ac%201.png\r\n\r\nA\r\n--x--"
    assert read_multipart(body, KIND, 1) == [("€ 1.png", b"A")]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (PART + b"A\r\n--x--", "multipart/form-data", "with a boundary"),
        (PART + b"A\r\n--x--", "multipart/form-data; boundary=" + "y" * 71, "with a boundary"),
        (PART + b"A\r\n--x--", "multipart/form-data; boundary=y", "the boundary that Content-Type names"),
        (b"", KIND, "the boundary that Content-Type names"),
        (b"--x--", KIND, "files, got none"),
        (PART + b"A", KIND, "at its end"),
        (PART + b"A\r\n--x", KIND, "at its end"),
        (b"--xy\r\n\r\n\r\nA\r\n--x--", KIND, "parts with a header"),
        (b"--x\r\nA\r\n--x--", KIND, "parts with a header"),
        (b"--x\r\nno colon\r\n\r\nA\r\n--x--", KIND, "name: value"),
        (b"--x\r\nX: y\r\n\r\nA\r\n--x--", KIND, "Content-Disposition"),
        (b"--x\r\nContent-Disposition: form-data; name=top\r\n\r\n5\r\n--x--", KIND, "files only"),
        (
            PART.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n") + b"A\r\n--x--",
            KIND,
            "not encoded",
        ),
        (b"--x\r\nX: " + b"y" * 5000 + b"\r\n\r\nA\r\n--x--", KIND, "at most 4096 bytes"),
    ],
    ids=range(14),
)
def test_other_bodies_are_refused(body, kind, words):
    with pytest.raises(HttpError, match=words) as error:
        read_multipart(body, kind, 4)
    assert error.value.status == 400


def test_more_files_than_may_be_are_refused_before_they_are_split():
    with pytest.raises(HttpError) as error:
        read_multipart((PART + b"A\r\n") * 1000 + b"--x--", KIND, 4)
    assert error.value.status == 413
