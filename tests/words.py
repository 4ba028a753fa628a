"""Check the wording of docstrings, comments, error messages and help texts, and the names in the code.

    python -m tests.words                    list every offence; fail if there is one
    python -m tests.words jaxssd/ops ...     only those under these paths

Docstrings start with a noun or a verb, and their first line is a sentence of its own. So do the items of `Args`,
`Returns` and `Attributes`, comments and error messages. Every option has a help text of one short line.
Each idea has one name: the words of `RENAMED` are no longer used in names.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

FIRST_WORDS = re.compile(r"(of|what|how|the same|both|whether|as)\b", re.IGNORECASE)
"""Words that no docstring, comment, error message or help text starts with."""

HELP_LENGTH = 100
"""Longest help text in characters."""

RENAMED = {
    "accumulate_steps": "grad_accum_steps",
    "answer": "postprocess, or detections",
    "answers": "detections, or outputs",
    "class_bias": "prior_probability",
    "coding": "box_coder",
    "feed": "loader",
    "gatherer": "loader",
    "group_rates": "lr_multipliers",
    "hard_negatives": "negative_ratio",
    "peers": "baselines",
    "pieces": "blocks",
    "reach": "best_recall, or unmatched",
    "reformulated": "fast_layers",
    "reformulation": "fast_layers",
    "tell": "log",
    "thorough": "with_coco",
    "twin": "reference",
    "twins": "reference",
    "unfrozen": "trainable",
    "ways_out": "out_of_memory_hint",
}
"""Old words, also as parts of names, and the field's words that took their place."""

RENAMED_WHOLE = {"agree": "broadcast", "leads": "is_main_process", "least": "all_min", "meet": "barrier"}
"""Old names that are common words inside longer names."""

_OLD = re.compile("|".join(RENAMED | RENAMED_WHOLE), re.IGNORECASE)

SETTINGS = "jaxssd/config/topics.py"
"""File whose dataclasses are options on a command line; elsewhere those named `Command` are."""

SECTIONS = ("Args:", "Arguments:", "Attributes:", "Returns:", "Yields:")
SECTION = re.compile(r"^(Args|Arguments|Attributes|Returns|Yields|Raises|Example|Examples|Note|Notes|Source|Sources):$")


class Offence(NamedTuple):
    """One place that breaks a rule."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def offences(file: Path, root: Path = ROOT) -> list[Offence]:
    """Every offence in one Python file, by line. Prose in tests is free; their names are not."""
    source, name = file.read_text(), file.relative_to(root).as_posix()
    tree = ast.parse(source)
    found = [*_in_names(source, file)]
    if not name.startswith("tests/"):
        found += [*_in_docstrings(tree), *_in_comments(source), *_in_errors(tree)]
        found += _in_options(tree, every_class=name == SETTINGS)
    return sorted(Offence(name, line, text) for line, text in found)


def files(*under: str) -> list[Path]:
    """Python files of the repository, all of them or those under some paths."""
    places = [ROOT / path for path in under] or [ROOT / name for name in ("jaxssd", "tests", "benchmarks", "docs")]
    scripts = [] if under else sorted(ROOT.glob("*.py"))
    found = [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*.py")))]
    return [*found, *scripts]


def docstrings(tree: ast.AST) -> Iterator[tuple[ast.Constant, bool]]:
    """Docstrings of the module, its classes and functions, and of fields and constants, which stand below them.

    Yields:
        The string, and True where it belongs to a field or a constant.
    """
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        owned = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for before, statement in zip([None, *body], body, strict=False):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                constant = statement.value
                if isinstance(constant.value, str) and (
                    isinstance(before, ast.Assign | ast.AnnAssign) or (before is None and owned)
                ):
                    yield constant, before is not None


def _in_docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for constant, _ in docstrings(tree):
        lines = [line.strip() for line in constant.value.expandtabs().splitlines()]
        if not any(lines):
            continue
        first = lines[0]
        if match := FIRST_WORDS.match(first.lstrip("`*_")):
            yield constant.lineno, f"docstring starts with {match[0]!r}: {first}"
        if not first.endswith("."):
            yield constant.lineno, f"first line does not end with a full stop: {first}"
        elif len(lines) > 1 and lines[1]:
            yield constant.lineno + 1, f"no blank line after the first line: {first}"
        section = ""
        for number, line in enumerate(lines):
            if SECTION.match(line):
                section = line
            elif section in SECTIONS:
                item = re.match(r"(?:\*{0,2}\w+(?:, \*{0,2}\w+)*(?: \([^)]*\))?: )?(.*)", line)[1]
                new = item != line or lines[number - 1] == section  # not a line that continues an item
                if new and (match := FIRST_WORDS.match(item)):
                    yield constant.lineno + number, f"item of {section[:-1]} starts with {match[0]!r}: {line}"


def _in_comments(source: str) -> Iterator[tuple[int, str]]:
    if not re.search(rf"#\s*{FIRST_WORDS.pattern}", source, re.IGNORECASE):
        return
    previous = None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, column = token.start
        if previous != (line - 1, column) and (match := FIRST_WORDS.match(token.string.lstrip("# "))):
            yield line, f"comment starts with {match[0]!r}: {token.string}"
        previous = line, column


def _in_errors(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
            continue
        message = node.exc.args[0]
        if isinstance(message, ast.JoinedStr) and message.values:
            message = message.values[0]
        text = message.value if isinstance(message, ast.Constant) else None
        if isinstance(text, str) and (match := FIRST_WORDS.match(text)):
            yield message.lineno, f"error message starts with {match[0]!r}: {text}"


def _in_options(tree: ast.AST, every_class: bool) -> Iterator[tuple[int, str]]:
    """Fields of dataclasses without a help text, or with a long one; a field that is a group of options needs none."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and _is_dataclass(node)]
    groups = {node.name for node in classes} | {"Config"}
    for node in classes:
        if not (every_class or node.name == "Command"):
            continue
        for field, after in zip(node.body, [*node.body[1:], None], strict=True):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if any(isinstance(part, ast.Name) and part.id in groups for part in ast.walk(field.annotation)):
                continue
            text = _help_text(field, after)
            if not text:
                yield field.lineno, f"option {field.target.id} has no help text"
            elif len(text) > HELP_LENGTH:
                yield field.lineno, f"help text of {field.target.id} has {len(text)} characters, not {HELP_LENGTH}"


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _help_text(field: ast.AnnAssign, after: ast.stmt | None) -> str:
    """Text below a field, or the `help` in its annotation or its default."""
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
        return " ".join(after.value.value.split())
    for part in ast.walk(field):
        if isinstance(part, ast.keyword) and part.arg == "help" and isinstance(part.value, ast.Constant):
            return str(part.value.value)
    return ""


def _in_names(source: str, file: Path) -> Iterator[tuple[int, str]]:
    """Old words in names, also as part of them; names of tests are sentences, and free."""
    for word in _old_words(file.stem):
        yield 1, f"the file's name has {word!r}, now {(RENAMED | RENAMED_WHOLE)[word]}"
    if not _OLD.search(source):
        return  # most files have none, and taking a file apart takes long
    seen = set()
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        before, method = token.string, before == "."
        if method and token.string == "tell":
            continue  # Python's name for a position in a file
        if token.type != tokenize.NAME or token.string.startswith("test_") or token.string in seen:
            continue
        for word in _old_words(token.string):
            seen.add(token.string)
            yield token.start[0], f"the name {token.string} has {word!r}, now {(RENAMED | RENAMED_WHOLE)[word]}"


def _old_words(name: str) -> list[str]:
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return [word for word in RENAMED if f"_{word}_" in f"_{snake}_"] + [snake] * (snake in RENAMED_WHOLE)


def main(paths: list[str]) -> int:
    """Print offences by file; the exit status."""
    found = [offence for file in files(*paths) for offence in offences(file)]
    for offence in found:
        print(offence)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
