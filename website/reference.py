"""The reference of the Python package: a page a module, from its docstrings and its stub.

The words of native methods live in the built module, their types in the stub. Here they are put
together in a copy of the package, which the generator of the site reads.
"""

import ast
import copy
import inspect
import re
import shutil
import types
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import phyr

# The pages of names of `phyr` itself: the names, and what the page says first.
OWN = {
    "Lists": (
        [
            *("Phyr", "Builder", "Chunk", "Chunks", "Column", "Index"),
            *("FrozenPhyr", "Holder", "Stats"),
        ],
        "The list, how to make one, its chunks and columns, and the frozen form.",
    ),
    "Pinning": (
        ["pin", "Pinned", "PinCache", "alloc", "Allocation", "DmaPool"],
        "Keeping the pages of a buffer where they are, and making buffers that are good to pin.",
    ),
    "Package": (["__version__", "include"], "The version, and the folder of the header for C."),
    "Errors": (
        [name for name in phyr.__all__ if name.endswith("Error")],
        "The family of errors. A child also derives from the built-in error that fits.",
    ),
}
# The modules, a page each.
WINGS = ["pagemap", "desc", "iommu", "vfio", "iommufd", "pci", "sim", "testing"]

CODE_BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>\w+)\n\n(?P<code>(?:(?P=indent) .*\n|\n)+)",
    re.MULTILINE,
)


def fenced(text: str) -> str:
    """Return a docstring, or a source with docstrings, whose code blocks are those of Markdown."""

    def fence(found: re.Match[str]) -> str:
        indent, code = found["indent"], found["code"]
        after = "\n" * (len(code) - len(code.rstrip("\n")))
        lines = [line.removeprefix("    ") for line in code.rstrip("\n").split("\n")]
        body = "\n".join(lines)
        return f"{indent}```{found['language']}\n{body}\n{indent}```{after}"

    return CODE_BLOCK.sub(fence, text)


def documented(body: list[ast.stmt], of: Any) -> list[ast.stmt]:  # noqa: ANN401 - a module or class
    """Return a body of the stub whose classes and functions have the words of the built module.

    The generator takes a constructor by ``__init__``, and the words of overloads from one more
    definition behind them.
    """
    found: list[ast.stmt] = []
    for at, node in enumerate(body):
        found.append(node)
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            continue
        member = getattr(of, "__dict__", {}).get(node.name)
        if isinstance(node, ast.ClassDef):
            node.body = [*_words(member), *documented(node.body, member)]
        elif node.name == "__new__":
            if "Never" in ast.unparse(node.args):  # it is made by its methods only
                found.pop()
            node.name, node.returns = "__init__", ast.Constant(None)
        elif _is_overload(node):
            following = body[at + 1] if at + 1 < len(body) else None
            if getattr(following, "name", None) != node.name:
                whole = copy.deepcopy(_longest(body, node.name))
                del whole.decorator_list[0]
                whole.body = [*_words(member), *node.body]
                found.append(whole)
        else:
            node.body = [*_words(member), *node.body]
    return found


def _longest(body: list[ast.stmt], name: str) -> ast.FunctionDef:
    """Return the overload with the most parameters: the words tell of all of them."""
    overloads = [one for one in body if isinstance(one, ast.FunctionDef) and one.name == name]
    return max(overloads, key=lambda one: len(one.args.args) + len(one.args.kwonlyargs))


def _is_overload(node: ast.FunctionDef) -> bool:
    """Return true if the first decorator says so."""
    return bool(node.decorator_list) and ast.unparse(node.decorator_list[0]) == "overload"


def _words(member: Any) -> list[ast.stmt]:  # noqa: ANN401 - anything
    """Return the docstring of a native class or method, if it has one.

    An operator of a native class has no words of its own, only those of all such operators.
    """
    text = inspect.getdoc(getattr(member, "__func__", member))
    if member is None or not text or isinstance(member, types.WrapperDescriptorType):
        return []
    return [ast.Expr(ast.Constant(text))]


def places() -> dict[str, str]:
    """Return where public names are, as words spell them: `Paging`, or `phyr.pagemap.of`.

    A name that two modules have is found by its whole name only, and so are those of functions,
    which parameters may share.
    """
    found: dict[str, str] = {}
    twice = set()
    for module in ["phyr", *(f"phyr.{wing}" for wing in WINGS)]:
        for name in import_module(module).__all__:
            place = found[f"{module}.{name}"] = f"{module}.{name}"
            if name[0].isupper() and found.setdefault(name, place) != place:
                twice.add(name)
    return {name: place for name, place in found.items() if name not in twice}


def linked(text: str, known: dict[str, str]) -> str:
    """Return words in which public names are links to their entries."""

    def link(name: re.Match[str]) -> str:
        place = known.get(name[1])
        return f"[{name[0]}][{place}]" if place else name[0]

    return re.sub(r"(?<!`)`([\w.]+)`(?!`)", link, text)


def copied(package: Path, to: Path) -> None:
    """Copy the package without its native module, whose words its stub gets."""
    shutil.rmtree(to, ignore_errors=True)
    known = places()
    for path in chain(package.rglob("*.py"), package.rglob("*.pyi")):
        if "cli" in path.relative_to(package).parts:
            continue
        text = path.read_text()
        if path.name == "_phyr.pyi":
            tree = ast.parse(text)
            tree.body = documented(tree.body, import_module("phyr._phyr"))
            text = ast.unparse(tree)
        target = to / path.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(linked(fenced(text), known))


def pages() -> dict[str, str]:
    """Return the pages of the reference by their names; each public name is on one of them.

    Raises:
        LookupError: A public name of `phyr` is on no page, or on two.
    """
    shown = [name for names, _ in OWN.values() for name in names]
    if sorted(shown) != sorted(phyr.__all__):
        lost = sorted(set(shown) ^ set(phyr.__all__)) or "one of them twice"
        raise LookupError(f"the pages of website/reference.py and phyr.__all__ differ: {lost}")
    found = {
        f"reference/{title.lower()}.md": _page(title, intro, "phyr", names)
        for title, (names, intro) in OWN.items()
    }
    known = places()
    for wing in WINGS:
        module = import_module(f"phyr.{wing}")
        intro = linked(fenced(inspect.getdoc(module) or ""), known)
        title = f"phyr.{wing}"
        found[f"reference/{wing}.md"] = _page(title, intro, title, module.__all__)
    return found


def _page(title: str, intro: str, module: str, names: list[str]) -> str:
    """Return a page of names."""
    return f"# {title}\n\n{intro}\n\n" + "".join(f"::: {module}.{name}\n\n" for name in names)
