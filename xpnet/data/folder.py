"""A folder of images with one sub-folder per class, decoded by Pillow on one thread per core."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.backend import cores
from xpnet.data.dataset import Dataset
from xpnet.data.download import Progress
from xpnet.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["load_folder", "load_image"]

_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
_DEEP_GRAY = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # 16 bits a pixel
_GRAY = ("1", "L", "LA", "La", *_DEEP_GRAY)
_LAYOUT = "one sub-folder of images per class"
_ORIENTATION = 0x0112  # the EXIF tag; values 5 to 8 exchange height and width


def load_folder(path: Path, progress: Progress | None = None) -> tuple[Dataset, Dataset]:
    """Load a folder of images by class: path/CLASS/IMAGE, or path/train/CLASS/IMAGE and path/test/CLASS/IMAGE.

    Classes are the names of the sub-folders, sorted. Without train and test folders, a random fifth, always the same,
    is the test set. Images are resized to the most frequent size; a warning says how many. If all are grayscale the
    result has 1 channel, else 3. Transparent images are placed on white, 16-bit ones keep their upper 8 bits, and the
    EXIF orientation is applied. Hidden files, and files without the suffix of an image, are ignored.

    Args:
        path: the folder.
        progress: called with (images decoded, images in total).
    Returns:
        train, test: (N, H, W, C) uint8, C 1 or 3.
    Raises:
        DataError: the folder, or that of a class, is missing or empty; there is only one class, or a class of the test
            folder is not in train; an image cannot be read, or has a height or width of 1 pixel.
    Cost: each image is opened twice, for its header and for its pixels. Memory: the result, one image a thread, and a
        second copy of the result during the split.
    """
    parts = {folder.name: folder for folder in _sub_folders(path)}
    has_split = "train" in parts and "test" in parts and any(_sub_folders(parts["train"]))
    roots = [parts["train"], parts["test"]] if has_split else [path]
    classes = tuple(folder.name for folder in _sub_folders(roots[0]))
    if not classes:
        raise DataError(str(roots[0]), _LAYOUT, files=sum(1 for _ in roots[0].iterdir()))
    if len(classes) < 2:
        raise DataError(str(roots[0]), "at least 2 classes, one sub-folder each", classes=list(classes))
    files: list[Path] = []
    labels: list[int] = []
    starts: list[int] = []
    for root in roots:
        starts.append(len(files))
        for folder in _sub_folders(root):
            if folder.name not in classes:
                raise DataError(str(folder), "a class of the train folder", test=folder.name, train=", ".join(classes))
            images = _images(folder)
            files += images
            labels += [classes.index(folder.name)] * len(images)
        if len(files) == starts[-1]:
            raise DataError(str(root), _LAYOUT, sub_folders=0)
    x, y = _decode_all(path, files, progress), np.asarray(labels, dtype=np.int64)
    name = path.name or str(path)
    if not has_split:
        return Dataset(x, y, classes, name).hold_out_fifth("folder/test")
    n = starts[1]
    return Dataset(x[:n], y[:n], classes, f"{name}/train"), Dataset(x[n:], y[n:], classes, f"{name}/test")


def load_image(path: str | os.PathLike[str], shape: Sequence[int]) -> np.ndarray:
    """Decode one image to the size and channels a model was trained with.

    Args:
        path: the file, in any format that Pillow reads.
        shape: (H, W, C), C 1 or 3; an image of another size is resized.
    Returns:
        uint8, (H, W, C), full brightness 255.
    Raises:
        DataError: the file is missing or not an image, has a height or width of 1 pixel, or C is neither 1 nor 3.
    Cost: a JPEG at least 4 times as high and wide is decoded at a half, quarter or eighth of its size, which stays at
        least twice the wanted size, and then resized: a third of the time for 12 megapixels. Pixels (0 to 255) then
        differ by about 0.2 from a full decode, and by at most 2 where that was measured.
    """
    path = Path(path).expanduser()
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(str(path), "shape (H, W, C) with C 1 or 3", shape=tuple(shape))
    _inspect(path)
    return _decode(path, (shape[0], shape[1], shape[2]))


def _sub_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise DataError.event(str(path), "no such folder")
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith("."))
    if not found:
        do = f"add files that end in {', '.join(sorted(_SUFFIXES))}, or remove the folder"
        raise DataError.event(str(folder), "the folder of a class holds no images", do)
    return found


def _decode_all(path: Path, files: list[Path], progress: Progress | None) -> np.ndarray:
    headers = list(_in_threads(_inspect, files))
    sizes = Counter((height, width) for height, width, _ in headers)
    height, width = max(sizes, key=lambda size: (sizes[size], size))  # of several equally frequent sizes, the largest
    other = len(files) - sizes[height, width]
    if other:
        warnings.warn(
            f"{path}: {other} of {len(files)} images are resized to {height} x {width}, the most frequent size",
            stacklevel=4,
        )
    shape = (height, width, 1 if all(gray for *_, gray in headers) else 3)
    x = np.empty((len(files), *shape), dtype=np.uint8)
    for i, image in enumerate(_in_threads(lambda file: _decode(file, shape), files)):
        x[i] = image
        if progress is not None:
            progress(i + 1, len(files))
    return x


def _in_threads(work: Callable[[Path], Any], files: list[Path]) -> Iterator[Any]:
    """Yield the results in order, computed a few files ahead; an error cancels the rest."""
    from concurrent.futures import ThreadPoolExecutor

    threads = cores()
    with ThreadPoolExecutor(threads) as pool:
        pending = [pool.submit(work, file) for file in files[: 4 * threads]]
        for i in range(len(files)):
            try:
                result = pending[i].result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            pending[i] = None  # type: ignore[call-overload]
            if len(pending) < len(files):
                pending.append(pool.submit(work, files[len(pending)]))
            yield result


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            yield image
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError.event(str(path), "no such image") from error
    except Exception as error:  # Pillow raises whatever its decoders do: OSError, SyntaxError, struct.error, ...
        problem = f"{type(error).__name__} ({error})".replace(f" '{path}'", "")
        do = "it is damaged or of an unknown format: remove or replace it"
        raise DataError.event(str(path), "cannot read the image", do, error=problem) from error


def _is_sideways(image: Image) -> bool:
    """Whether height and width are exchanged when the EXIF orientation is applied."""
    return image.getexif().get(_ORIENTATION, 1) >= 5


def _inspect(path: Path) -> tuple[int, int, bool]:
    """Read height, width and whether it is grayscale from the header alone."""
    with _opened(path) as image:
        width, height = image.size
        if _is_sideways(image):
            width, height = height, width
        gray = image.mode in _GRAY
    if min(height, width) < 2:
        raise DataError(str(path), "an image at least 2 pixels high and wide", height=height, width=width)
    return height, width, gray


def _decode(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Decode the pixels to (H, W, C) uint8."""
    import PIL.Image
    import PIL.ImageOps

    height, width, channels = shape
    with _opened(path) as image:
        if image.mode == "F":
            raise DataError(str(path), "1, 8 or 16 bits a channel", mode=image.mode)
        stored_width, stored_height = (height, width) if _is_sideways(image) else (width, height)
        image.draft(None, (2 * stored_width, 2 * stored_height))  # decode a much larger JPEG at a lower scale
        PIL.ImageOps.exif_transpose(image, in_place=True)
        if image.mode in _DEEP_GRAY:
            deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
            image = PIL.Image.fromarray((deep >> 8).astype(np.uint8))
        elif image.has_transparency_data:
            image = image.convert("RGBA")
            image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        if image.size != (width, height):
            image = image.resize((width, height), PIL.Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(shape)
