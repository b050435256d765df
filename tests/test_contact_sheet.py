"""Sheets of pictures: the names above their columns."""

import numpy as np

from semantic_synthesis.pictures import contact_sheet


def heads(names, width):
    """The lines of names of a sheet of black pictures as {column: bool [h,width]} of ink."""
    columns = [np.zeros((1, width, width, 3), np.uint8) for _ in names]
    sheet, bare = contact_sheet(columns, names=names), contact_sheet(columns)
    head = sheet[: len(sheet) - len(bare)]
    np.testing.assert_array_equal(sheet[len(head) :], bare)
    assert (head[:, :4] == 255).all()
    return [head[:, 4 + i * (width + 4) :][:, : width + 4].min(-1) < 128 for i in range(len(names))]


def test_names_stand_on_their_columns_in_one_size():
    long, short, same = heads(["synthesized_image", "image", "image"], 64)
    assert len(long) == 32, "two lines"
    assert long[:16].any() and long[16:].any()
    assert not short[:16].any(), "a name of one line stands on the picture"
    np.testing.assert_array_equal(short, same)
    np.testing.assert_array_equal(long[16:], short[16:])
    assert not long[:, -3:].any(), "no word reaches the next column"


def test_wide_columns_have_one_line_of_names():
    assert all(len(head) == 18 and head.any() for head in heads(["synthesized_image", "image"], 256))
