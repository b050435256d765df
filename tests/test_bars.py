"""Progress of commands whose screen is a file, and files that training asks for before it works."""

import pytest
from helpers import as_flags, assert_user_error, run_here

from semantic_synthesis.bars import progress_bar


def test_a_log_file_gets_a_line_now_and_then(capsys):
    for _ in progress_bar(range(5000), desc="files"):
        pass
    shown = capsys.readouterr().err.split("\r")
    assert len(shown) <= 4, "the first and the last, not every tenth of a second"
    assert "5000/5000" in shown[-1]


@pytest.mark.parametrize("method", ["spade", "sims"])
def test_a_missing_file_of_vgg_ends_before_anything_is_made(method, tmp_path):
    flags = {"method": method, "scenes_count": 4, "crop_size": 64, "vgg_weights": tmp_path / "none.h5"}
    result = run_here("train", as_flags({**flags, "checkpoint_dir": tmp_path / "run"}))
    assert_user_error(result, "--vgg_weights", "none.h5: no such file")
    assert not list(tmp_path.iterdir()), "no run, no memory of photos"
