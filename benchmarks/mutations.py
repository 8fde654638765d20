"""Small changes of a module's text, one place at a time."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

OPERATORS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: (r"not\s+in", "in"), ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"), ast.And: ("and", "or"), ast.Or: ("or", "and"), ast.Add: (r"\+", "-"),
    ast.Sub: ("-", "+"), ast.Mult: (r"\*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "*"),
    ast.Pow: (r"\*\*", "*"), ast.BitOr: (r"\|", "&"), ast.BitAnd: ("&", "|"),
}  # fmt: skip
"""Operator -> how it is written, as a pattern, and what takes its place."""

NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
PLAIN = (ast.Name, ast.Attribute, ast.Call, ast.NamedExpr, ast.Subscript)
"""Conditions without an operator of their own, which are turned round."""
DROPPED = (ast.AugAssign, ast.Delete, ast.Raise, ast.Break, ast.Continue)

Edit = tuple[int, int, str]
"""First and last byte of what is replaced, and the text in its place."""


@dataclass(frozen=True)
class Mutation:
    """A change of one place of a module. line, last_line: where
    it stands; before, after: the lines that differ, without white space around them."""

    path: str
    line: int
    last_line: int
    before: str
    after: str
    source: str
    """Text of the whole module after the change."""

    @property
    def key(self) -> str:
        """Name the change, wherever in its file it stands."""
        return f"{self.path}: {self.before} -> {self.after}"


def mutations(source: str, path: str = "") -> list[Mutation]:
    """List every change of a module, in the order of its lines."""
    found = dict[str, Mutation]()
    for edits in _Editor(source).all_edits():
        if (changed := _apply(source, edits)) not in found and _is_code(changed):
            found[changed] = _describe(source, changed, path)
    return sorted(found.values(), key=lambda mutation: mutation.line)


class _Editor:
    """Finds places to change in one module. Positions are those of bytes, as ``ast`` counts columns."""

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self._tree = ast.parse(source)
        self._starts = [0]
        for line in self._source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def all_edits(self) -> Iterator[list[Edit]]:
        return self._visit(self._tree)

    def _visit(self, node: ast.AST) -> Iterator[list[Edit]]:
        # Places inside an f-string are unknown before Python 3.12, and few tests read all of a message.
        if isinstance(node, ast.JoinedStr) or _is_for_type_checkers(node) or _is_an_assertion(node):
            return
        yield from self._own_edits(node)
        if isinstance(node, ast.Raise):
            return
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns", "decorator_list"):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        yield from self._visit(child)

    def _own_edits(self, node: ast.AST) -> Iterator[list[Edit]]:
        match node:
            case ast.Compare():
                operands = [node.left, *node.comparators]
                for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
                    yield [self._operator(op, left, right)]
            case ast.BoolOp():
                pairs = zip(node.values, node.values[1:], strict=False)
                yield [self._operator(node.op, left, right) for left, right in pairs]
            case ast.BinOp(op=op) if type(op) in OPERATORS:
                yield [self._operator(op, node.left, node.right)]
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                start, end = self._span(node)[0], self._span(node.operand)[0]
                yield [(start, end, re.sub(r"^(not\b\s*|-)", "", self._text(start, end)))]
            case ast.Constant(value=bool(flag)):
                yield [(*self._span(node), str(not flag))]
            case ast.Constant(value=int() | float() as number):
                yield [(*self._span(node), repr(number + 1))]
            case ast.Call(func=ast.Name(id=name)) if name in NAMES:
                yield [(*self._span(node.func), NAMES[name])]
            case ast.Call(func=ast.Name(id="sorted" | "reversed"), args=[first, *_]):
                yield [(*self._span(node), f"list({self._text(*self._span(first))})")]
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if isinstance(test, PLAIN):
                yield [self._negated(test)]
            case ast.comprehension():
                yield from ([self._negated(test)] for test in node.ifs if isinstance(test, PLAIN))
            case ast.Return(value=ast.expr() as value) if not _counts_as_none(value):
                yield [(*self._span(node), "return None")]
            case ast.withitem(optional_vars=None):
                yield [(*self._span(node.context_expr), '__import__("contextlib").nullcontext()')]
            case _ if isinstance(node, DROPPED) or _is_done_for_its_effect(node):
                assert isinstance(node, ast.stmt)
                yield [(*self._span(node), "pass")]

    def _operator(self, op: ast.AST, left: ast.expr, right: ast.expr) -> Edit:
        start, end = self._span(left)[1], self._span(right)[0]
        written, instead = OPERATORS[type(op)]
        return start, end, re.sub(written, instead, self._text(start, end), count=1)

    def _negated(self, test: ast.expr) -> Edit:
        return (*self._span(test), f"not ({self._text(*self._span(test))})")

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, start: int, end: int) -> str:
        return self._source[start:end].decode()


def _is_for_type_checkers(node: ast.AST) -> bool:
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Compare(left=ast.Name(id="__name__"))):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return False


def _is_an_assertion(node: ast.AST) -> bool:
    """Tell what only shows where the code itself is wrong: ``assert``, and ``strict`` of ``zip``."""
    return isinstance(node, ast.Assert) or (isinstance(node, ast.keyword) and node.arg == "strict")


def _is_done_for_its_effect(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return True
    return False


def _counts_as_none(node: ast.expr) -> bool:
    """Tell None and False, for which whoever asks seldom cares."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)


def _apply(source: str, edits: Iterable[Edit]) -> str:
    content = source.encode()
    for start, end, text in sorted(edits, reverse=True):
        content = content[:start] + text.encode() + content[end:]
    return content.decode()


def _is_code(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _describe(source: str, changed: str, path: str) -> Mutation:
    old, new = source.splitlines(), changed.splitlines()
    blocks = [block for block in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes()
              if block[0] != "equal"]  # fmt: skip
    first, last = blocks[0], blocks[-1]
    before, after = old[first[1] : last[2]], new[first[3] : last[4]]
    return Mutation(path, first[1] + 1, last[2], _one_line(before), _one_line(after), changed)


def _one_line(lines: Iterable[str]) -> str:
    return " ".join(line.strip() for line in lines)
