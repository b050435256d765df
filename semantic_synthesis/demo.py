"""What ships to try runs with: layouts with their instance maps, and photos with their label maps.

They are rendered scenes (dataset_mode scenes) in datasets/scenes; larger layouts lie in a folder of their size.
"""

from pathlib import Path

from semantic_synthesis.files import shipped

_FOLDER = shipped("datasets", "scenes")
_LARGE = 256  # pixels of the layouts in the folder of this name; the others have half of it
_LAYOUTS = ("coast", "fields", "lake", "mountains", "river", "village")
_LOOKS = ("day", "overcast", "sunset", "night", "winter")


def demo_layouts(size: tuple[int, int]) -> dict[str, tuple[Path, Path]]:
    """{name: (label map, instance map)} for a run of `size` (height, width), in the alphabet's order."""
    folder = _FOLDER / str(_LARGE) if min(size) >= _LARGE else _FOLDER
    return {name: (folder / f"{name}_label.png", folder / f"{name}_instance.png") for name in _LAYOUTS}


def demo_objects(label_filename: str) -> str:
    """The instance map of a demo layout, given by the path of its label map; "" for any other map."""
    path = Path(label_filename).resolve()
    known = [*demo_layouts((0, 0)).values(), *demo_layouts((_LARGE, _LARGE)).values()]
    return next((str(instance) for label, instance in known if label.resolve() == path), "")


def demo_photos() -> dict[str, tuple[Path, Path]]:
    """{look: (photo, its label map)}: day, overcast, sunset, night, winter."""
    found = {look: _FOLDER / f"style_{look}.png" for look in _LOOKS}
    return {look: (path, path.with_name(f"{path.stem}_label.png")) for look, path in found.items()}
