"""The architecture in docs/design.md: the direction of dependencies, and no cycle of imports.

`python tests/test_house.py [ROOT]` prints the cycles and exits with 1 if there are any.

A cycle is searched for among the entries of each folder. The imports of a file in a subfolder count
as imports of that subfolder, so a cycle of files is found in the folder that contains all of them.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
CRATES = ["core", "capture", "delivery", "python"]
# The dependencies of each crate on the other crates of this project.
CRATE_DEPENDENCIES = {
    "core": set(),
    "capture": {"core"},
    "delivery": {"core"},
    "python": {"core", "capture", "delivery"},
}

ModulePath = tuple[str, ...]


class Import(NamedTuple):
    """One import: the modules, and where and how it is written."""

    source: ModulePath
    target: ModulePath
    file: Path
    line: int
    text: str


def strongly_connected(edges: dict[str, set[str]]) -> list[set[str]]:
    """The sets of nodes that reach each other, without those of one node."""

    def reachable(start: str) -> set[str]:
        found: set[str] = set()
        remaining = [start]
        while remaining:
            new = edges.get(remaining.pop(), set()) - found
            found |= new
            remaining.extend(new)
        return found

    reached = {node: reachable(node) for node in edges}
    components = {
        frozenset(other for other in found if node in reached.get(other, ()))
        for node, found in reached.items()
    }
    return sorted((set(nodes) for nodes in components if len(nodes) > 1), key=sorted)


def cycles(imports: Iterable[Import], root: Path) -> list[str]:
    """A description of each cycle, with the imports that form it."""
    imports = list(imports)
    folders = {item.source[:depth] for item in imports for depth in range(len(item.source))}
    descriptions = []
    for folder in sorted(folders):
        depth = len(folder)
        inside = [
            item
            for item in imports
            if item.source[:depth] == item.target[:depth] == folder
            and len(item.target) > depth
            and item.source[depth] != item.target[depth]
        ]
        edges: dict[str, set[str]] = {}
        for item in inside:
            edges.setdefault(item.source[depth], set()).add(item.target[depth])
        for component in strongly_connected(edges):
            lines = [f"cycle of {', '.join(sorted(component))} in {'/'.join(folder) or '.'}:"]
            for item in sorted(inside, key=lambda item: (item.source, item.target, item.line)):
                if {item.source[depth], item.target[depth]} <= component:
                    where = f"{item.file.relative_to(root)}:{item.line}"
                    lines.append(f"  {where}: {item.text} ({'/'.join(item.target)})")
            descriptions.append("\n".join(lines))
    return descriptions


# Rust

TOKEN = re.compile(
    r"""
    (?P<skipped>\s+|//[^\n]*)
    |(?P<comment>/\*)
    |(?P<literal>
        [bc]?r(?P<hashes>\#*)".*?"(?P=hashes)
        |[bc]?"(?:\\.|[^"\\])*"
        |b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^\\'])'
    )
    |(?P<lifetime>'\w+)
    |(?P<word>(?:r\#)?[A-Za-z_]\w*)
    |(?P<number>\d\w*)
    |(?P<sign>::|.)
    """,
    re.VERBOSE | re.DOTALL,
)
COMMENT = re.compile(r"/\*|\*/")
WORD = re.compile(r"[A-Za-z_]\w*")
OPEN = {"(": ")", "[": "]", "{": "}"}
ITEMS = {"fn", "struct", "enum", "union", "trait", "type", "const", "static", "mod"}


class Token(NamedTuple):
    text: str
    line: int


def tokens_of(source: str) -> list[Token]:
    """The tokens of a Rust file, without comments and literals."""
    tokens = []
    position, line = 0, 1
    while position < len(source):
        match = TOKEN.match(source, position)
        assert match is not None
        end = match.end()
        if match["comment"]:
            depth = 1
            while depth:
                mark = COMMENT.search(source, end)
                assert mark is not None, f"line {line}: comment without an end"
                depth += 1 if mark[0] == "/*" else -1
                end = mark.end()
        elif match["word"] or match["sign"]:
            tokens.append(Token(match[0].removeprefix("r#"), line))
        line += source.count("\n", position, end)
        position = end
    return tokens


def end_of_group(tokens: list[Token], start: int) -> int:
    """The position after the bracket that closes the one at `start`."""
    opening, closing = tokens[start].text, OPEN[tokens[start].text]
    depth = 0
    for at in range(start, len(tokens)):
        depth += (tokens[at].text == opening) - (tokens[at].text == closing)
        if depth == 0:
            return at + 1
    raise ValueError(f"line {tokens[start].line}: {opening} without {closing}")


def end_of_item(tokens: list[Token], start: int) -> int:
    """The position after the item, statement or field at `start`."""
    is_use = any(token.text == "use" for token in tokens[start : start + 6])
    at = start
    while at < len(tokens):
        text = tokens[at].text
        if text in {";", ","}:
            return at + 1
        if text in {")", "]", "}"}:
            return at
        if text in OPEN:
            at = end_of_group(tokens, at)
            if text == "{" and not is_use:
                return at
        else:
            at += 1
    return at


def without_tests(tokens: list[Token]) -> tuple[list[Token], set[str]]:
    """The tokens without items of `#[cfg(test)]`, and the names of test modules in other files."""
    kept: list[Token] = []
    test_files = set()
    at = 0
    while at < len(tokens):
        if [token.text for token in tokens[at : at + 4]] == ["#", "[", "cfg", "("]:
            end = end_of_group(tokens, at + 1)
            words = [token.text for token in tokens[at:end]]
            if "test" in words and "not" not in words:
                while tokens[end].text == "#":
                    end = end_of_group(tokens, end + 1)
                item_end = end_of_item(tokens, end)
                item = [token.text for token in tokens[end:item_end]]
                if item[-1] == ";" and "mod" in item:
                    test_files.add(item[-2])
                at = item_end
                continue
        kept.append(tokens[at])
        at += 1
    return kept, test_files


class UseTree(NamedTuple):
    """One name of a `use` declaration."""

    path: ModulePath
    name: str | None
    line: int
    public: bool
    scope: ModulePath


def use_trees(
    tokens: list[Token], at: int, prefix: ModulePath, public: bool, scope: ModulePath
) -> Iterator[UseTree | int]:
    """The names of the use tree at `at`; the last value is the position after it."""
    path = prefix
    line = tokens[at].line
    while True:
        text = tokens[at].text
        if text == "{":
            at += 1
            while tokens[at].text != "}":
                for item in use_trees(tokens, at, path, public, scope):
                    if isinstance(item, int):
                        at = item
                    else:
                        yield item
                if tokens[at].text == ",":
                    at += 1
            yield at + 1
            return
        if text == "*":
            yield UseTree((*path, "*"), None, line, public, scope)
            yield at + 1
            return
        if text == "::":
            at += 1
            continue
        if WORD.fullmatch(text):
            if text != "self" or not path:
                path = (*path, text)
            at += 1
            if tokens[at].text == "::":
                continue
            name = path[-1]
            if tokens[at].text == "as":
                name = tokens[at + 1].text
                at += 2
            yield UseTree(path, name, line, public, scope)
            yield at
            return
        raise ValueError(f"line {line}: use declaration not understood at {text}")


class RustFile:
    """The names, `use` declarations and paths of one file."""

    def __init__(self, file: Path, node: ModulePath, module: ModulePath) -> None:
        self.file = file
        self.node = node
        self.module = module
        self.uses: list[UseTree] = []
        self.paths: list[tuple[ModulePath, int, ModulePath]] = []
        self.names: set[str] = set()
        self.has_code = False
        source = file.read_text()
        self.documentation = list(takewhile(lambda line: line[:3] == "//!", source.splitlines()))
        tokens, self.test_files = without_tests(tokens_of(source))
        self._read(tokens)

    @property
    def is_face(self) -> bool:
        """Whether the file of a folder has only documentation, `mod` and `pub use`."""
        is_folder = self.file.stem in {"mod", "lib"} or self.node[-1] == "mod"
        return is_folder and not self.has_code and all(use.public for use in self.uses)

    def _read(self, tokens: list[Token]) -> None:
        tokens = [*tokens, Token("", 0)]
        scopes: list[str | None] = []
        public = False
        at = 0
        while at < len(tokens) - 1:
            text = tokens[at].text
            following = tokens[at + 1].text
            scope = tuple(name for name in scopes if name is not None)
            top_level = None not in scopes
            if text == "#" and following in {"[", "!"}:
                start = at + 1 + (following == "!")
                end = end_of_group(tokens, start)
                self._read_paths(tokens[start:end], scope)
                at = end
                continue
            if text == "use" and following != "<":
                for item in use_trees(tokens, at + 1, (), public, scope):
                    if isinstance(item, int):
                        at = item
                    else:
                        self.uses.append(item)
                public = False
                continue
            if text == "mod" and tokens[at + 2].text in {";", "{"}:
                if tokens[at + 2].text == "{":
                    scopes.append(following)
                    self.has_code = True
                public = False
                at += 3
                continue
            if text == "pub":
                public = True
                at = end_of_group(tokens, at + 1) if following == "(" else at + 1
                continue
            if text == "}":
                scopes.pop()
            elif text == "{":
                scopes.append(None)
            elif text in ITEMS and top_level and not scope and following not in ITEMS:
                self.names.add(tokens[at + 2].text if following == "mut" else following)
            if text not in {";", "}"}:
                self.has_code = True
                public = False
            at = max(at + 1, self._read_path(tokens, at, scope))

    def _read_paths(self, tokens: list[Token], scope: ModulePath) -> None:
        tokens = [*tokens, Token("", 0)]
        for at in range(len(tokens) - 1):
            self._read_path(tokens, at, scope)

    def _read_path(self, tokens: list[Token], at: int, scope: ModulePath) -> int:
        """Stores the path at `at`, if there is one, and returns the position after it."""
        if not WORD.fullmatch(tokens[at].text) or tokens[at + 1].text != "::":
            return at
        if at and tokens[at - 1].text in {"::", "."}:
            return at
        path = [tokens[at].text]
        line = tokens[at].line
        at += 1
        while tokens[at].text == "::" and WORD.fullmatch(tokens[at + 1].text):
            path.append(tokens[at + 1].text)
            at += 2
        self.paths.append((tuple(path), line, scope))
        return at


class Crate:
    """The files of a crate, and the imports between them."""

    def __init__(self, source: Path) -> None:
        self.files: dict[ModulePath, RustFile] = {}
        for file in sorted(source.rglob("*.rs")):
            parts = file.relative_to(source).with_suffix("").parts
            module = parts[:-1] if parts[-1] in {"mod", "lib"} else parts
            folder = file.with_suffix("").is_dir()
            self.files[module] = RustFile(file, (*parts, "mod") if folder else parts, module)
        for module, file in list(self.files.items()):
            for name in file.test_files:
                test = (*module, name)
                for other in [other for other in self.files if other[: len(test)] == test]:
                    del self.files[other]

    def imports(self) -> Iterator[Import]:
        for file in self.files.values():
            if file.is_face:
                continue
            aliases = {
                use.name: self._module_of_alias(file, use)
                for use in file.uses
                if use.name is not None
            }
            paths = [(use.path, use.line, use.scope) for use in file.uses]
            for path, line, scope in [*paths, *file.paths]:
                absolute = self._absolute(file, path, scope, aliases)
                if absolute is None:
                    continue
                for target in self.resolve(absolute):
                    if target != file.node:
                        yield Import(file.node, target, file.file, line, "::".join(path))

    def _module_of_alias(self, file: RustFile, use: UseTree) -> ModulePath | None:
        """The module that a `use` declaration names, or None if it names something else."""
        path = self._absolute(file, use.path, use.scope, {})
        return path if path in self.files else None

    def _absolute(
        self,
        file: RustFile,
        path: ModulePath,
        scope: ModulePath,
        aliases: dict[str, ModulePath | None],
    ) -> ModulePath | None:
        """The path from the root of the crate, or None if it belongs to another crate."""
        here = (*file.module, *scope)
        first, rest = path[0], path[1:]
        if first == "crate":
            return rest
        if first == "self":
            return (*here, *rest)
        if first == "super":
            here = here[:-1]
            while rest and rest[0] == "super":
                here, rest = here[:-1], rest[1:]
            return (*here, *rest)
        if first in aliases:
            target = aliases[first]
            return None if target is None else (*target, *rest)
        if (*here, first) in self.files or first in file.names:
            return (*here, *path)
        return None

    def _module(self, path: ModulePath) -> ModulePath:
        """The longest prefix of a path that is a file."""
        return next(
            (path[:n] for n in range(len(path), -1, -1) if path[:n] in self.files),
            (),
        )

    def resolve(
        self, path: ModulePath, seen: frozenset[ModulePath] = frozenset()
    ) -> set[ModulePath]:
        """The files that define what a path names, through re-exports of faces."""
        module = self._module(path)
        file = self.files.get(module)
        rest = path[len(module) :]
        if file is None:
            return set()
        if not file.is_face or not rest or path in seen:
            return {file.node}
        seen |= {path}
        targets = [(use, self._absolute(file, use.path, use.scope, {})) for use in file.uses]
        found = set()
        for use, target in targets:
            if target is None:
                continue
            if rest[0] == "*":
                found |= self.resolve(target, seen)
            elif use.name == rest[0]:
                return self.resolve((*target, *rest[1:]), seen)
            elif use.name is None and self._defines(target[:-1], rest[0], seen):
                return self.resolve((*target[:-1], *rest), seen)
        return found or {file.node}

    def _defines(self, module: ModulePath, name: str, seen: frozenset[ModulePath]) -> bool:
        file = self.files.get(module)
        if file is None:
            return False
        if file.is_face:
            return file.node not in self.resolve((*module, name), seen)
        return name in file.names or any(use.public and use.name == name for use in file.uses)


def rust_imports(source: Path) -> list[Import]:
    return list(Crate(source).imports())


# Python


def python_imports(package: Path) -> list[Import]:
    """The imports between the modules of a package, also those in functions.

    Imports for type checkers, also those of stubs, do not count.
    """
    files = {}
    for file in sorted([*package.rglob("*.py"), *package.rglob("*.pyi")]):
        parts = file.relative_to(package).with_suffix("").parts
        files[parts] = file
    nodes = {(parts[:-1] if parts[-1] == "__init__" else parts): parts for parts in files}
    found = []
    for module, node in nodes.items():
        file = files[node]
        if file.suffix == ".pyi":
            continue
        folder = module if node[-1] == "__init__" else module[:-1]
        tree = ast.parse(file.read_text(), file)
        for line, target in _imported(tree.body, package.name, folder):
            # The longest prefix that is a module: the rest is a name in it.
            path = next(target[:n] for n in range(len(target), -1, -1) if target[:n] in nodes)
            if nodes[path] != node:
                text = ".".join([package.name, *target])
                found.append(Import(node, nodes[path], file, line, text))
    return found


def _imported(
    body: list[ast.stmt], package: str, folder: ModulePath
) -> Iterator[tuple[int, ModulePath]]:
    remaining: list[ast.AST] = list(body)
    while remaining:
        node = remaining.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING":
            remaining.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                first, *rest = alias.name.split(".")
                if first == package:
                    yield node.lineno, tuple(rest)
        elif isinstance(node, ast.ImportFrom):
            path = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                path = (*folder[: len(folder) + 1 - node.level], *path)
            elif path[0] == package:
                path = path[1:]
            else:
                continue
            for alias in node.names:
                yield node.lineno, (*path, alias.name)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_LAZY":
            # Modules that `__getattr__` of a package imports.
            for name in set(ast.literal_eval(node.value).values()):
                yield node.lineno, (*folder, name)
        remaining.extend(ast.iter_child_nodes(node))


def cycles_of_modules(imports: Iterable[Import], root: Path) -> list[str]:
    """The cycles of modules, where a package is only its `__init__` module."""
    flat = [
        item._replace(source=(".".join(item.source),), target=(".".join(item.target),))
        for item in imports
    ]
    return cycles(flat, root)


# The project


def sources(root: Path) -> dict[str, Callable[[], list[str]]]:
    """What to check for cycles, by its path."""
    checks: dict[str, Callable[[], list[str]]] = {
        f"rust/{crate}": lambda crate=crate: cycles(
            rust_imports(root / "rust" / crate / "src"), root
        )
        for crate in CRATES
    }
    package = "python/fastdimse"
    checks[package] = lambda: cycles_of_modules(python_imports(root / package), root)
    return checks


@pytest.mark.parametrize("part", sources(ROOT))
def test_no_cycle_of_imports(part):
    found = sources(ROOT)[part]()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("part", CRATES)
def test_imports_of_crates_are_found(part):
    source = ROOT / "rust" / part / "src"
    crate = Crate(source)
    importing = {item.source for item in crate.imports()}
    assert len(importing) > len(crate.files) / 2


def test_imports_of_the_package_are_found():
    package = ROOT / "python/fastdimse"
    importing = {item.source for item in python_imports(package)}
    assert len(importing) > len(list(package.rglob("*.py"))) / 2


@pytest.mark.parametrize("crate", CRATES)
def test_dependencies_of_crates(crate):
    manifest = tomllib.loads((ROOT / "rust" / crate / "Cargo.toml").read_text())
    names = set()
    for table in [manifest, *manifest.get("target", {}).values()]:
        for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
            names |= set(table.get(kind, {}))
    ours = {name.removeprefix("fastdimse-") for name in names if name.startswith("fastdimse-")}
    assert ours == CRATE_DEPENDENCIES[crate]
    assert any(name.startswith("pyo3") for name in names) == (crate == "python")


def test_only_main_imports_the_command_line():
    importing = {
        item.source
        for item in python_imports(ROOT / "python/fastdimse")
        if item.target[0] == "cli" and item.source[0] != "cli"
    }
    assert importing == {("__main__",)}


@pytest.mark.parametrize("crate", CRATES)
def test_folders_are_documented(crate):
    files = Crate(ROOT / "rust" / crate / "src").files.values()
    short = [
        str(file.file.relative_to(ROOT))
        for file in files
        if file.file.name == "mod.rs" and len(file.documentation) < 3
    ]
    assert not short


# The checks themselves


def write_tree(folder: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder


# Each has a cycle of the named entries.
RUST_CYCLES = {
    "files": (
        {"lib.rs": "mod a;\nmod b;", "a.rs": "use crate::b::B;", "b.rs": "use crate::a::A;"},
        ["a", "b"],
    ),
    "three files": (
        {"a.rs": "use crate::b::B;", "b.rs": "use super::c;", "c.rs": "fn f() { crate::a::f() }"},
        ["a", "b", "c"],
    ),
    "rooms": (
        {
            "lib.rs": "mod room;\nmod b;",
            "room/mod.rs": "pub mod c;\npub mod d;",
            "room/c.rs": "use crate::b::B;",
            "room/d.rs": "pub struct D;",
            "b.rs": "use crate::{room::d::D};",
        },
        ["b", "room"],
    ),
    "rooms of a room": (
        {
            "outer/mod.rs": "mod x;\nmod y;",
            "outer/x/mod.rs": "pub mod one;\npub mod two;",
            "outer/x/one.rs": "use crate::outer::y::Y;",
            "outer/x/two.rs": "",
            "outer/y.rs": "use super::x::two;",
        },
        ["x", "y"],
    ),
    "files of a folder": (
        {
            "room/mod.rs": "mod c;\nmod d;\npub use d::*;",
            "room/c.rs": "use crate::room::D;",
            "room/d.rs": "use super::c::C;\npub struct D;",
        },
        ["c", "d"],
    ),
    "a renamed re-export": (
        {
            "room/mod.rs": "mod c;\nmod d;\npub use self::d::{D as E, F};",
            "room/c.rs": "pub use super::E;",
            "room/d.rs": "use crate::room::c;\npub struct D;",
        },
        ["c", "d"],
    ),
    "all names of a folder": (
        {
            "room/mod.rs": "mod c;\nmod d;\npub use c::C;\npub use d::D;",
            "room/c.rs": "use super::*;\npub struct C;",
            "room/d.rs": "use super::c;\npub struct D;",
        },
        ["c", "d"],
    ),
    "a folder with code": (
        {
            "room/mod.rs": "mod c;\nuse c::C;\npub fn f(_: C) {}",
            "room/c.rs": "pub struct C;\nfn g() { super::f(C) }",
        },
        ["c", "mod"],
    ),
    "an imported module": (
        {"a.rs": "use crate::b as other;\nfn f() {}", "b.rs": "use crate::a;\nfn g() { a::f() }"},
        ["a", "b"],
    ),
    "an inline module": (
        {"a.rs": "mod inner { use super::super::b::B; }", "b.rs": "use crate::a::A;"},
        ["a", "b"],
    ),
    "an attribute": (
        {"a.rs": "#[check(with = crate::b::f)]\nstruct A;", "b.rs": "use crate::a::A;"},
        ["a", "b"],
    ),
    "after a test": (
        {
            "a.rs": "#[cfg(test)]\nmod tests { fn f() { if x {} } }\nuse crate::b::B;",
            "b.rs": "#[cfg(test)]\nuse crate::c::{C};\nuse crate::a::A;",
        },
        ["a", "b"],
    ),
    "the root": (
        {"lib.rs": "mod a;\nuse a::A;\npub struct B;", "a.rs": "use crate::B;\npub struct A;"},
        ["a", "lib"],
    ),
}

RUST_WITHOUT_CYCLES = {
    "one direction": {"a.rs": "use crate::b::B;", "b.rs": "use crate::c::C;", "c.rs": ""},
    "tests": {
        "a.rs": "use crate::b::B;",
        "b.rs": "struct B;\n#[cfg(test)]\n#[allow(dead_code)]\nmod tests { use crate::a::A; }",
    },
    "tests in a file": {
        "a/mod.rs": "pub mod c;\n#[cfg(test)]\nmod tests;",
        "a/c.rs": "",
        "a/tests.rs": "use crate::b::B;",
        "b.rs": "use crate::a::c::C;",
    },
    "a dependency of tests": {
        "a.rs": "use crate::b::B;",
        "b.rs": "#[cfg(test)]\nuse crate::a::{A, C};",
    },
    "comments": {
        "a.rs": "use crate::b::B;",
        "b.rs": "//! [`crate::a`]\n/* /* */ use crate::a::A; */ // use crate::a::A;\nstruct B;",
    },
    "literals": {
        "a.rs": "use crate::b::B;",
        "b.rs": """const A: [&str; 2] = ["\\" crate::a::A", r#"" crate::a::A"#];\n"""
        """fn f<'a>(_: &'a u8) -> char { '"' } // crate::a::A""",
    },
    "another crate": {"a.rs": "use crate::b::B;", "b.rs": "use other::a::A;\nfn f() { a::f() }"},
    "a function named as a crate": {
        "a.rs": "use crate::b::{B, other};",
        "b.rs": "use crate::c::a;\nuse a::A;\nfn f() { a() }\nfn other() {}",
        "c.rs": "pub fn a() {}",
    },
    "a module of another crate": {
        "lib.rs": "pub mod a;\nmod b;",
        "a.rs": "use crate::b::B;",
        "b.rs": "use other::a;\nfn f() { a::f() }",
    },
    "the face of a folder": {
        "room/mod.rs": "//! Events.\nmod c;\npub mod d;\npub(crate) use c::C;\npub use d::*;",
        "room/c.rs": "use super::D;\npub struct C;",
        "room/d.rs": "pub struct D;",
        "b.rs": "use crate::room::{C, D};",
    },
    "the face of the crate": {
        "lib.rs": "mod a;\nmod b;\npub use a::A;\npub use b::B;",
        "a.rs": "use crate::B;\npub struct A;",
        "b.rs": "pub struct B;",
    },
    "visibility": {"a.rs": "pub(in crate::b) struct A;", "b.rs": "use crate::a::A;"},
}


@pytest.mark.parametrize("name", RUST_CYCLES)
def test_cycle_of_rust_files(name, tmp_path):
    files, entries = RUST_CYCLES[name]
    [found] = cycles(rust_imports(write_tree(tmp_path, files)), tmp_path)
    assert found.startswith(f"cycle of {', '.join(entries)} in ")
    assert len(found.splitlines()) > len(entries)


@pytest.mark.parametrize("name", RUST_WITHOUT_CYCLES)
def test_rust_files_without_a_cycle(name, tmp_path):
    source = write_tree(tmp_path, RUST_WITHOUT_CYCLES[name])
    found = rust_imports(source)
    assert found
    assert not cycles(found, tmp_path)


def test_description_of_a_cycle(tmp_path):
    files = {"a.rs": "//! A.\n\nuse crate::b::{B, C};", "b/mod.rs": "", "b/c.rs": "use crate::a;"}
    [found] = cycles(rust_imports(write_tree(tmp_path, files)), tmp_path)
    assert found.splitlines() == [
        "cycle of a, b in .:",
        "  a.rs:3: crate::b::B (b/mod)",
        "  a.rs:3: crate::b::C (b/mod)",
        "  b/c.rs:1: crate::a (a)",
    ]


PYTHON_CYCLES = {
    "modules": {"a.py": "from p.b import B", "b.py": "import p.a"},
    "relative": {
        "s/a.py": "from . import b",
        "s/b.py": "from ..c import C",
        "c.py": "import p.s.a",
    },
    "in a function": {"a.py": "def f():\n    from .b import B", "b.py": "from . import a"},
    "the package": {"__init__.py": "from p.a import A", "a.py": "from p import B"},
    "lazily imported": {"__init__.py": "_LAZY = {'A': 'a'}", "a.py": "import p"},
    "not for type checkers": {
        "a.py": "if TYPE_CHECKING:\n    pass\nelse:\n    from p import b",
        "b.py": "from p import a",
    },
}

PYTHON_WITHOUT_CYCLES = {
    "one direction": {"a.py": "from . import b", "b.py": "from .c import C", "c.py": ""},
    "for type checkers": {
        "a.py": "from . import b",
        "b.py": "import typing\nif typing.TYPE_CHECKING:\n    from .a import A",
    },
    "a stub": {"a.py": "from . import b", "b.pyi": "from .a import A"},
    "another package": {"a.py": "from . import b", "b.py": "from a import A\nimport q.a"},
    "a package and its modules": {
        "s/__init__.py": "from .a import A",
        "s/a.py": "from ..b import B",
    }
    | {"b.py": "", "c.py": "from .s import A"},
}


@pytest.mark.parametrize("name", PYTHON_CYCLES)
def test_cycle_of_python_modules(name, tmp_path):
    package = write_tree(tmp_path / "p", {"__init__.py": "", **PYTHON_CYCLES[name]})
    [found] = cycles_of_modules(python_imports(package), tmp_path)
    assert found.startswith("cycle of ")


@pytest.mark.parametrize("name", PYTHON_WITHOUT_CYCLES)
def test_python_modules_without_a_cycle(name, tmp_path):
    package = write_tree(tmp_path / "p", {"__init__.py": "", **PYTHON_WITHOUT_CYCLES[name]})
    found = python_imports(package)
    assert found
    assert not cycles_of_modules(found, tmp_path)


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    found = [cycle for check in sources(root).values() for cycle in check()]
    print("\n".join(found) or "no cycles")
    sys.exit(bool(found))
