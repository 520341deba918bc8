"""A reader who follows a link or a file's name in the documentation arrives somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(p.relative_to(ROOT) for p in (*ROOT.glob('*.md'), *ROOT.glob('docs/*.md')))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r'^#+ (.+)$', page.read_text(encoding='utf-8'), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=str)
def test_every_link_leads_to_a_file_and_a_heading(page):
    text = re.sub(r'```.*?```', '', (ROOT / page).read_text(encoding='utf-8'), flags=re.DOTALL)
    for link in re.findall(r'\]\((?!https?:)([^)\s]+)\)', text):
        name, _, anchor = link.partition('#')
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize('page', ['CONTRIBUTING.md', 'docs/architecture.md'])
def test_every_file_that_is_named_is_there(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    for name in re.findall(r'`([\w./]+/|[\w./]+\.(?:py|md|txt|in|xml|hpp))`', text):
        if 'NAME' not in name and not name.startswith(('.venv', '.ros')):
            places = (ROOT, ROOT / 'pdl_ros', ROOT / 'pdl_ros' / 'node', ROOT / 'test')
            assert any((place / name).exists() for place in places), name
