"""The ten common mistakes of docs/datasets.md: each is answered, and the document says what is answered."""

import pytest
from mistakes import DOCUMENT, MISTAKES, answer, updated


@pytest.mark.parametrize("name", MISTAKES)
def test_answer(name, tmp_path):
    folder = tmp_path / "Bäume im Wald"
    folder.mkdir()
    line = answer(name, folder)
    assert line is not None and "\n" not in line
    for word in MISTAKES[name].words:
        assert word in line


def test_document_is_current():
    text = DOCUMENT.read_text()
    assert updated(text) == text, "run python tests/mistakes.py --write"
