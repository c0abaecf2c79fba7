"""What is wrong with a policy, or with anything else that is written like one. For the short-lived front only."""

from __future__ import annotations


class PolicyError(Exception):
    """What is wrong with a policy. Its text is one line that says so, the line of the file, and a mark below.

    `line` and `column` count from 1; both are 0 where there is nothing to point at, as with a missing file.
    """

    def __init__(
        self,
        file: str,
        problem: str,
        text: str,
        expected: str,
        line: int = 0,
        column: int = 0,
        source: str = "",
        width: int = 1,
    ) -> None:
        self.file, self.line, self.column = file, line, column
        self.problem, self.text, self.expected = problem, text, expected
        shown = text if len(text) <= 60 else text[:57] + "..."
        place = f"{file}:{line}:{column}" if line else file
        message = _printable(f"{place}: {problem}: {shown!r}; expected {expected}")
        if line:
            message += f"\n{_printable(source)}\n{' ' * (column - 1)}{'^' * width}"
        super().__init__(message)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
