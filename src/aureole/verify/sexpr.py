"""Bracketed text (SMT-LIB) as nested tuples that know their line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aureole.core import InputError

DEEPEST = 100
"""How deep brackets may be nested; real properties need about six."""

_BREAK = r"\r\n|\r|\n"
_TOKEN = re.compile(rf'"[^"]*"|\|[^|]*\||[()]|[^\s();]+|;[^\r\n]*|{_BREAK}')
"""Strings and quoted symbols may hold brackets and line breaks."""


@dataclass(frozen=True)
class Word:
    """One word and its line, counted from 1."""

    text: str
    line: int


@dataclass(frozen=True)
class Group:
    """A bracketed list and the line on which it opens."""

    items: tuple["Word | Group", ...]
    line: int

    @property
    def head(self) -> str:
        """The first word; empty when the list begins with a bracket or holds nothing."""
        first = self.items[0] if self.items else None
        return first.text if isinstance(first, Word) else ""


def parse(text: str) -> Iterator[Group]:
    """The outermost lists, comments (`;` to the end of the line) left out; InputError with the line."""
    line, stack, opened = 1, list[list[Word | Group]](), list[int]()
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token[0] in "\r\n":
            line += 1
        elif token == "(":
            if len(stack) >= DEEPEST:
                raise InputError(f"line {line}: brackets are nested deeper than {DEEPEST}")
            stack.append([])
            opened.append(line)
        elif token == ")":
            if not stack:
                raise InputError(f"line {line}: a bracket closes that was never opened")
            done = Group(tuple(stack.pop()), opened.pop())
            if stack:
                stack[-1].append(done)
            else:
                yield done
        elif token[0] != ";":
            if not stack:
                raise InputError(f"line {line}: {token[:40]!r} stands outside of all brackets")
            stack[-1].append(Word(token, line))
            line += len(re.findall(_BREAK, token))
    if stack:
        raise InputError(f"line {opened[0]}: a bracket opens that is never closed")
