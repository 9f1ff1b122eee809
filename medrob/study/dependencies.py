"""What a notebook's results depend on: the definitions of the package that its code reaches.

The imports are followed from the notebook through the package, definition by definition, by reading the
source. A function that nothing reaches does not count, nor do comments and docstrings.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

PACKAGE = "medrob"
# Draws, reports or keeps, but computes no table: touching it is no reason to compute again.
DRAWING = (f"{PACKAGE}.figures", f"{PACKAGE}.progress", f"{PACKAGE}.runs", f"{PACKAGE}.study")
WORDS = "say"  # functions that say results in words begin so

Item = tuple[str, str]  # (module, name); the name "" is the whole module
Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass
class _Module:
    """A module taken apart."""

    name: str
    is_package: bool
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Item] = field(default_factory=dict)  # local name -> (module, name)
    always: list[ast.stmt] = field(default_factory=list)  # what runs on import and defines nothing


def fingerprint(cells: Iterable[str], *, drawing: bool, package: Path | None = None) -> str:
    """A hash of code and of all that it reaches in the package.

    Args:
        cells: the source of a notebook's code cells; comments do not count.
        drawing: whether what draws and words (`DRAWING`, `WORDS`) counts, too.
        package: the folder of the package; None = the one that runs.

    Returns:
        16 hexadecimal digits.
    """
    cells = list(cells)
    digest = hashlib.sha256()
    for cell in cells:
        digest.update(_plain(cell))
    sources = _sources(package)
    for (module, name), code in sorted(sources.reached("\n".join(map(_python, cells)), drawing).items()):
        digest.update(f"{module}:{name}\n{code}\n".encode())
    return digest.hexdigest()[:16]


def reached(cells: Iterable[str], *, drawing: bool, package: Path | None = None) -> set[str]:
    """The definitions that code reaches, as ``medrob.module:name``."""
    sources = _sources(package)
    return {f"{m}:{n}" for m, n in sources.reached("\n".join(map(_python, cells)), drawing)}


class _Sources:
    """The modules of the package, read when they are first needed."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files
        self.modules: dict[str, _Module] = {}
        self.known: dict[Item, tuple[Item | str, list[Item]]] = {}

    def reached(self, code: str, drawing: bool) -> dict[Item, str]:
        """(module, name) -> its source, normalised, for everything that the code reaches."""
        start = _taken_apart("", False, ast.parse(code))
        todo = list(self._used(start, [*start.always, *(d for ds in start.definitions.values() for d in ds)]))
        done: dict[Item, str] = {}
        seen: set[Item] = set()
        while todo:
            item = todo.pop()
            if item in seen or not (drawing or _computes(*item)):
                continue
            seen.add(item)
            if item not in self.known:
                self.known[item] = self._look(*item)
            code_of, further = self.known[item]
            todo += further
            if isinstance(code_of, str):
                done[item] = code_of
        return done

    def module(self, name: str) -> _Module:
        """A module, read once."""
        if name not in self.modules:
            path = self.files[name]
            self.modules[name] = _taken_apart(name, path.name == "__init__.py", ast.parse(path.read_text()))
        return self.modules[name]

    def _look(self, module_name: str, name: str) -> tuple[Item | str, list[Item]]:
        """The source of a definition and what it uses, or the place where it really is."""
        module = self.module(module_name)
        found = self._resolve(module, name)
        if isinstance(found, tuple):
            return found, [found]
        statements = [*module.always, *found]
        used = list(dict.fromkeys(self._used(module, statements)))
        return "\n".join(ast.dump(_undocumented(node)) for node in statements), used

    def _resolve(self, module: _Module, name: str) -> list[ast.stmt] | Item:
        """The statements that define a name, or where else to look for it."""
        whole = [d for ds in module.definitions.values() for d in ds]
        if not name:
            return whole
        if name in module.definitions:
            return module.definitions[name]
        if name in module.imports and module.imports[name][0] in self.files:
            return module.imports[name]
        lazy = module.definitions.get("__getattr__", [])
        for other, attribute in self._used(module, lazy):
            if other != module.name and not attribute and name in self.module(other).definitions:
                return other, name
        return lazy or whole

    def _used(self, module: _Module, statements: Iterable[ast.stmt]) -> Iterator[Item]:
        """What statements of a module name: its own definitions, and those of others."""
        statements = list(statements)
        known = dict(module.imports)
        for node in (n for s in statements for n in ast.walk(s)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):  # inside a function
                known |= _imported(module, node)
        inner: set[int] = set()
        for node in (n for s in statements for n in ast.walk(s)):
            if isinstance(node, ast.Attribute):
                chain = _chain(node)
                if chain and id(node) not in inner and chain[0] in known:
                    inner |= {id(n) for n in ast.walk(node)}
                    yield from self._follow(known[chain[0]], chain[1:])
            elif isinstance(node, ast.Name) and id(node) not in inner:
                if node.id in module.definitions and module.name:
                    yield module.name, node.id
                elif node.id in known:
                    yield from self._follow(known[node.id], [])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in self.files:
                yield node.value, ""  # a module imported by its name

    def _follow(self, item: Item, attributes: list[str]) -> Iterator[Item]:
        """Where an imported name with attributes leads: ``data.load`` to ("medrob.data", "load")."""
        module, name = item
        if name and f"{module}.{name}" in self.files:
            module, name = f"{module}.{name}", ""
        while not name and attributes and f"{module}.{attributes[0]}" in self.files:
            module, attributes = f"{module}.{attributes[0]}", attributes[1:]
        if not name and attributes:
            name = attributes[0]
        if module in self.files:
            yield module, name


def _sources(package: Path | None) -> _Sources:
    """The package's files as they are now; read again when one of them has changed."""
    package = package or Path(__file__).parents[1]
    files = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        files[".".join((PACKAGE, *(part for part in parts if part != "__init__")))] = path
    return _cached(tuple(files.items()), tuple(path.stat().st_mtime_ns for path in files.values()))


@lru_cache(maxsize=2)
def _cached(files: tuple[tuple[str, Path], ...], changed: tuple[int, ...]) -> _Sources:
    return _Sources(dict(files))


def _taken_apart(name: str, is_package: bool, tree: ast.Module) -> _Module:
    module = _Module(name, is_package)
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module.imports |= _imported(module, node)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif names := _defined(node):
            for one in names:
                module.definitions.setdefault(one, []).append(node)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            module.always.append(node)
    return module


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement gives a value; none if it does anything else."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    targets = {ast.Assign: "targets", ast.AnnAssign: "target", ast.AugAssign: "target"}.get(type(node))
    if targets is None:
        return []
    found = getattr(node, targets)
    trees = found if isinstance(found, list) else [found]
    return [n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name)]


def _imported(module: _Module, node: ast.Import | ast.ImportFrom) -> dict[str, Item]:
    """local name -> (module, name) of an import statement, those of the package alone."""
    if isinstance(node, ast.Import):
        return {
            a.asname or PACKAGE: (a.name if a.asname else PACKAGE, "")
            for a in node.names
            if a.name.split(".")[0] == PACKAGE
        }
    source = node.module or ""
    if node.level:
        parts = module.name.split(".")
        base = parts[: len(parts) - node.level + module.is_package]
        source = ".".join([*base, *([node.module] if node.module else [])])
    if source.split(".")[0] != PACKAGE:
        return {}
    return {a.asname or a.name: (source, a.name) for a in node.names}


def _chain(node: ast.expr) -> list[str]:
    """``a.b.c`` as ["a", "b", "c"]; empty if it does not begin with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def _computes(module: str, name: str) -> bool:
    """Whether a definition can have a part in a table."""
    drawn = any(module == one or module.startswith(f"{one}.") for one in DRAWING)
    return not drawn and name.split("_")[0] != WORDS


def _undocumented(node: ast.stmt) -> ast.stmt:
    """The statement without its docstrings."""
    for inner in ast.walk(node):
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = inner.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                inner.body = inner.body[1:] or [ast.Pass()]
    return node


def _python(cell: str) -> str:
    """The cell, or nothing if it is not plain Python."""
    try:
        ast.parse(cell)
    except SyntaxError:
        return ""
    return cell


def _plain(cell: str) -> bytes:
    """The cell without its comments."""
    try:
        return ast.dump(ast.parse(cell)).encode()
    except SyntaxError:
        return cell.encode()
