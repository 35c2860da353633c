"""A served run says what `xpnet predict` says, whatever else is asked at the same time."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest

from tests.harness import raises
from tests.serving.conftest import Client, digit
from xpnet.errors import CheckpointError, ConfigError
from xpnet.serving import Limits, Server, open_source
from xpnet.train import predict_run

ROUNDED = 1.5e-6  # probabilities are rounded to 6 digits: the last one may differ with the last bit
OCTETS = {"Content-Type": "application/octet-stream"}


def form(files, boundary="xx"):
    """The body and headers of a form with files."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), {
        "Content-Type": f"multipart/form-data; boundary={boundary}"
    }


def test_an_image_gets_what_xpnet_predict_says_of_its_file(serve, runs, tmp_path):
    client = serve("digits")
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(digit(i))
        (wanted,) = predict_run(runs("digits"), [str(tmp_path / f"{i}.png")], top=4)
        reply = client.image(digit(i), "?top=4")
        assert reply.status == 200
        (said,) = reply.json["predictions"]
        assert said["classes"] == wanted["classes"]
        assert said["probabilities"] == pytest.approx(wanted["probabilities"], abs=ROUNDED)
        assert (said["class"], said["probability"]) == (said["classes"][0], said["probabilities"][0])
    assert len(client.image(digit(0)).json["predictions"][0]["classes"]) == 3


def test_a_dark_image_is_as_dark_as_for_xpnet_predict(serve, runs, tmp_path):
    import PIL.Image

    pixels = np.linspace(0, 15, 64).astype(np.uint8).reshape(8, 8)  # on the scale of the digits this would be bright
    PIL.Image.fromarray(pixels).save(tmp_path / "dark.png")
    (wanted,) = predict_run(runs("digits"), [str(tmp_path / "dark.png")])
    (said,) = serve("digits").image((tmp_path / "dark.png").read_bytes()).json["predictions"]
    assert said["probabilities"] == pytest.approx(wanted["probabilities"], abs=ROUNDED)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".ppm", ".bmp", ".tiff"])
def test_photos_of_every_format_get_what_xpnet_predict_says_of_their_file(serve, runs, tmp_path, suffix):
    import PIL.Image

    pixels = np.linspace(0, 255, 40 * 61 * 3).astype(np.uint8).reshape(40, 61, 3)
    PIL.Image.fromarray(pixels).save(tmp_path / f"photo{suffix}")
    (wanted,) = predict_run(runs("photos"), [str(tmp_path / f"photo{suffix}")])
    reply = serve("photos")("POST", "/predict", (tmp_path / f"photo{suffix}").read_bytes(), OCTETS)
    (said,) = reply.json["predictions"]
    assert said["classes"] == wanted["classes"]
    assert said["probabilities"] == pytest.approx(wanted["probabilities"], abs=ROUNDED)


def test_an_image_of_several_frames_is_warned_of_as_by_xpnet_predict(serve):
    import PIL.Image

    first, file = PIL.Image.new("RGB", (20, 30), "red"), io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[PIL.Image.new("RGB", (20, 30), "green")])
    client = serve("photos")
    assert client("POST", "/predict", file.getvalue(), OCTETS).json["warnings"] == [
        "image: the first of several frames is used"
    ]
    body, headers = form([("two.gif", file.getvalue()), ("one.png", digit(0))])
    assert client("POST", "/predict", body, headers).json["warnings"] == [
        "two.gif: the first of several frames is used"
    ]


def test_several_images_are_answered_in_order_and_a_bad_one_is_named(serve):
    client = serve("digits")
    alone = [client.image(digit(i)).json["predictions"][0] for i in range(2)]
    body, headers = form([("a b.png", digit(0)), ("bad.png", b"\x89PNG no"), ("ü.png", digit(1))])
    first, bad, last = client("POST", "/predict", body, headers).json["predictions"]
    assert (first.pop("image"), last.pop("image")) == ("a b.png", "ü.png")
    assert set(bad) == {"image", "error"}
    assert bad["error"].startswith("bad.png: cannot read the image")
    for said, wanted in ((first, alone[0]), (last, alone[1])):
        assert said["classes"] == wanted["classes"]
        assert said["probabilities"] == pytest.approx(wanted["probabilities"], abs=ROUNDED)
    body, headers = form([("a.png", b"no"), ("b.png", b"no")])
    assert client("POST", "/predict", body, headers).error.startswith("a.png: ")


@pytest.mark.parametrize("kind", ["classes", "price"])
def test_rows_of_a_table_get_what_xpnet_predict_says_of_a_file(serve, runs, tmp_path, kind):
    (tmp_path / "new.csv").write_text("its colour,size\nred,0.5\n,-1\nblue,\ngreen,2e3\n")
    wanted = predict_run(runs(kind), [str(tmp_path / "new.csv")])
    cells = (("red", 0.5), (None, -1), ("blue", "NA"), ("green", "2e3"))
    objects = [{"its colour": colour, "size": size} for colour, size in cells]
    objects[1] = dict(reversed(objects[1].items()))
    lists = [[0.5, "red"], [-1, None], [None, "blue"], [2000, "green"]]
    client = serve(kind)
    for rows in (objects, {"rows": objects}, lists):
        reply = client.rows(rows).json
        for said, want in zip(reply["predictions"], wanted, strict=True):
            if kind == "price":
                assert said["values"] == pytest.approx(want["values"], rel=1e-6)
            else:
                assert said["classes"] == want["classes"]
                assert said["probabilities"] == pytest.approx(want["probabilities"], abs=ROUNDED)
        assert ["'green'" in line for line in reply["warnings"]] == [True]


def test_columns_that_are_missing_or_unknown_are_named_as_by_xpnet_predict(serve, caplog):
    client = serve("classes")
    assert "expected a column 'its colour', as in training" in client.rows([{"size": 1, "colour": "red"}]).error
    reply = client.rows([{"size": 1, "its colour": "red", "weight": 3}])
    assert reply.status == 200
    (line,) = reply.json["warnings"]
    assert "weight" in line
    assert caplog.records == []  # it is told to the client


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"size": 1, "its colour": "red"}, {"size": 1}], "row 2, column 'its colour'"),
        ([{"size": [1], "its colour": "red"}], "row 1, column 'size'"),
        ([[1, "red"], [1]], "row 2, cells 1"),
        ([[1, "red"], {"size": 1}], "row 2"),
        ([{"size": "tall", "its colour": "red"}], "size"),
        ([1, 2], "objects by the name of a column, or lists"),
        ([], "an empty list"),
        ({"row": []}, "got the name 'row'"),
        ("x", "got a text"),
        ([{}], "columns"),
    ],
    ids=range(10),
)
def test_wrong_rows_of_a_table_get_one_line(serve, rows, words):
    reply = serve("classes").rows(rows)
    assert (reply.status, words in reply.error) == (400, True), reply.body


@pytest.mark.parametrize("kind", ["rows", "sequences", "labels", "copies"])
def test_arrays_get_what_the_trainer_says(serve, runs, kind):
    from xpnet.train import open_run

    trainer, meta = open_run(runs(kind))
    x = np.random.default_rng(1).normal(size=(3, *meta["shape"])).astype(np.float32)
    assert trainer.task is not None
    wanted = trainer.task.predictions(trainer.predict(x), meta["classes"], x, 2)
    said = serve(kind).rows({"rows": x.tolist()}, "?top=2" if kind in ("rows", "sequences") else "").json["predictions"]
    for got, want in zip(said, wanted, strict=True):
        assert set(want) == set(got) - {"class", "probability"}
        for key, value in want.items():
            assert got[key] == (pytest.approx(value, abs=2e-6, rel=1e-5) if key in ("probabilities", "mse") else value)


def test_images_may_be_rows_of_pixels(serve):
    client = serve("digits")
    pixels = np.zeros((8, 8), int)
    pixels[1:7, 3:5] = 255
    said = client.rows({"rows": [pixels.tolist()]}).json["predictions"]
    assert said == client.rows({"rows": [pixels[..., None].tolist()]}).json["predictions"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1, 2, 3]], "shape (3,)"),
        ([[1, 2, 3, 4, "5"]], "nested lists of numbers, each row of shape (5,), got row 1, value [1, 2, 3, 4, '5']"),
        ([[1, 2, 3, 4, 5], [1]], "nested lists of numbers, each row of shape (5,), got row 2, shape (1,)"),
        ([[1, 2, 3, 4, 1e39]], "finite numbers of 32 bits, got row 1"),
        ([1, 2, 3, 4, 5], "shape ()"),
        ([[1, 2, 3, 4, 10**400]], "finite numbers of 32 bits, got row 1"),
    ],
    ids=range(6),
)
def test_wrong_arrays_get_one_line(serve, rows, words):
    reply = serve("rows").rows(rows)
    assert (reply.status, words in reply.error) == (400, True), reply.body


def test_rows_that_are_objects_get_told_that_the_run_is_of_images(serve):
    reply = serve("digits").rows([{"area": 3}])
    assert reply.status == 400
    assert reply.error == (
        "rows: expected nested lists of numbers, each row of shape (8, 8, 1), got row 1, value an object; "
        "this run is of images: send the file of an image, or its pixels as such lists"
    )


def test_top_is_checked(serve):
    client = serve("digits")
    for query in ("?top=0", "?top=11", "?top=-1", "?top=x", "?top=", "?k=3", "?top=1&k=2", "?&", "?top=1&top=2"):
        assert client.image(digit(0), query).status == 400, query
    assert "1 <= top <= 10" in client.image(digit(0), "?top=11").error


def test_the_state_of_the_server_says_what_it_takes(serve):
    found = serve("classes")("GET", "/health").json
    assert (found["status"], found["model"], found["takes"], found["classes"]) == ("ok", "mlp", "table", ["new", "old"])
    assert [column["name"] for column in found["columns"]] == ["size", "its colour"]
    assert found["columns"][1]["values"] == ["blue", "red"]


def test_a_thousand_requests_of_sixteen_clients_are_all_answered_rightly(serve):
    client = serve("digits")
    images = [digit(i) for i in range(24)]
    wanted = [client.image(image).json["predictions"][0] for image in images]
    wrong, lost, batches = [], [], client.server.batches

    def ask(number: int) -> None:
        mine = Client(client.server)
        for i in range(number, 1000, 16):
            try:
                if i % 40 == 7:  # bad ones between them
                    reply = mine.image(b"\x89PNG" + bytes(i))
                    wrong.append(i) if reply.status != 400 else None
                    continue
                (said,) = mine.image(images[i % 24]).json["predictions"]
                want = wanted[i % 24]
                same = said["classes"] == want["classes"]
                if not same or said["probabilities"] != pytest.approx(want["probabilities"], abs=ROUNDED):
                    wrong.append(i)
            except Exception as error:
                lost.append((i, repr(error)))
        mine.connection.close()

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, lost) == ([], [])
    assert client.server.batches - batches < 975  # requests were predicted together


def test_a_server_that_closes_answers_what_is_under_way_and_ends_idle_connections(serve):
    client = serve("digits")
    idle = Client(client.server)
    assert idle("GET", "/health").status == 200
    scores, began = client.server._service.source.scores, threading.Event()

    def slowly(xs):
        began.set()
        time.sleep(0.3)
        return scores(xs)

    client.server._service.batcher._predict = slowly
    replies = []
    thread = threading.Thread(target=lambda: replies.append(client.image(digit(0))))
    thread.start()
    began.wait(10)
    assert client.server.close()
    thread.join()
    assert [reply.status for reply in replies] == [200]
    assert replies[0].headers["Connection"] == "close"
    with pytest.raises(OSError):
        Client(client.server)("GET", "/health")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")],
        *[(host, False) for host in ("0.0.0.0", "::", "192.0.2.1", "", "no.such.host.invalid")],
    ],
)
def test_only_addresses_of_this_machine_are_local(host, local):
    from xpnet.serving.listening import _is_loopback

    assert _is_loopback(host) == local


def test_what_cannot_be_served_is_one_line(runs, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        open_source(tmp_path / "none")
    source = open_source(runs("rows"))
    with (
        Server(source, port=0) as server,
        raises(ConfigError, "serve", f"cannot listen on 127.0.0.1 port {server.port}"),
    ):
        Server(source, port=server.port)
    for arguments in ({"port": -1}, {"port": 70000}, {"host": 3}, {"source": "run"}, {"limits": 3}, {"say": 3}):
        with pytest.raises(ConfigError):
            Server(**{"source": source, "port": 0, **arguments})
    for name in ("max_bytes", "images", "rows", "timeout", "idle", "connections", "queue", "batch"):
        with raises(ConfigError, "Limits", name, "0"):
            Limits(**{name: 0})
    with raises(ConfigError, "serve", "no.such.host.invalid"):
        Server(source, host="no.such.host.invalid", port=0)
