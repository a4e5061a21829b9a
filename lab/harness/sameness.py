"""Is a candidate the text of a known file again, but for names and comments?

    whose = known_text(candidate, [incumbent], reference, "rmsnorm")

Two files are the same if their syntax trees are, once docstrings and annotations are gone, imports
are resolved, what the function does not reach is left out, and the names that a file gives are
replaced by numbers in order of appearance. Pure text: nothing is imported, nothing runs.

This is a telling, not a barrier. Who wants to look different can, and then has to win honestly.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, cast

Known = Literal["", "incumbent", "reference"]


def known_text(
    candidate: bytes, incumbents: Iterable[bytes], reference: bytes, function: str
) -> Known:
    """Whose text the candidate's is; empty for neither an incumbent's nor the reference's."""
    form = normal_form(candidate, function)
    if not form:
        return ""
    if any(form == normal_form(one, function) for one in incumbents):
        return "incumbent"
    return "reference" if form == normal_form(reference, function) else ""


def normal_form(source: bytes, function: str) -> str:
    """A file's syntax tree as text, without what makes no difference; empty for what is no Python.

    Definitions stand in the order in which `function` reaches them; other statements come first.
    """
    try:
        return _form(ast.parse(source), function)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def _form(tree: ast.Module, function: str) -> str:
    names = _Names(function)
    defined: dict[str, ast.stmt] = {}
    waiting: list[ast.stmt] = []
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names.add_import(statement)
            continue
        found = dict.fromkeys(_defines(statement), statement)
        defined |= found
        if function in found or not found:
            waiting.append(statement)
    shown: list[str] = []
    reached: set[str] = {function}
    while waiting:
        statement = waiting.pop(0)
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in defined and node.id not in reached:
                reached.add(node.id)
                waiting.append(defined[node.id])
        plain = names.replaced(statement, defined)
        if plain is not None:
            shown.append(ast.dump(plain, annotate_fields=False))
    return "\n".join(shown)


def _defines(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement of the module gives to something that costs nothing to make."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        if any(isinstance(node, ast.Call) for node in ast.walk(statement.value)):
            return
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


class _Names(ast.NodeTransformer):
    """Renames, resolves and strips one statement of the module at a time."""

    def __init__(self, function: str) -> None:
        self._imported: dict[str, str] = {}
        self._global = {function: function}
        self._local: dict[str, str] = {}

    def add_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        """What the names of an import stand for."""
        for alias in statement.names:
            if isinstance(statement, ast.ImportFrom):
                self._imported[alias.asname or alias.name] = f"{statement.module}.{alias.name}"
            elif alias.asname:
                self._imported[alias.asname] = alias.name
            else:
                root = alias.name.partition(".")[0]
                self._imported[root] = root

    def replaced(self, statement: ast.stmt, defined: Mapping[str, ast.stmt]) -> ast.AST | None:
        """The statement with its names replaced (those of the module keep their number); None if it
        is a mere text."""
        self._local = {}
        for name in _binds(statement):
            if name in defined:
                self._global.setdefault(name, f"global {len(self._global)}")
            else:
                self._local.setdefault(name, f"local {len(self._local)}")
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in defined:
                self._global.setdefault(node.id, f"global {len(self._global)}")
        return cast("ast.AST | None", self.visit(statement))

    def _of(self, name: str) -> str:
        return self._local.get(name) or self._global.get(name) or self._imported.get(name, name)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._of(node.id), ast.Load())

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        value = self.visit(node.value)
        root = value.id.partition(".")[0] if isinstance(value, ast.Name) else ""
        if root in {path.partition(".")[0] for path in self._imported.values()}:
            return ast.Name(f"{value.id}.{node.attr}", ast.Load())
        return ast.Attribute(value, node.attr, ast.Load())

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self._of(node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._of(node.name)
        node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._of(node.name)
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return self.visit(ast.Assign([node.target], node.value))

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def _binds(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement and what is within it bind; not the methods of a class."""
    methods = {
        part for node in ast.walk(statement) if isinstance(node, ast.ClassDef) for part in node.body
    }
    for node in ast.walk(statement):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node not in methods:
            yield node.name
