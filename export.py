"""Writes a run as a model for TF Serving: python export.py --checkpoint_dir checkpoints/mine."""

from semantic_synthesis.__main__ import run

if __name__ == "__main__":
    run("export")
