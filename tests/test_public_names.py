"""Every public name documents what it takes, returns and raises, and has an example that runs.

The examples themselves are run by ``test_documents.py``.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap

import pytest
from conformance.public_names import DESCRIBED, METHODS, MODULES, NAMES

pytestmark = pytest.mark.no_products

SECTION = re.compile(r"^([A-Z]\w+)\n-{3,}\n", re.MULTILINE)
# References to other docstrings: "As for `forward`.", "See :mod:`portable_rnn.losses`."
ELSEWHERE = re.compile(r"\b(As for|See|Those of|like|same)\b")


def sections(value):
    """Return the sections of a docstring by name; what comes before the first is ''."""
    parts = SECTION.split(inspect.getdoc(value) or "")
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section):
    """Return the documented names of a section, each with its own text."""
    found = {}
    for part in re.split(r"\n(?=\S)", section):
        names, _, _ = part.partition("\n")[0].partition(" :")
        found |= {name.strip().lstrip("*"): part for name in names.split(",")}
    return found


def tree(value):
    """Return the syntax tree of a function or class."""
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(value)))).body[0]


def arguments(value):
    """Return the annotations, as written, of what a caller passes or a result holds, by name."""
    node = tree(value)
    if isinstance(node, ast.ClassDef):
        if (inspect.isclass(value) and hasattr(value, "_fields")) or dataclasses.is_dataclass(
            value
        ):
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            return {f.target.id: ast.unparse(f.annotation) for f in fields}
        node = next((i for i in node.body if getattr(i, "name", "") == "__init__"), None)
    if node is None:
        return {}
    return {
        argument.arg: ast.unparse(argument.annotation)
        for argument in (*node.args.args, *node.args.kwonlyargs)
        if argument.arg != "self"
    }


def refuses(name, value):
    """Return whether a function can refuse its arguments: all but activations check them."""
    return bool(arguments(value)) and not name.startswith("portable_rnn.activations.")


def raises(value):
    """Return whether the source of a method raises, or calls a check of its arguments."""
    return any(
        isinstance(node, ast.Raise)
        or (isinstance(node, ast.Call) and re.match(r"check\.|_?check_", ast.unparse(node.func)))
        for node in ast.walk(tree(value))
    )


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_public_name_says_what_it_takes(name):
    value = DESCRIBED[name]
    found = sections(value)
    assert found[""].strip(), "no summary"
    documented = entries(found.get("Parameters", "") + "\n" + found.get("Attributes", ""))
    taken = arguments(value)
    assert not set(taken) - set(documented), "not documented"
    for argument, annotation in taken.items():
        if re.search(r"\bArrays?\b", annotation):
            text = documented[argument]
            assert re.search(r"shape|dict|\(\w+,", text) or ELSEWHERE.search(text), text


@pytest.mark.parametrize("name", [n for n, v in DESCRIBED.items() if inspect.isroutine(v)])
def test_a_public_function_says_what_it_gives_and_raises(name):
    value, found = DESCRIBED[name], sections(DESCRIBED[name])
    if inspect.signature(value).return_annotation is not None:
        assert {"Returns", "Yields"} & set(found)
    if refuses(name, value):
        assert "Raises" in found


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_public_name_has_an_example(name):
    assert ">>> " in sections(DESCRIBED[name]).get("Examples", "")


@pytest.mark.parametrize("name", METHODS)
def test_a_public_method_says_what_it_is_for(name):
    value = METHODS[name]
    assert inspect.getdoc(value)
    if not isinstance(value, property) and raises(value):
        assert "Raises" in sections(value)


@pytest.mark.parametrize("name", sorted(NAMES.keys() - DESCRIBED.keys()))
def test_a_public_value_has_a_description_below_it(name):
    module, _, short = name.rpartition(".")
    body = _body(module)
    for node in body:  # a package re-exports what one of its modules describes
        if isinstance(node, ast.ImportFrom) and short in {alias.name for alias in node.names}:
            body = _body(f"{module}.{node.module}")
    after = dict(zip(map(_assigned, body), body[1:], strict=False))
    assert isinstance(after[short], ast.Expr)
    assert isinstance(after[short].value, ast.Constant)


def _body(module):
    return ast.parse(inspect.getsource(importlib.import_module(module))).body


def _assigned(node):
    return node.target.id if isinstance(node, ast.AnnAssign) else None


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_public_module_lists_what_is_public(module):
    assert inspect.getdoc(module)
    assert set(module.__all__) <= set(vars(module))
    defined = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    }
    listed = set(module.__all__)
    assert {name for name in defined if inspect.isfunction(vars(module)[name])} - listed <= {
        "log_softmax"
    }
