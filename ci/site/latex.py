"""Equations, written: from the tree of equations.py to LaTeX, of the few commands that mathml.py turns into MathML."""

from __future__ import annotations

import re

from ci.site.equations import (
    GREEK,
    Binary,
    Bracket,
    Call,
    Cases,
    Chain,
    Index,
    Interval,
    Item,
    Juxtaposed,
    Name,
    Number,
    Reduction,
    Symbol,
    Unary,
    parse,
)

__all__ = ["to_latex"]

FUNCTIONS = {"exp", "log", "cos", "sin", "tanh", "max", "min"}  # that LaTeX has commands for
RELATIONS = {"=": "=", "<-": r"\leftarrow", "~": r"\approx", "<": "<", "<=": r"\le", ">": ">", ">=": r"\ge",
             "!=": r"\ne", "in": r"\in"}  # fmt: skip
BRACKETS = {"()": ("(", ")"), "[]": ("[", "]"), "|": (r"|", r"|"), "||": (r"\|", r"\|")}


def to_latex(text: str) -> str:
    """Turn a block of lines into LaTeX; several lines are aligned at their first relation.

    Raises:
        EquationError: it is no equation.
    """
    lines = parse(text)
    if len(lines) == 1:
        return _line(lines[0])
    return r"\begin{aligned}" + r" \\ ".join(_line(line, "&") for line in lines) + r"\end{aligned}"


def _line(clauses: list[Item], mark: str = "") -> str:
    return r",\quad ".join(_chain(clause, "" if i else mark) for i, clause in enumerate(clauses))


def _chain(item: Item, mark: str = "") -> str:
    if not isinstance(item, Chain):
        return _write(item)
    left = _write(item.values[0])
    parts = [left]
    for relation, value in zip(item.relations, item.values[1:], strict=True):
        right = _write(value)
        if relation == "+=":  # w += d is w <- w + d
            relation, right = "<-", f"{left} + {right}"
        parts += [f"{mark}{RELATIONS[relation]}", right]
        mark = ""
    return " ".join(parts)


def _write(item: Item, small: bool = False) -> str:
    """One item; small: in an index or exponent, where no fraction is stacked."""
    match item:
        case Number(text):
            return _number(text)
        case Symbol():
            return r"\ldots"
        case Name(text):
            return _name(text)
        case Unary(sign, operand):
            return sign + _write(operand, small)
        case Binary("^", base, exponent):
            return _power(base, exponent, small)
        case Binary("/") if not small:
            return _fraction(item)
        case Binary("..", first, last):
            return rf"{_write(first, small)}, \ldots, {_write(last, small)}"
        case Binary("*" | "@", left, right):
            return _write(left, small) + _between(left, right) + _write(right, small)
        case Binary(sign, left, right):
            return f"{_write(left, small)} {sign} {_write(right, small)}"
        case Juxtaposed(factors):
            return r"\,".join(_write(factor, small) for factor in factors)
        case Bracket(pair, items):
            return _bracketed(BRACKETS[pair], ", ".join(_write(i, small) for i in items))
        case Interval(opening, low, high, closing):
            return rf"{opening}{_write(low)}, {_write(high)}{closing}"
        case Call(function, arguments):
            return _call(function, arguments, small)
        case Index(array, indices):
            return rf"{_base(array, small)}_{{{', '.join(_write(i, True) for i in indices)}}}"
        case Reduction(kind, over, body):
            return _reduction(kind, ", ".join(_write(o, True) for o in over), body, small)
        case Cases():
            return _cases(item)
        case Chain():
            return _chain(item)
    raise AssertionError(item)


def _number(text: str) -> str:
    digits, _, exponent = text.partition("e")
    return rf"{digits} \times 10^{{{int(exponent)}}}" if exponent and digits != "1" else (
        rf"10^{{{int(exponent)}}}" if exponent else digits)  # fmt: skip


def _name(text: str) -> str:
    base, mark, index = text.partition("_")
    if mark and "_" not in index and (len(base) == 1 or base in GREEK) and len(index) == 1:  # y_k
        return rf"{_name(base)}_{{{index}}}"
    if numbered := re.fullmatch(r"([A-Za-z]+)(\d+)", text):  # beta1
        return rf"{_name(numbered[1])}_{{{numbered[2]}}}"
    if text in GREEK:
        return r"\varepsilon" if text == "eps" else "\\" + text
    if len(text) == 1:
        return text
    if re.fullmatch(r"d[A-Za-z]", text):  # dx, dL
        return rf"\mathrm{{d}}{text[1]}"
    return rf"\mathrm{{{text}}}".replace("_", r"\_")


def _power(base: Item, exponent: Item, small: bool) -> str:
    return rf"{_base(base, small)}^{{{_bare(exponent, True)}}}"


def _base(item: Item, small: bool) -> str:
    """What an index or an exponent stands at."""
    text = _write(item, small)
    return text if isinstance(item, Name | Number) and "_{" not in text else f"{{{text}}}"


def _bare(item: Item, small: bool = False) -> str:
    """What a fraction or a root encloses: without the parentheses around the whole of it."""
    match item:
        case Bracket("()", (inside,)):
            return _write(inside, small)
    return _write(item, small)


def _fraction(item: Binary) -> str:
    """a / b, and a / b / c as a over the product of b and c."""
    top, below = item.left, [item.right]
    while isinstance(top, Binary) and top.sign == "/":
        top, below = top.left, [top.right, *below]
    bottom = _bare(below[0]) if len(below) == 1 else r"\,".join(_write(factor) for factor in below)
    return rf"\frac{{{_bare(top)}}}{{{bottom}}}"


def _between(left: Item, right: Item) -> str:
    """What stands for a product's sign: a dot between words, and before numbers; a thin space elsewhere."""
    return r" \cdot " if _is_word(_last(left)) or _is_word(_first(right)) or _is_number(right) else r"\,"


def _is_word(item: Item) -> bool:
    return isinstance(item, Name) and _name(item.text).startswith(r"\mathrm{") and len(item.text) > 1


def _is_number(item: Item) -> bool:
    return isinstance(_first(item), Number)


def _last(item: Item) -> Item:
    match item:
        case Binary("*" | "@", _, right):
            return _last(right)
        case Juxtaposed(factors):
            return _last(factors[-1])
    return item


def _first(item: Item) -> Item:
    match item:
        case Binary("*" | "@" | "^", left, _):
            return _first(left)
        case Juxtaposed(factors):
            return _first(factors[0])
        case Call(function, _) if not isinstance(function, Name) or function.text not in {*FUNCTIONS, "sqrt", "floor"}:
            return _first(function)
    return item


def _bracketed(pair: tuple[str, str], inside: str) -> str:
    return rf"\left{pair[0]}{inside}\right{pair[1]}"


def _call(function: Item, arguments: tuple[Item, ...], small: bool) -> str:
    if function == Name("sqrt"):
        return rf"\sqrt{{{_bare(arguments[0], small)}}}"
    inside = ", ".join(_write(argument, small) for argument in arguments)
    if function in (Name("floor"), Name("ceil")):
        assert isinstance(function, Name)
        return _bracketed((rf"\l{function.text} ", rf"\r{function.text}"), inside)
    name = (
        "\\" + function.text if isinstance(function, Name) and function.text in FUNCTIONS else _write(function, small)
    )
    if isinstance(arguments[0], Bracket) and len(arguments) == 1:
        return f"{name}{inside}"
    return name + _bracketed(("(", ")"), inside)


def _reduction(kind: str, over: str, body: Item, small: bool) -> str:
    text = _write(body, small)
    if isinstance(body, Unary) or (isinstance(body, Binary) and body.sign in "+-"):
        text = _bracketed(("(", ")"), text)
    if kind == "mean":
        return (rf"\underset{{{over}}}{{\mathrm{{mean}}}}" if over else r"\mathrm{mean}") + rf"\, {text}"
    return rf"\{kind}_{{{over}}} {text}" if over else rf"\{kind}\, {text}"


def _cases(item: Cases) -> str:
    rows, other = [], item
    while isinstance(other, Cases):
        rows.append(rf"{_write(other.value)} & \text{{if }} {_write(other.condition)}")
        other = other.other
    rows.append(rf"{_write(other)} & \text{{otherwise}}")
    return r"\begin{cases}" + r" \\ ".join(rows) + r"\end{cases}"
