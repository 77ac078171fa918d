"""Links, anchors and paths in the documentation: each leads to something that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(```|~~~).*?^\1[ ]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
FOLDERS = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})(?:/[\w.*<>-]+)+/?")
"""A path from the root of the repository, below one of its folders."""
ABSENT = re.compile(
    r"dbt_project/target/|deploy/ca/|deploy/mosquitto/certs/"  # written by commands and users
    r"|tests/payloads/toy_|tests/unit/\S+_toy|collector/formats/toy"  # the example of CONTRIBUTING.md
)
SOURCES = [
    path
    for pattern in ("*.py", "*.sql", "*.yml", "*.yaml", "*.toml", "*.conf", "*.sh", ".env.example", "sensors.json")
    for folder in [ROOT, *(ROOT / name for name in FOLDERS if name != "docs")]
    for path in (folder.glob(pattern) if folder == ROOT else folder.rglob(pattern))
    if "payloads" not in path.parts and ".local" not in path.parts
]


def identifier(path: Path) -> str:
    """Return the path from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as repository hosts derive them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_relative_links_resolve(page):
    """Each link names a file or folder of the repository and, with an anchor, one of its headings."""
    broken = []
    for markdown, html in LINK.findall(FENCE.sub("", page.read_text())):
        link = markdown or html
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def is_there(path: str) -> bool:
    """Return whether a path exists; ``NNNN_name`` and ``<name>`` match any name."""
    pattern = re.sub(r"NNNN_name|<\w+>", "*", path.rstrip("/."))
    return any(ROOT.glob(pattern))


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_paths_exist(page):
    """Each path in code, in a table or in a block is one of the repository."""
    code = re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text()))
    blocks = [match.group(0) for match in FENCE.finditer(page.read_text())]
    paths = {match for text in code for match in re.findall(rf"^{PATH.pattern}$", text)}
    paths |= {match for text in blocks for match in re.findall(rf"(?:^|[ '\"(])({PATH.pattern})", text)}
    assert sorted(path for path in paths if not ABSENT.match(path) and not is_there(path)) == []


def test_sources_name_pages_that_exist():
    """Each page that code, configuration or an alert refers to exists, and has the heading."""
    decisions = {page.name[:4] for page in (ROOT / "docs" / "decisions").glob("*.md")}
    broken = []
    for source in SOURCES:
        text = source.read_text()
        for name, anchor in re.findall(r"(?<![\w/.-])(docs/[\w/-]+\.md)(?:#([\w-]+))?", text):
            if not (ROOT / name).exists() or (anchor and anchor not in anchors(ROOT / name)):
                broken.append((identifier(source), name, anchor))
        numbers = set(re.findall(r"docs/decisions/(\d{4})", text)) - decisions
        broken += [(identifier(source), number, "") for number in numbers]
    assert broken == []


def test_index_lists_every_page():
    """The index of the documentation links to each page, the index of decisions to each decision."""
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text()
    assert [page.name for page in docs.glob("*.md") if page.name != "README.md" and f"({page.name}" not in index] == []
    decisions = (docs / "decisions" / "README.md").read_text()
    assert [page.name for page in (docs / "decisions").glob("0*.md") if f"({page.name})" not in decisions] == []
