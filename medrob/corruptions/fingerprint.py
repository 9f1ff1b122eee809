"""What the images of some corruptions follow from: their code and severities, and no others'."""

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable
from functools import cache
from importlib import import_module

from medrob.corruptions.registry import describe


def fingerprint(names: Iterable[str]) -> str:
    """A hash of the severities of these corruptions and of all code that they reach; 16 hexadecimal digits.

    Code counts function by function: a new corruption beside an old one does not change the old one's hash,
    nor do comments and layout. Installed libraries are not followed.
    """
    chosen = [describe(name) for name in names]
    facts = [(c.name, sorted(c.parameters.items()), c.key) for c in chosen]
    functions = [getattr(c.function, "args", (c.function,))[0] for c in chosen]  # the plain form is a partial
    todo = [(function.__module__, function.__name__) for function in functions]
    packages = {"medrob", *(module.partition(".")[0] for module, _ in todo)}
    seen: dict[tuple[str, str], str] = {}
    while todo:
        module, name = place = todo.pop()
        followed = module.partition(".")[0] in packages or not _is_library(module)
        node = _definitions(module).get(name) if followed else None
        if place in seen or node is None:
            continue
        seen[place] = ast.dump(node)
        if isinstance(node, ast.ImportFrom):
            todo += [(node.module or "", alias.name) for alias in node.names]
        todo += [(module, part.id) for part in ast.walk(node) if isinstance(part, ast.Name)]
    return hashlib.sha256(repr((facts, sorted(seen.items()))).encode()).hexdigest()[:16]


def _is_library(module: str) -> bool:
    """Whether a module belongs to Python or to an installed package."""
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    return top in sys.stdlib_module_names or file is None or "site-packages" in file


@cache
def _definitions(module: str) -> dict[str, ast.stmt]:
    """The statements of a module, by the names that they define."""
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(inspect.getsource(import_module(module))).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] = node
            case ast.Assign(targets=[*targets]):
                found |= {
                    part.id: node for t in targets for part in ast.walk(t) if isinstance(part, ast.Name)
                }
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = node
            case ast.ImportFrom(module=source, names=[*aliases]):
                for alias in aliases:  # one name each: what else is imported does not count
                    found[alias.asname or alias.name] = ast.ImportFrom(source, [alias], node.level)
    return found
