"""Equations of docstrings: from ASCII to LaTeX, by rules written by hand, and every one of the package."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ci.site.docstrings import DocstringError, Place, clean, equations_of, kind_of, to_rest
from ci.site.equations import EquationError
from ci.site.latex import to_latex

pytest.importorskip("docutils")

HERE = Place(Path(__file__), "here")


def latex(text: str) -> str:
    """LaTeX without what makes parentheses as large as what they enclose."""
    return re.sub(r"\\left(?!arrow)|\\right(?!arrow)", "", to_latex(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y = max(x, 0)", r"y = \max(x, 0)"),
        ("y = a / b / c", r"y = \frac{a}{b\,c}"),
        ("y = a * b / c", r"y = \frac{a\,b}{c}"),
        ("y = (a + b) / (2 pi v)", r"y = \frac{a + b}{2\,\pi\,v}"),
        ("y = a - b - c", r"y = a - b - c"),
        ("y = a^b^c", r"y = a^{b^{c}}"),
        ("y = g**2", r"y = g^{2}"),
        ("y = -x^2", r"y = -x^{2}"),
        ("y_k = exp(x_k)", r"y_{k} = \exp(x_{k})"),
        ("y = lr * new_mean", r"y = \mathrm{lr} \cdot \mathrm{new\_mean}"),
        ("y = 1 - beta1**t", r"y = 1 - {\beta_{1}}^{t}"),
        ("y = 1e-6 + eps", r"y = 10^{-6} + \varepsilon"),
        ("y = sqrt(x + 1)", r"y = \sqrt{x + 1}"),
        ("y = floor(t / 2)", r"y = \lfloor \frac{t}{2}\rfloor"),
        ("y = ||x|| + |x|", r"y = \|x\| + |x|"),
        ("y = log x", r"y = \log(x)"),
        ("y = f(x) + f (x)", r"y = f(x) + f\,(x)"),
        ("y[n,i] = x[n, i*SH + p]", r"y_{n, i} = x_{n, i \cdot \mathrm{SH} + p}"),
        ("y = x[a / b]", r"y = x_{a / b}"),
        ("y = sum over p,q of x[p] * x[q] / n", r"y = \frac{\sum_{p, q} x_{p}\,x_{q}}{n}"),
        ("y = sum over j != k of x[j] + 1", r"y = \sum_{j \ne k} x_{j} + 1"),
        ("y = mean over n of x[n] - 1", r"y = \underset{n}{\mathrm{mean}}\, (x_{n} - 1)"),
        ("y = max over j of x[j] - 1", r"y = \max_{j} x_{j} - 1"),
        ("y = x where x > 0, else a * x",
         r"y = \begin{cases}x & \text{if } x > 0 \\ a\,x & \text{otherwise}\end{cases}"),
        ("w += d", r"w \leftarrow w + d"),
        ("m <- 2 * m,  d = 0 .. D", r"m \leftarrow 2\,m,\quad d = 0, \ldots, D"),
        ("z = v,  u in (0, 1]", r"z = v,\quad u \in (0, 1]"),
        ("a ~ dL/da", r"a \approx \frac{\mathrm{d}L}{\mathrm{d}a}"),
        ("a = 1\nb = 2", r"\begin{aligned}a &= 1 \\ b &= 2\end{aligned}"),
    ],
)  # fmt: skip
def test_an_equation_is_written_as_mathematics(text, expected):
    assert latex(text) == expected


def test_the_equation_of_a_convolution_is_whole():
    text = "y[n,i,j,f] = act(b[f] + sum over p,q,c of w[f,p,q,c] * x[n, i*SH + p*DH, j*SW + q*DW, c])"
    assert latex(text) == (
        r"y_{n, i, j, f} = \mathrm{act}(b_{f} + \sum_{p, q, c} w_{f, p, q, c}\,"
        r"x_{n, i \cdot \mathrm{SH} + p \cdot \mathrm{DH}, j \cdot \mathrm{SW} + q \cdot \mathrm{DW}, c})"
    )


@pytest.mark.parametrize(
    "text", ["y = x +", "y = (x", "y = x, the input", "y = the input", "y = x.sum()", "y = x)", "y = x where x > 0", ""]
    [:-1],
)  # fmt: skip
def test_what_is_no_equation_is_an_error(text):
    with pytest.raises(EquationError):
        to_latex(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("y = max(x, 0)", "equation"),
        ("y[..., m] = w[m,d] * x[..., d]", "equation"),
        ("model = nn.Linear(3, 4)", "python"),
        ("groups = by_path(parameters, body=1e-4)", "python"),
        ("layer = Sequential(Linear(784, 128), ReLU())", "python"),
        ("for x in batches:\n    y = score(x)", "python"),
        ("xpnet serve RUN --port 8000", "console"),
    ],
)
def test_a_block_is_an_equation_python_or_a_console(text, kind):
    assert kind_of(text, HERE) == kind


@pytest.mark.parametrize("text", ["y = f(x)) + 1", "a + b", "some words"])
def test_a_block_that_is_neither_is_an_error_that_names_file_and_line(text, tmp_path):
    file = tmp_path / "ops.py"
    file.write_text(f'def f(x):\n    """Compute.\n\n        {text}\n    """\n')
    docstring = clean(ast.get_docstring(ast.parse(file.read_text()).body[0], clean=False))
    with pytest.raises(DocstringError, match=r"ops\.py:4: docstring of f: "):
        to_rest(docstring, Place(file, "f"), lambda name: False)


def test_text_behind_two_colons_is_shown_as_it_is():
    lines = to_rest("Files::\n\n    RUN/a.json  one file\n", HERE, lambda name: False)
    assert lines[0] == "Files:"
    assert lines[2:5] == [".. code-block:: text", "", "   RUN/a.json  one file"]


def test_every_equation_of_a_public_docstring_becomes_mathml():
    latex2mathml = pytest.importorskip("docutils.utils.math.latex2mathml")
    from ci.site.public import ROOT, Public, is_constant

    public, count = Public(), 0
    for entry in public.entries:
        for value in (entry.value, *(member for _, member in public.members(entry.value))):
            text = (getattr(value, "fget", None) or getattr(value, "__func__", None) or value).__doc__
            if is_constant(value):
                continue
            for block in equations_of(clean(text), Place(ROOT / entry.file, entry.name)):
                count += 1
                assert "<math" in latex2mathml.tex2mathml(to_latex(block), as_block=True), block
    assert count > 40
