"""Promises of the documents that can be checked by machine."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| ([0-9A-C][0-9.A-Za-z]*) \| ([^|]+) \| (P[123]) \| (works|partly|not yet) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)


def test_the_feature_table_is_whole_and_names_real_tests() -> None:
    rows = ROW.findall((ROOT / "docs/features.md").read_text())
    assert len(rows) == 354
    assert len({number for number, *_ in rows}) == 354
    for number, _, _, state, missing, shown in rows:
        if state == "not yet":
            assert not shown.strip(), number
            continue
        assert shown.strip(), f"{number}: nothing shows it"
        assert state == "works" or missing.strip(), f"{number}: partly, but what is missing?"
        for path in re.findall(r"`([^`]+)`", shown):
            name = path.split("::")[0].split(" ")[0]
            if "/" in name:
                assert (ROOT / name).exists(), f"{number}: {name}"


def test_every_dependency_is_explained() -> None:
    explained = (ROOT / "docs/dependencies.md").read_text().lower()
    for line in (ROOT / "requirements/runtime.in").read_text().splitlines():
        name = re.split(r"[\[<>=~ ;#]", line.strip(), maxsplit=1)[0].lower()
        if name:
            assert name in explained, name


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
