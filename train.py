"""Trains a run: python train.py --image_dir photos --label_dir labels --checkpoint_dir checkpoints/mine."""

from semantic_synthesis.__main__ import run

if __name__ == "__main__":
    run("train")
