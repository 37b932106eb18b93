"""Reads the textual LLVM IR that rustc writes: functions, their blocks, their instructions.

Only what the proofs need is read, and what is not understood is refused by name, never passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class NotTranslated(Exception):  # noqa: N818 - a refusal, named for what it says
    """An instruction, type or function that the proofs do not know."""


@dataclass(frozen=True)
class Instruction:
    """One line: what it defines, if anything, and what it says."""

    result: str | None
    opcode: str
    rest: str

    def __str__(self) -> str:
        """Return the line as LLVM writes it."""
        text = f"{self.opcode} {self.rest}".rstrip()
        return f"{self.result} = {text}" if self.result else text


@dataclass
class Block:
    """Instructions that run one after the other; the last leads on."""

    label: str
    instructions: list[Instruction] = field(default_factory=list)


@dataclass
class Function:
    """One definition: what it returns, the arguments, the blocks from the first on.

    `is_defined` is true if it promises not to return poison.
    """

    name: str
    returns: str
    arguments: list[tuple[str, str]]
    blocks: dict[str, Block]
    is_defined: bool = False


def split(text: str) -> list[str]:
    """Split at commas that no bracket encloses."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        if character in "([{<":
            depth += 1
        elif character in ")]}>":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def bracketed(text: str, opening: int) -> int:
    """Return the index of the bracket that closes the one at `opening`."""
    depth = 0
    for at in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise NotTranslated(text)


# Words that qualify an argument, a result or a call, and do not change what it is.
WORDS = re.compile(
    r"\b(noundef|noalias|nonnull|readonly|writeonly|readnone|zeroext|signext|immarg|returned"
    r"|align \d+|dead_on_unwind|writable|captures\([^)]*\)|dereferenceable(?:_or_null)?\(\d+\)"
    r"|initializes\((?:\([^)]*\)(?:, )?)*\)|sret\([^()]*\)|range\([^()]*\)|tail|musttail|notail"
    r"|fastcc"
    r"|unnamed_addr|dso_local|hidden|internal|noreturn|nounwind)(?!\w)\s*"
)


def bare(text: str) -> str:
    """Return a type and a name without the words that qualify them."""
    return WORDS.sub("", text).strip()


def instruction(line: str) -> Instruction:
    """Read one line."""
    line = re.sub(r",? ![\w.]+ !\d+|,? !\w+ !\{\}", "", line.partition(" ; ")[0]).strip()
    line = re.sub(r" #\d+$", "", line)
    result, equals, rest = line.partition(" = ")
    if not (equals and result.startswith("%")):
        result, rest = "", line
    rest = re.sub(r"^(tail|musttail|notail) ", "", rest)
    opcode, _, rest = rest.partition(" ")
    return Instruction(result or None, opcode, rest.strip())


def head(line: str) -> Function:
    """Read the first line of a definition."""
    match = re.match(r'define (.*?)@("[^"]+"|[\w.$]+)\(', line)
    if match is None:
        raise NotTranslated(line)
    arguments = []
    for argument in split(line[match.end() : bracketed(line, match.end() - 1)]):
        kind, _, name = bare(argument).rpartition(" ")
        arguments.append((kind.strip(), name))
    return Function(match[2].strip('"'), bare(match[1]), arguments, {}, "noundef" in match[1])


def body(function: Function, lines: Iterator[str]) -> None:
    """Read the blocks of a definition, up to its end."""
    block = Block("")
    for line in map(str.strip, lines):
        if line == "}":
            return
        if label := re.match(r'^("[^"]+"|[\w.$-]+):', line):
            block = Block(label[1].strip('"'))
            function.blocks[block.label] = block
        elif line and not line.startswith(";"):
            whole = line
            while whole.startswith("switch") and not whole.endswith("]"):
                whole = f"{whole} {next(lines).strip()}"
            block.instructions.append(instruction(whole))


def functions(text: str) -> dict[str, Function]:
    """Read every definition of a module."""
    found = {}
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("define "):
            function = head(line)
            body(function, lines)
            found[function.name] = function
    return found
