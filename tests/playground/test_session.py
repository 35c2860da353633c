"""What a page sees while it trains, pauses, leaves and comes back."""

from __future__ import annotations

import time

from tests.playground.conftest import Page


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_xor_is_trained_while_the_page_watches(page):
    assert page.do("open", settings={"data": "xor", "noise": 0.2}) == (200, {})
    network = page.event("network")
    assert network["sizes"] == [2, 4, 2, 2]
    assert len(network["points"]["train"]) == 200
    first = page.event("frame")
    assert (first["step"], first["playing"], first["norms"]) == (0, False, [])
    page.do("rate", value=1e6)
    page.do("play")
    page.event("frame", lambda frame: frame["test"]["accuracy"] == 1)
    page.do("pause")
    paused = page.event("frame", lambda frame: not frame["playing"])
    page.do("step")
    assert page.event("frame", lambda frame: frame["step"] != paused["step"])["step"] == paused["step"] + 1


def test_a_link_with_steps_is_trained_so_far_and_a_reset_gives_the_same(page):
    page.do("open", settings={"seed": 5}, steps=120)
    assert page.event("network")["steps"] == 120  # it is trained so far
    first = page.event("frame", lambda frame: frame["step"] == 120 and not frame["playing"])
    page.do("reset")
    assert page.event("network")["steps"] == 0
    assert page.event("frame", lambda frame: frame["step"] == 0)
    page.do("open", settings={"seed": 5}, steps=120)
    assert page.event("frame", lambda frame: frame["step"] == 120 and not frame["playing"]) == first
    assert "islice(batches(), 120)" in page.do("code")[1]["code"]


def test_a_learning_rate_is_changed_while_it_trains_and_a_reset_keeps_it(page):
    page.do("open")
    page.do("play")
    page.event("frame", lambda frame: frame["step"] > 3)
    status, reply = page.do("lr", value=0.3)
    changed = reply["settings"]
    assert (status, changed["lr"], [rate for _, rate in changed["earlier_rates"]]) == (200, 0.3, [0.1])
    assert changed["earlier_rates"][0][0] >= 4
    page.event("frame", lambda frame: frame["step"] > changed["earlier_rates"][0][0])
    page.do("reset")
    found = page.event("network")["settings"]
    assert (found["lr"], found["earlier_rates"]) == (0.3, [])


def test_a_slow_rate_is_kept(page):
    page.do("open")
    page.do("rate", value=20)
    page.do("play")
    page.event("frame", lambda frame: frame["step"] >= 1)
    start = time.monotonic()
    page.event("frame", lambda frame: frame["step"] >= 11)
    assert time.monotonic() - start > 0.4


def test_training_stops_when_nobody_looks_and_goes_on_for_who_comes_back(server, page):
    page.do("open")
    page.do("play")
    page.event("frame", lambda frame: frame["step"] > 0)
    session = server.playground._sessions[page.session]
    page.close()
    wait_for(lambda: not session.is_watched)
    step = session._stage.step
    time.sleep(0.3)
    assert session._stage.step == step
    again = Page(server, page.session)
    assert again.session == page.session
    assert again.event("network")["steps"] == step
    assert again.event("frame")["step"] == step
    assert again.event("frame", lambda frame: frame["step"] > step)
    again.close()


def test_a_second_connection_of_a_session_takes_over(server, page):
    page.do("open")
    other = Page(server, page.session)
    other.event("frame")
    try:
        while True:
            page.next()
    except EOFError:
        pass
    assert other.do("step") == (200, {})
    assert other.event("frame", lambda frame: frame["step"])["step"] == 1
    other.close()


def test_two_pages_train_apart(server, page):
    other = Page(server)
    for each, seed in ((page, 1), (other, 2)):
        each.do("open", settings={"seed": seed}, steps=40)
    frames = [each.event("frame", lambda frame: frame["step"] == 40) for each in (page, other)]
    assert frames[0]["weights"] != frames[1]["weights"]
    other.close()


def test_a_network_that_diverges_is_one_line_and_a_reset_mends_it(page):
    settings = {"lr": 10, "activation": "none", "layers": [16, 16, 16], "loss": "squared error"}
    page.do("open", settings=settings, steps=5000)
    assert "choose a smaller rate" in page.event("trouble")["error"]
    assert page.do("open", settings={})[0] == 200
    assert page.event("frame", lambda frame: frame["step"] == 0)


def test_reconnects_leave_nothing_behind(server):
    import threading

    threads = threading.active_count()
    for _ in range(150):
        Page(server).close()
    wait_for(lambda: server.playground.watched == 0 and threading.active_count() <= threads + 2)
    assert server.playground.sessions <= 8 + 16
    Page(server).close()
    assert server.playground.sessions <= 10
