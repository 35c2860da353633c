"""The equations of docstrings, read: from ASCII, such as ``y[n,m] = sum over d of w[m,d] * x[n,d]``, to a tree.

A block is one or more lines; a line is clauses, joined by commas; a clause is values, joined by relations:

    relation    =  <-  +=  ~  <  <=  >  >=  !=  in
    value       a  |  a .. b  |  a where condition, else value
    sum         a + b - c
    product     a * b / c @ d, from the left; factors side by side bind more closely: 2 pi v / n is (2 pi v) / n
    power       a^b or a**b, from the right
    reduction   sum over i,j of a; max, min and prod likewise: of the product that follows, to the next /, + or -
                mean over n of a: of all that follows; without "over", of all elements
    operand     a number, a name, (a), (a, b), [a, b], |a|, ||a||, ..., f(a, b), a[i,j], log a

A parenthesis right behind a name is a call; behind a space it is a factor. latex.py writes the tree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["GREEK", "Binary", "Bracket", "Call", "Cases", "Chain", "EquationError", "Index", "Interval", "Item",
           "Juxtaposed", "Name", "Number", "Reduction", "Symbol", "Unary", "parse"]  # fmt: skip

RELATIONS = ("=", "<-", "+=", "~", "<", "<=", ">", ">=", "!=", "in")
REDUCTIONS = ("sum", "mean", "max", "min", "prod")
PREFIXES = ("log", "exp", "sqrt", "cos", "sin", "tanh")  # functions that may stand before an operand, as in log x
GREEK = ("alpha", "beta", "gamma", "delta", "eps", "eta", "theta", "kappa", "lambda", "mu", "pi", "rho", "sigma", "tau",
         "phi")  # fmt: skip
_WORDS = ("over", "of", "where", "else", "in")

_TOKEN = re.compile(r"""
    (?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)
  | (?P<name>[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*)
  | (?P<sign>\.\.\.|\.\.|<-|\+=|<=|>=|!=|\*\*|\|\||[-+*/@^=<>~|()\[\],])
""", re.VERBOSE)  # fmt: skip


class EquationError(ValueError):
    """A block that is no equation."""


@dataclass(frozen=True)
class Token:
    """A number, name or sign; where it begins in its line, and whether a space is before it."""

    kind: str
    text: str
    column: int
    spaced: bool


@dataclass(frozen=True)
class Number:
    """A number, as it is written."""

    text: str


@dataclass(frozen=True)
class Name:
    """A variable or a word."""

    text: str


@dataclass(frozen=True)
class Symbol:
    """``...``, all axes before the next."""

    text: str


@dataclass(frozen=True)
class Unary:
    """A sign and what follows it."""

    sign: str
    operand: Item


@dataclass(frozen=True)
class Binary:
    """Two operands of + - * / @ ^ or .. ."""

    sign: str
    left: Item
    right: Item


@dataclass(frozen=True)
class Juxtaposed:
    """Factors side by side."""

    factors: tuple[Item, ...]


@dataclass(frozen=True)
class Bracket:
    """Items within a pair: () [] || or the norm's."""

    pair: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Interval:
    """All numbers between two; each end with its bracket."""

    opening: str
    low: Item
    high: Item
    closing: str


@dataclass(frozen=True)
class Call:
    """A function of arguments."""

    function: Item
    arguments: tuple[Item, ...]


@dataclass(frozen=True)
class Index:
    """An element of an array."""

    array: Item
    indices: tuple[Item, ...]


@dataclass(frozen=True)
class Reduction:
    """sum, mean, max, min or prod of a body, over indices that may be related to something."""

    kind: str
    over: tuple[Item, ...]
    body: Item


@dataclass(frozen=True)
class Cases:
    """A value under a condition, and another value else."""

    value: Item
    condition: Item
    other: Item


@dataclass(frozen=True)
class Chain:
    """Values joined by relations."""

    values: tuple[Item, ...]
    relations: tuple[str, ...]


Item = (
    Number | Name | Symbol | Unary | Binary | Juxtaposed | Bracket | Interval | Call | Index | Reduction | Cases | Chain
)


def parse(text: str) -> list[list[Item]]:
    """Read a block: of each line its clauses.

    Raises:
        EquationError: a line is not of the form above; the message says at which character.
    """
    return [_Parser(line).line() for line in text.splitlines() if line.strip()]


def tokens(line: str) -> list[Token]:
    """Divide a line into tokens."""
    found, at = [], 0
    while at < len(line):
        spaces = len(line[at:]) - len(line[at:].lstrip())
        at += spaces
        if at == len(line):
            break
        match = _TOKEN.match(line, at)
        if match is None:
            raise EquationError(f"{line.strip()!r}: no equation has {line[at]!r}, character {at + 1}")
        found.append(Token(str(match.lastgroup), match[0], at, spaces > 0))
        at = match.end()
    return found


def _is_word(text: str) -> bool:
    """Whether it is a name of several letters other than those that stand for a Greek one: two make a sentence."""
    return text.isalpha() and len(text) > 1 and text not in GREEK


class _Parser:
    """Reads one line, from the loosest to the tightest operators."""

    def __init__(self, line: str) -> None:
        self.text, self.tokens, self.at = line, tokens(line), 0

    def peek(self, ahead: int = 0) -> Token | None:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else None

    def sees(self, *texts: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token is not None and token.text in texts

    def take(self, *texts: str) -> str | None:
        if not self.sees(*texts):
            return None
        self.at += 1
        return self.tokens[self.at - 1].text

    def need(self, *texts: str) -> str:
        taken = self.take(*texts)
        return self.fail(" or ".join(texts)) if taken is None else taken

    def fail(self, wanted: str) -> str:
        token = self.peek()
        found = f"{token.text!r} at character {token.column + 1}" if token else "the end"
        raise EquationError(f"{self.text.strip()!r}: expected {wanted}, got {found}")

    def line(self) -> list[Item]:
        clauses = [self.clause()]
        while self.take(","):
            clauses.append(self.clause())
        if self.peek():
            self.fail("an operator, a comma or the end")
        return clauses

    def clause(self) -> Item:
        values, relations = [self.value()], []
        while relation := self.take(*RELATIONS):
            relations.append(relation)
            values.append(self.interval() if relation == "in" else self.value())
        return Chain(tuple(values), tuple(relations)) if relations else values[0]

    def interval(self) -> Item:
        opening = self.need("(", "[")
        low = self.sum()
        self.need(",")
        high = self.sum()
        return Interval(opening, low, high, self.need(")", "]"))

    def value(self) -> Item:
        value = self.range()
        if not self.take("where"):
            return value
        condition = self.clause()
        self.need(",")
        self.need("else")
        return Cases(value, condition, self.value())

    def range(self) -> Item:
        first = self.sum()
        return Binary("..", first, self.sum()) if self.take("..") else first

    def sum(self) -> Item:
        sign = self.take("-", "+")
        total: Item = Unary(sign, self.product()) if sign else self.product()
        while sign := self.take("+", "-"):
            total = Binary(sign, total, self.product())
        return total

    def product(self, signs: tuple[str, ...] = ("*", "/", "@")) -> Item:
        product = self.juxtaposed()
        while sign := self.take(*signs):
            product = Binary(sign, product, self.juxtaposed())
        return product

    def juxtaposed(self) -> Item:
        factors = [self.power()]
        while (token := self.peek()) and self._begins_factor(token):
            if _is_word(token.text) and isinstance(factors[-1], Name) and _is_word(factors[-1].text):
                self.fail("an operator between words")
            factors.append(self.power())
        return factors[0] if len(factors) == 1 else Juxtaposed(tuple(factors))

    def _begins_factor(self, token: Token) -> bool:
        return token.kind == "number" or (token.kind == "name" and token.text not in _WORDS) or token.text == "("

    def power(self) -> Item:
        base = self.operand()
        if not self.take("^", "**"):
            return base
        return Binary("^", base, Unary("-", self.power()) if self.take("-") else self.power())

    def operand(self) -> Item:
        item = self.atom()
        while (token := self.peek()) and not token.spaced and token.text in "([":
            self.at += 1
            inside = self.items(")" if token.text == "(" else "]")
            item = Call(item, inside) if token.text == "(" else Index(item, inside)
        return item

    def items(self, closing: str) -> tuple[Item, ...]:
        found = [self.value()]
        while self.take(","):
            found.append(self.value())
        self.need(closing)
        return tuple(found)

    def atom(self) -> Item:
        token = self.peek()
        if token is None or token.text in _WORDS:
            self.fail("a number, a name or a parenthesis")
        assert token is not None
        self.at += 1
        if token.kind == "number":
            return Number(token.text)
        if token.kind == "name":
            return self.named(token.text)
        if token.text == "...":
            return Symbol("...")
        if token.text in ("(", "["):
            return Bracket({"(": "()", "[": "[]"}[token.text], self.items({"(": ")", "[": "]"}[token.text]))
        if token.text in ("|", "||"):
            inside = self.sum()
            self.need(token.text)
            return Bracket(token.text, (inside,))
        self.at -= 1
        self.fail("a number, a name or a parenthesis")
        raise AssertionError

    def named(self, name: str) -> Item:
        if name in REDUCTIONS and self.sees("over", "of"):
            return self.reduction(name)
        follows = self.peek()
        if name in PREFIXES and follows and follows.kind != "sign" and follows.text not in _WORDS:
            return Call(Name(name), (self.power(),))
        return Name(name)

    def reduction(self, kind: str) -> Item:
        over: list[Item] = []
        if self.take("over"):
            over.append(self.clause())
            while self.take(","):
                over.append(self.clause())
        self.need("of")
        body = self.sum() if kind == "mean" else self.signed_product()
        return Reduction(kind, tuple(over), body)

    def signed_product(self) -> Item:
        return Unary("-", self.product(("*", "@"))) if self.take("-") else self.product(("*", "@"))
