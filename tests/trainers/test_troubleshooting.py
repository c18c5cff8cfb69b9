"""troubleshooting.md: each message that it quotes is one that this code prints."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "trainers" / "troubleshooting.md").read_text(encoding="utf-8")
HOLE = "\0"  # where a value goes in
# Within the text: commands and settings, which are no sentences.
NOT_OURS = re.compile(r"[-.\w]+: [\w.]+|(xattr|mlbridge|xvfb-run) .*|Performance/.*")


def sentences() -> Iterator[str]:
    """Every text in the source, pieced together as Python does, with holes where values go in."""
    for room in ("bridge", "trainers", "unity_envs"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield re.sub(r"%[sd]", HOLE, node.value)


@pytest.fixture(scope="module")
def source() -> str:
    return "\n".join(sentence.replace("\n", " ") for sentence in sentences())


def quotes() -> list[str]:
    """What stands in the first column of the tables of messages, and what is quoted within the text."""
    rows = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    rest = "\n".join(line for line in TEXT.splitlines() if not line.startswith("|"))
    found = [quote for cell in rows for quote in re.findall(r"`([^`]+)`", cell)]
    within = [quote for quote in re.findall(r"`([^`]+)`", rest.replace("\n", " ")) if " " in quote]
    return found + [quote for quote in within if not NOT_OURS.fullmatch(quote)]


@pytest.mark.parametrize("quote", sorted(set(quotes())))
def test_a_quoted_message_is_one_of_ours(quote: str, source: str) -> None:
    parts = [re.escape(part.strip()) for part in quote.split("...")]
    assert re.search(r"[^\n]*?".join(parts), source), quote


def test_there_are_messages_to_check() -> None:
    assert len(set(quotes())) > 25
