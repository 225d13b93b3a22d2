"""Finds which settings the code reads, by following attribute chains such as `settings.kamailio.lb.port` through local names."""

from __future__ import annotations

import ast
from pathlib import Path

from ngcpd.config.schema import SCHEMA
from ngcpd.config.settings import attributes

TOP = Path(__file__).resolve().parents[2] / "ngcpd"
SOURCES = ("app", "cli", "ops", "config/listeners.py", "config/settings.py")


def _chain(node: ast.expr, names: dict[str, str]) -> str | None:
    """The dotted path of an expression below `settings`, None for another expression."""
    if isinstance(node, ast.Name):
        return "" if node.id == "settings" else names.get(node.id)
    if isinstance(node, ast.Attribute):
        if node.attr == "settings":
            return ""
        above = _chain(node.value, names)
        return None if above is None else f"{above}.{node.attr}".lstrip(".")
    return None


def _assign(target: ast.expr, value: ast.expr, names: dict[str, str]) -> None:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, other in zip(target.elts, value.elts, strict=False):
            _assign(one, other, names)
    elif isinstance(target, ast.Name):
        path = _chain(value, names)
        if path is not None:
            names[target.id] = path


def reads() -> set[str]:
    """Keys that some expression in the composition reads: as attributes, or by their full name with `get("...")`."""
    known = set(attributes())
    declared = set(SCHEMA.keys)
    found: set[str] = set()
    for source in SOURCES:
        files = (TOP / source).rglob("*.py") if (TOP / source).is_dir() else [TOP / source]
        for file in files:
            for function in ast.walk(ast.parse(file.read_text())):
                if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                names: dict[str, str] = {}
                for node in ast.walk(function):
                    if isinstance(node, ast.Assign) and len(node.targets) == 1:
                        _assign(node.targets[0], node.value, names)
                for node in ast.walk(function):
                    if isinstance(node, ast.Attribute):
                        path = _chain(node, names)
                        if path in known:
                            found.add(path)
                    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
                        if isinstance(node.args[0], ast.Constant) and node.args[0].value in declared:
                            found.add(str(node.args[0].value))
                        elif isinstance(node.args[0], ast.JoinedStr) and isinstance(node.args[0].values[0], ast.Constant):
                            found |= {key for key in declared if key.startswith(str(node.args[0].values[0].value))}
                    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value in known:
                        found.add(str(node.slice.value))
    return found
