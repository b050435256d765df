"""Writes the demo layouts and style pictures (with label maps) of datasets/scenes from held-out scenes.

python recipes/demo_layouts.py. Label maps are RGB in the class table's colours, instance maps 16-bit. The layouts are
there twice: at 128x128, and in the folder 256 at 256x256.
"""

from pathlib import Path

import cv2

from semantic_synthesis.data.scenes import COLORS, render_scene
from semantic_synthesis.pictures import write_png

FOLDER = Path(__file__).resolve().parent.parent / "datasets" / "scenes"
HELD_OUT = 1_000_000  # training uses seeds below
LAYOUTS = {"lake": 28, "village": 2, "river": 4, "coast": 3, "fields": 9, "mountains": 14}
STYLES = {"day": 22, "sunset": 8, "night": 20, "winter": 1, "overcast": 18}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for folder, size in ((FOLDER, 128), (FOLDER / "256", 256)):
        folder.mkdir(exist_ok=True)
        for name, seed in LAYOUTS.items():
            scene = render_scene(HELD_OUT + seed, size, size)
            write_png(str(folder / f"{name}_label.png"), COLORS[scene.label])
            cv2.imwrite(str(folder / f"{name}_instance.png"), scene.instance)
    for look, seed in STYLES.items():
        scene = render_scene(HELD_OUT + seed, look=look)
        write_png(str(FOLDER / f"style_{look}.png"), scene.image)
        write_png(str(FOLDER / f"style_{look}_label.png"), COLORS[scene.label])


if __name__ == "__main__":
    main()
