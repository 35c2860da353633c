"""The page in a real browser, where one is installed: chromium, driven by playwright."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.playground import chromium
from xpnet.playground import Server
from xpnet.playground.lessons import LESSONS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if chromium.find() is None:
    pytest.skip("no chromium is installed", allow_module_level=True)
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
SECONDS = 90_000  # in which anything must happen


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        found = chromium.launch(driver)
        yield found
        found.close()


class Visit:
    """Opens the page; refused says whether the server may refuse something."""

    def __init__(self, start: Callable[..., Any]) -> None:
        self.start, self.refused = start, False

    def __call__(self, state: str = "", **options: Any) -> Any:
        return self.start(state, **options)


@pytest.fixture
def visit(browser: Any, server: Server) -> Iterator[Visit]:
    """Open the page, with a state after its #; at the end nothing may have been written to the console."""
    contexts, errors = [], []

    def start(state: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
        context.set_default_timeout(SECONDS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.address + (f"#{state}" if state else ""))
        page.wait_for_selector("#columns .node, #images .map")
        return page

    found = Visit(start)
    yield found
    for context in contexts:
        context.close()
    if found.refused:  # the browser reports what was refused
        errors = [error for error in errors if "status of 400" not in error]
    assert not errors


def text(page: Any, what: str) -> str:
    return page.locator(what).inner_text()


def until(page: Any, condition: str) -> None:
    """Wait until an expression is true; the page's policy lets nothing wait inside it."""
    end = time.monotonic() + SECONDS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(30)


def steps_are(wanted: str) -> str:
    return f"Number(document.getElementById('steps').textContent.replace(',', '')) {wanted}"


def test_xor_is_trained_to_the_last_point_and_the_code_is_shown(visit):
    page = visit("data=xor&noise=0.2")
    page.select_option("#rate", "1000000")
    page.click("#play")
    until(page, "document.getElementById('test-accuracy').textContent === '100.0 %'")
    page.click("#play")
    until(page, "document.getElementById('play').textContent === 'Play'")
    page.click("#show-code")
    until(page, "document.getElementById('code').open")
    code = text(page, "#code-text")
    steps = text(page, "#steps").replace(",", "")
    assert f"islice(batches(), {steps})" in code
    assert "data.xor(400, noise=0.2" in code
    page.keyboard.press("Escape")
    assert not page.locator("#code").is_visible()


def test_a_link_reproduces_a_state(visit):
    page = visit("data=moons&layers=5,3&activation=relu&steps=150")
    until(page, steps_are("=== 150") + " && document.getElementById('play').textContent === 'Play'")
    assert "steps=150" in page.url
    again = visit(page.url.partition("#")[2])
    until(again, steps_are("=== 150"))
    for what in ("#train-loss", "#test-loss", "#train-accuracy"):
        assert text(again, what) == text(page, what)
    assert again.locator("#columns .column").count() == 4


def test_another_learning_rate_goes_on_and_the_link_repeats_it(visit):
    page = visit("steps=40")
    until(page, steps_are("=== 40"))
    page.select_option("#set-lr", label="0.3")
    until(page, "location.hash.includes('lr=0.3') && location.hash.includes('earlier_rates=40_0.1')")
    for _ in range(3):
        page.click("#step")
    until(page, steps_are("=== 43"))
    page.click("#copy-link")
    again = visit(page.url.partition("#")[2])
    until(again, steps_are("=== 43"))
    assert text(again, "#train-loss") == text(page, "#train-loss")
    assert again.locator("#set-lr").input_value() == "0.3"


def test_layers_neurons_and_features_are_added_and_removed(visit):
    page = visit()
    assert text(page, "#parameters") == "28 parameters"  # (2+1)*4 + (4+1)*2 + (2+1)*2
    page.click("#deeper")
    until(page, "document.querySelectorAll('#columns .column').length === 5")
    page.click("#more-1")
    until(page, "document.querySelectorAll('#columns .column:nth-child(2) .node').length === 5")
    page.click("[id='feature-sin x']")
    until(page, "document.querySelectorAll('.column:first-child .node:not(.off)').length === 3")
    for _ in range(3):
        count = page.locator("#columns .column").count()
        page.click("#fewer")
        until(page, f"document.querySelectorAll('#columns .column').length === {count - 1}")
    assert page.locator("#fewer").is_disabled()
    assert "layers=&" in page.url + "&"


def test_it_is_used_by_keys_alone(visit):
    page = visit()
    page.locator("body").press("s")
    until(page, steps_are("=== 1"))
    page.locator("body").press(" ")
    until(page, steps_are("> 5"))
    page.locator("body").press(" ")
    until(page, "document.getElementById('play').textContent === 'Play'")
    page.focus("#node-1-2")
    assert text(page, "#output-title") == "Layer 1, neuron 3"
    assert text(page, "#detail").startswith("layer 1, neuron 3: weights x ")
    page.locator("body").press("r")
    until(page, steps_are("=== 0"))
    names = "[...document.querySelectorAll('button, input, select, canvas[role]')].filter((n) => n.checkVisibility()"
    names += " && !(n.getAttribute('aria-label') || n.textContent.trim() || n.labels?.length)).map((n) => n.outerHTML)"
    assert page.evaluate(names) == []


def test_the_network_is_one_stop_of_tab_and_arrow_keys_go_through_it(visit):
    page = visit("layers=3,2")
    focused = "document.activeElement.id"
    for key, name in (
        ("Tab", "feature-x"),
        ("ArrowDown", "feature-y"),
        ("ArrowRight", "node-1-1"),
        ("ArrowRight", "node-2-1"),
        ("ArrowUp", "node-2-0"),
        ("ArrowUp", "node-2-0"),
    ):
        if key == "Tab":
            page.focus("#deeper")
        page.keyboard.press(key)
        assert page.evaluate(focused) == name
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#columns')") is None
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(focused) == "node-2-0"


def test_screen_readers_are_told_little_while_it_trains(visit):
    page = visit()
    page.focus("#node-1-0")
    until(page, "document.getElementById('announce').textContent.startsWith('layer 1, neuron 1: weights x ')")
    page.evaluate("""() => {
        window.told = 0;
        for (const node of document.querySelectorAll("[aria-live], [role=alert], [role=status]"))
            new MutationObserver(() => window.told++).observe(node, {childList: true, subtree: true});
    }""")
    page.keyboard.press("s")
    page.click("#play")
    until(page, steps_are("> 60"))
    page.click("#play")
    until(page, "document.getElementById('play').textContent === 'Play'")
    assert page.evaluate("window.told") <= 4  # that it trains, that it pauses


def test_points_are_painted_and_dropped_as_a_file(visit, tmp_path):
    visit.refused = True
    page = visit("data=points&points=-1_-1_0,1_1_1")
    page.click("#brushes .brush:nth-child(2)")
    box = page.locator("#points").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    until(page, "location.hash.includes('2_2_1')")
    page.focus("#points")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    until(page, "location.hash.includes('-0.25_0_1')")
    (tmp_path / "three.csv").write_text("x,y,kind\n1,2,a\n3,4,b\n5,9,b\n")
    page.set_input_files("#csv", str(tmp_path / "three.csv"))
    until(page, "location.hash.split('points=')[1]?.split('%2C').length === 3")
    until(page, "document.getElementById('note').textContent === 'classes: a is 0, b is 1'")
    page.click("#clear-points")
    for x in (0.25, 0.75):  # one point alone is not learned from, and brings no other back
        page.mouse.click(box["x"] + x * box["width"], box["y"] + 0.5 * box["height"])
    until(page, "location.hash.includes('points=-2_0_1%2C2_0_1')")
    (tmp_path / "bad.csv").write_text("x,y,kind\n1,,a\n")
    page.set_input_files("#csv", str(tmp_path / "bad.csv"))
    until(page, "document.getElementById('trouble').textContent.includes('rows of x, y, class')")


def test_a_wrong_link_is_told_in_one_line(visit):
    visit.refused = True
    page = visit()
    page.evaluate("location.hash = '#data=xro'")
    until(page, "document.getElementById('trouble').textContent.includes(\"did you mean 'xor'\")")
    page.evaluate("location.hash = '#data=xor'")
    until(page, "document.getElementById('trouble').hidden && document.getElementById('set-data').value === 'xor'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(visit, scheme):
    page = visit("layers=16,16,16&step=sigmoid", viewport=PHONE, color_scheme=scheme, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(16, 20, 26)") == (scheme == "dark")


def test_every_lesson_of_the_course_opens(visit):
    page = visit()
    page.click("#to-course")
    titles = set()
    for number in range(1, 14):
        page.click(f"#course-steps button:nth-child({number})")
        until(page, f"document.getElementById('course-title').textContent.startsWith('{number}. ')")
        until(page, f"location.hash === '#step={LESSONS[number - 1].name}'")
        until(page, "[...document.querySelectorAll('#columns .node, #images .map')].some((n) => n.checkVisibility())")
        titles.add(text(page, "#course-title"))
        page.locator(LESSONS[number - 1].part).first.wait_for(state="attached")
        page.click("#course-show")
        until(page, f"document.activeElement === document.querySelector('{LESSONS[number - 1].part}')")
    assert len(titles) == 13
    assert page.locator("#course-next").is_disabled()
    page.click("#to-course")
    assert not page.locator("#course").is_visible()


@pytest.mark.parametrize(
    ("viewport", "step"), [({"width": 1280, "height": 800}, "sigmoid"), (PHONE, "xor")], ids=["desk", "phone"]
)
def test_show_brings_the_part_that_a_lesson_is_about_into_view_below_what_to_do(visit, viewport, step):
    page = visit(f"step={step}", viewport=viewport)
    part = page.locator(next(lesson.part for lesson in LESSONS if lesson.name == step))
    until(page, "document.getElementById('course-look').textContent !== ''")
    before = part.bounding_box()
    assert before["y"] + before["height"] > viewport["height"]  # it is below what is seen
    page.click("#course-show")
    task, shown = page.locator("#course-task").bounding_box(), part.bounding_box()
    assert 0 <= task["y"] <= task["y"] + task["height"] <= shown["y"]
    assert shown["y"] + shown["height"] <= viewport["height"]


def test_the_activation_is_disabled_where_no_hidden_layer_has_one(visit):
    page = visit("layers=")
    assert page.locator("#set-activation").is_disabled()
    assert "there is none" in page.locator("label:has(#set-activation)").get_attribute("title")
    page.click("#deeper")
    until(page, "!document.getElementById('set-activation').disabled")


def test_a_link_to_a_step_of_the_course_prepares_its_setting_and_keeps_what_is_changed(visit):
    page = visit("step=linear-layers")
    assert text(page, "#course-title") == "6. Linear layers collapse"
    assert page.locator("#columns .column").count() == 5
    page.click("#fewer")
    until(page, "location.hash === '#step=linear-layers&layers=6%2C6'")
    again = visit(page.url.partition("#")[2])
    assert again.locator("#columns .column").count() == 4
    assert again.locator("#set-activation").input_value() == "none"


def test_a_step_that_the_course_does_not_have_is_told_and_the_page_works(visit):
    page = visit("step=xro")
    until(page, "document.getElementById('trouble').textContent.includes('many-perceptrons')")
    assert not page.locator("#course").is_visible()
    page.click("#step")
    until(page, steps_are("=== 1"))


def draw(page: Any, points: list[tuple[float, float]]) -> None:
    """Draw a line through points of the pad, 0 to 1."""
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def test_a_drawn_three_is_told_and_a_number_of_it_is_written_out(visit):
    page = visit("kind=images&flip=yes")  # it trains at once
    until(page, steps_are(">= 400") + " || document.getElementById('play').textContent === 'Play'")
    upper = [(0.3, 0.22), (0.45, 0.14), (0.62, 0.2), (0.66, 0.33), (0.55, 0.45), (0.45, 0.48)]
    draw(page, [*upper, (0.58, 0.52), (0.68, 0.64), (0.62, 0.8), (0.45, 0.86), (0.28, 0.78)])
    until(page, "document.getElementById('told').textContent === 'It is a 3.'")
    page.locator(".map[title='conv1, map 2'] canvas").click(position={"x": 24, "y": 24})
    until(page, "document.querySelectorAll('#written td').length === 75")
    numbers = [float(each.replace("\u2212", "-")) for each in page.locator("#written td").all_inner_texts()]
    window, kernel, products = numbers[:25], numbers[25:50], numbers[50:]
    total = float(text(page, "#written .total").removeprefix("= ").replace("\u2212", "-"))
    bias = float(text(page, "#written .formula").rpartition("bias ")[2].replace("\u2212", "-"))
    assert sum(x * w for x, w in zip(window, kernel, strict=True)) == pytest.approx(sum(products), abs=0.2)
    assert sum(products) + bias == pytest.approx(total, abs=0.15)
    page.locator(".map[title='conv1, map 2']").press("ArrowRight")
    until(page, "document.querySelector('#written h3').textContent.includes('column 4')")
    page.click("#clear-pad")
    until(page, "document.getElementById('told').textContent === 'Draw a digit.'")
