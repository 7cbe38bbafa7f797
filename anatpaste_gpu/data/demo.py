"""Writes the demo data set as PNG files in the published Zhanglab folder layout.

`python -m anatpaste_gpu.data.demo OUT_DIR` gives `OUT_DIR/chest_xray/{train,test}/{NORMAL,ABNORMAL}/*.png`.
"""

import argparse
from pathlib import Path

from PIL import Image
from rich.progress import track

from anatpaste_gpu.data.images import check_image_size
from anatpaste_gpu.data.manifest import resolve_inside
from anatpaste_gpu.data.phantom_set import plan, read


def write_folder(folder: Path, *, image_size: int = 256, seed: int = 0, **options: int) -> int:
    """Writes the demo set as `folder/chest_xray/{train,test}/{NORMAL,ABNORMAL}/*.png`.

    Args:
        folder: made if needed; files of the same name are overwritten.
        image_size: S.
        seed: as for `load_dataset`.
        **options: sizes, as for `plan`.

    Returns:
        The number of files written.
    """
    image_size = check_image_size(image_size)
    manifest = plan(folder, seed, **options)  # type: ignore[arg-type]
    for entry in track(manifest.entries, description="Writing phantoms", transient=True):
        path = resolve_inside(folder, entry.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(read(folder, manifest, entry, image_size)[0].numpy()).save(path)
    return len(manifest.entries)


def main(arguments: list[str] | None = None) -> None:
    """Command line of `write_folder`."""
    parser = argparse.ArgumentParser(
        prog="python -m anatpaste_gpu.data.demo", description="Write the demo phantoms as PNG files."
    )
    parser.add_argument("folder", type=Path, metavar="OUT_DIR")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-size", type=int, default=400, help="normal training images")
    parser.add_argument("--validation-size", type=int, default=100, help="images of each class")
    parser.add_argument("--test-size", type=int, default=100, help="images of each class")
    args = vars(parser.parse_args(arguments))
    folder = args.pop("folder")
    try:
        count = write_folder(folder, **args)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{count} images written to {folder}/chest_xray; they are phantoms, not radiographs.")


if __name__ == "__main__":
    main()
