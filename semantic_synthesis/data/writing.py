"""Writes files whole or not at all: beside the target first, then renamed into place."""

import os

import cv2


def write_text(path, text):
    """Writes a text file whole or not at all."""
    _replace(path, text.encode("utf-8"))


def write_png(path, array):
    """Writes a PNG, uint8 or uint16 [H, W] or BGR [H, W, 3], whole or not at all."""
    _replace(path, cv2.imencode(".png", array)[1].tobytes())


def _replace(path, data):
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".part", "wb") as file:
        file.write(data)
    os.replace(path + ".part", path)
