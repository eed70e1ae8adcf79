"""Wrong changes of a line of any module: bugs to be planted at random.

Strings, annotations, imports and error messages are left alone: a change of them is no bug, or not
one that a number can show.
"""

import ast
import copy
import difflib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Bug", "draw", "plant"]

FLIPPED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OPPOSITE = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
TWINS = {"min": "max", "any": "all", "zeros_like": "ones_like", "floor": "ceil", "sum": "max"}
TWINS |= {other: one for one, other in TWINS.items() if one != "sum"}
LEFT_ALONE = ast.JoinedStr, ast.Import, ast.ImportFrom
FIELDS_LEFT_ALONE = {"annotation", "returns", "decorator_list", "bases"}


class Bug(NamedTuple):
    """Whole lines of a module, and the wrong ones that replace them."""

    module: str
    kind: str
    line: int  # of the first, counted from 1
    right: str
    wrong: str

    @property
    def diff(self) -> str:
        lines = difflib.ndiff(self.right.splitlines(), self.wrong.splitlines())
        return "\n".join(line for line in lines if line[0] in "-+")


def plant(bug: Bug, text: str) -> str:
    """Return a source with the bug planted where its lines are nearest to their old place."""
    lines, right = text.splitlines(keepends=True), bug.right.splitlines(keepends=True)
    found = [i for i in range(len(lines)) if lines[i : i + len(right)] == right]
    if not found:
        raise ValueError(f"{bug.module}: the lines to change are no longer there:\n{bug.right}")
    at = min(found, key=lambda i: abs(i + 1 - bug.line))
    return "".join([*lines[:at], bug.wrong, *lines[at + len(right) :]])


def draw(sources: dict[str, str], count: int, seed: int) -> list[Bug]:
    """Draw bugs, of each kind about as often as of any other; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[tuple[str, ast.AST, Any]]] = {}
    for module, text in sources.items():
        for kind, node, replacement in _possible(ast.parse(text)):
            kinds.setdefault(kind, []).append((module, node, replacement))
    found: dict[Bug, None] = {}
    while len(found) < count and kinds:
        kind = sorted(kinds)[rng.integers(len(kinds))]
        module, node, replacement = kinds[kind].pop(rng.integers(len(kinds[kind])))
        if not kinds[kind]:
            del kinds[kind]
        bug = _bug(module, kind, sources[module], node, replacement)
        if _changes(plant(bug, sources[module]), sources[module]):
            found[bug] = None
    return list(found)


def _changes(wrong: str, right: str) -> bool:
    try:
        return ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(right))
    except SyntaxError:
        return False


def _bug(module: str, kind: str, text: str, node: Any, replacement: Any) -> Bug:
    lines = text.encode().splitlines(keepends=True)  # columns are counted in bytes
    first, last = node.lineno - 1, node.end_lineno
    before, after = lines[first][: node.col_offset], lines[last - 1][node.end_col_offset :]
    new = replacement if isinstance(replacement, str) else ast.unparse(replacement)
    if isinstance(replacement, ast.BinOp | ast.BoolOp | ast.Compare | ast.UnaryOp | ast.IfExp):
        new = f"({new})"
    wrong = before + new.encode() + after
    return Bug(module, kind, node.lineno, b"".join(lines[first:last]).decode(), wrong.decode())


def _possible(tree: ast.AST) -> Iterator[tuple[str, ast.AST, Any]]:
    """Yield all bugs of a module: kind, node, and the node's replacement."""
    attributes: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ast.Name(base), name) if base not in ("xp", "np", "check", "math"):
                attributes.setdefault(base, set()).add(name)

    def visit(node: ast.AST, names: dict[str, int]) -> Iterator[tuple[str, ast.AST, Any]]:
        if isinstance(node, LEFT_ALONE) or _is_left_alone(node):
            return
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            names = _bound(node)
        for kind, replacement in _wrong(node):
            yield kind, node, replacement
        match node:
            case ast.Name(name, ast.Load()) if name in names:
                for other, line in names.items():
                    if other != name and line < node.lineno:
                        yield "another name", node, other
            case ast.Attribute(ast.Name(base), name, ast.Load()):
                for other in sorted(attributes.get(base, {name}) - {name}):
                    yield "another attribute", node, f"{base}.{other}"
            case ast.If(test):
                yield from (("condition", test, always) for always in ("True", "False"))
            case ast.Raise():
                return  # the error message
        for field, value in ast.iter_fields(node):
            if field not in FIELDS_LEFT_ALONE:
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        yield from visit(child, names)

    yield from visit(tree, {})


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Expr(ast.Constant()):  # a docstring, or dots
            return True
        case ast.Assign([ast.Name(name)]) | ast.AnnAssign(ast.Name(name)):
            return name == "__all__" or ast.unparse(node).startswith(f"{name}: TypeAlias")
    return False


def _bound(function: Any) -> dict[str, int]:
    """Return the names of a function, and the line from which each is bound."""
    every = function.args
    arguments = [*every.posonlyargs, *every.args, *every.kwonlyargs]
    names = dict.fromkeys((a.arg for a in arguments if a.arg not in ("self", "xp")), 0)
    inner = {n.id for c in ast.walk(function) if isinstance(c, ast.comprehension)
             for n in ast.walk(c.target) if isinstance(n, ast.Name)}  # fmt: skip
    for node in ast.walk(function):
        match node:
            case ast.Name(name, ast.Store()) if name not in inner:
                names[name] = min(names.get(name, node.lineno), node.lineno)
    return names


def _wrong(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Yield kinds of bugs, and wrong replacements of a node."""

    def other(**fields: Any) -> Any:
        new: Any = copy.copy(node)
        vars(new).update(fields)
        return new

    match node:
        case ast.BinOp(left, op, right):
            if type(op) in FLIPPED:
                yield "another operator", other(op=FLIPPED[type(op)]())
            yield from (("a part lost", part) for part in (left, right))
            if not isinstance(op, ast.Add | ast.Mult | ast.BitOr | ast.BitAnd):
                yield "parts exchanged", other(left=right, right=left)
        case ast.Compare(_, [op], _):
            if type(op) in BOUNDARY:
                yield "boundary", other(ops=[BOUNDARY[type(op)]()])
            if type(op) in OPPOSITE:
                yield "opposite comparison", other(ops=[OPPOSITE[type(op)]()])
        case ast.BoolOp(op, values):
            yield "and, or", other(op=ast.Or() if isinstance(op, ast.And) else ast.And())
            yield from (("a condition lost", value) for value in values if len(values) == 2)
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield "not or minus lost", operand
        case ast.Constant(bool(value)):
            yield "true, false", str(not value)
        case ast.Constant(int(value)):
            yield from (("off by one", str(value + by)) for by in (1, -1))
        case ast.Constant(float(value)):
            yield from (("another number", str(new)) for new in (2.0 * value, value + 1.0))
        case ast.IfExp(_, body, orelse):
            yield "branches exchanged", other(body=orelse, orelse=body)
            yield from (("one branch", branch) for branch in (body, orelse))
        case ast.Slice(lower, upper):
            if lower is not None:
                yield "bound lost", other(lower=None)
            if upper is not None:
                yield "bound lost", other(upper=None)
        case ast.Tuple(elts, ast.Load()):
            yield from (("parts exchanged", other(elts=new)) for new in _swaps(elts))
        case ast.Call(func, args, keywords):
            yield from (("arguments exchanged", other(args=new)) for new in _swaps(args))
            for lost in keywords:
                yield "keyword lost", other(keywords=[k for k in keywords if k is not lost])
            name = func.id if isinstance(func, ast.Name) else getattr(func, "attr", "")
            if name in TWINS:
                field = "id" if isinstance(func, ast.Name) else "attr"
                twin: Any = copy.copy(func)
                setattr(twin, field, TWINS[name])
                yield "another function", other(func=twin)
        case ast.Expr(ast.Call()) | ast.AugAssign() | ast.Raise():
            yield "statement lost", "pass"
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield "statement lost", "pass"
        case ast.Break():
            yield "break, continue", "continue"
        case ast.Continue():
            yield "break, continue", "break"


def _swaps(parts: list[Any]) -> Iterator[list[Any]]:
    for i in range(len(parts) - 1):
        if not any(isinstance(part, ast.Starred) for part in parts[i : i + 2]):
            yield [*parts[:i], parts[i + 1], parts[i], *parts[i + 2 :]]
