"""Links between the documents lead somewhere: to a file of the repository, and to a heading in it.

A report counts as there when a program beside it writes it, since that takes minutes or hours.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("bridge", "trainers", "unity_envs", "tests")
DOCUMENTS = sorted([ROOT / "README.md", *(path for room in ROOMS for path in (ROOT / room).rglob("*.md"))])
REPORTS = ROOT / "tests" / "reports"
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A page, not something that is fetched: everything else has to be in the repository.
ELSEWHERE = ("https://", "http://localhost")


def headings(document: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    text = re.sub(r"^ *```.*?^ *```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    lines = [line.lstrip("#").strip().lower() for line in text.splitlines() if re.match("#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", line).replace(" ", "-") for line in lines}


def is_to_be_written(report: Path) -> bool:
    programs = REPORTS.glob("verify_*.py") if report.parent == REPORTS else ()
    return any(re.search(rf"\b{report.stem}\b", path.read_text(encoding="utf-8")) for path in programs)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        if link.startswith(ELSEWHERE):
            continue
        path, _, heading = link.partition("#")
        target = document if not path else document.parent / path
        if not target.exists() and is_to_be_written(target.resolve()):
            continue
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert broken == []


def test_every_guide_can_be_reached_from_the_first_page() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        if document in reached:
            continue
        reached.add(document)
        links = [link.partition("#")[0] for link in LINK.findall(document.read_text(encoding="utf-8"))]
        targets = [(document.parent / link).resolve() for link in links if link and not link.startswith(ELSEWHERE)]
        folders = [target / "README.md" if target.is_dir() else target for target in targets]
        waiting += [target for target in folders if target.suffix == ".md" and target.is_file()]
    guides = [path for path in DOCUMENTS if path.parent != REPORTS]
    assert [path.relative_to(ROOT).as_posix() for path in guides if path not in reached] == []
