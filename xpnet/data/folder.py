"""A folder of images: its classes and parts, or its file of labels."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from xpnet.data.classes import check_class_names, from_path
from xpnet.data.dataset import Dataset
from xpnet.data.download import Progress
from xpnet.data.folder_found import SHOWN, Found, notes_of
from xpnet.data.image_format import SUFFIXES
from xpnet.data.labels import find_file, folder_of, part_of, read_labels
from xpnet.data.lazy import Lazy
from xpnet.data.photos import Photos
from xpnet.data.scan import LeftOut, count_beside, find_parts, is_image, listed, walk
from xpnet.data.sizes import choose_shape, sample_headers
from xpnet.data.splits import LoadOptions, Splits
from xpnet.errors import DataError
from xpnet.output import counted

__all__ = ["load_folder"]

_LAYOUT = "one sub-folder of images per class"
_RESIDENT = 256 << 20  # bytes: a set of images so small is decoded at once
_PARTS = ("train", "validation", "test")

_log = logging.getLogger("xpnet")


def load_folder(
    path: Path, progress: Progress | None = None, options: LoadOptions | None = None, file: str | None = None
) -> Splits:
    """Load a folder of images by class, see data.scan, or with a file of labels, see data.labels.

    A class is a folder directly below FOLDER, or below FOLDER/train; the images in it at any depth belong to it. The
    file of labels is used where there are no folders of classes, or where target names its column. Without a test part,
    a random fifth of each class, always the same, is the test set; where there is a validation part, it is both.

    Only names are read at first. The size is decided by the headers of a sample, see data.sizes; an image of another
    aspect ratio is cropped, padded or stretched, as options say, when it is decoded. A set of up to 256 MB is decoded
    at once into an array; of a larger one, x is a Lazy. Transparent images are placed on white, 16-bit ones keep their
    upper 8 bits, and the EXIF orientation is applied.

    Args:
        path: the folder.
        progress: called with (images found, 0) and then (images decoded, images in total).
        options: see LoadOptions.
        file: the file of labels; by default it is looked for.
    Returns:
        The parts; x (N, H, W, C) uint8, C 1 if all that were looked at are gray, else 3.
    Raises:
        DataError: the folder, or that of a class, is missing or empty; there is only one class, or a class of another
            part is not in train; the file of labels is refused; or an image is, see load_image.
    """
    options, progress = options or LoadOptions(), progress or (lambda done, total: None)
    root, left_out = str(path), LeftOut()
    found = _find(root, options, left_out, progress, file)
    if not found.files:
        do = f"add files that end in {', '.join(sorted(SUFFIXES))}"
        raise DataError.event(root, "no images", do, files=sum(left_out.counts.values()))
    headers = sample_headers(found.files, options)
    shape, sizes = choose_shape([header for _, header in headers], options, len(found.files))
    photos = Photos(found.files, shape, options)
    good = np.ones(len(found.files), bool)
    if options.skip_damaged:
        for row, error in sorted(photos.damaged(progress).items()):
            good[row] = False
            left_out.add("damaged", found.files[row])
            _log.info("left out: %s", error)
        if not good.any():
            raise DataError.event(root, "all images are damaged", images=len(good))
    if frames := [file for file, header in headers if header.frames]:
        text = f"{len(frames):,} of {len(headers):,} images have several frames, such as {frames[0]}: the first is used"
        found.warned.append(text)
    splits = _split(found, np.flatnonzero(good), photos, path.name or root, progress, options)
    return splits._replace(**notes_of(root, splits, found, sizes, left_out))


def _find(root: str, options: LoadOptions, left_out: LeftOut, progress: Progress, given: str | None) -> Found:
    found = Found()
    count = 0

    def each(images: int) -> None:
        nonlocal count
        count += images
        progress(count, 0)

    if given is not None:
        _add_labels(found, root, given, None, options, left_out, each)
        return found
    folders, files = listed(root, left_out)
    parts = find_parts(root)
    by_class = parts.train != root
    own = {name: f for name in folders if part_of(name) and (f := find_file(os.path.join(root, name), beside=False))}
    file = find_file(root)
    is_flat = len(folders) < 2 or any(part_of(name) == "train" for name in folders)
    is_flat = is_flat or (file is not None and any(map(is_image, files)) and folder_of(file) is not None)
    if options.target is not None or (not by_class and is_flat):
        if "train" in map(part_of, own) and file is None:
            for name, each_file in own.items():
                _add_labels(found, os.path.join(root, name), each_file, part_of(name), options, left_out, each)
            return found
        if file is not None:
            _add_labels(found, root, file, None, options, left_out, each)
            return found
        if options.target is not None:
            do = "put it there, or omit target"
            rule = "a file of labels (.csv or .jsonl) in the folder or beside it"
            raise DataError(root, rule, do, target=repr(options.target))
    for place in parts.beside:
        count_beside(place, left_out)
    if file is not None and os.path.dirname(file) == root:
        found.notes.append(f"{os.path.basename(file)} is not used: to learn its column, say target=COLUMN")
    places = zip(_PARTS, (parts.train, parts.validation, parts.test), strict=True)
    for part, place in places:
        if place is not None:
            one = parts.validation is None and parts.test is None and parts.train == root
            _add_classes(found, place, "" if one else part, left_out, each, options.classes)
    return found


def _add_classes(
    found: Found,
    place: str,
    part: str,
    left_out: LeftOut,
    each: Callable[[int], None],
    classes: tuple[str, ...] = (),
) -> None:
    """Add the images of the folders of classes in a place, some of which may be empty; classes: that are known."""
    folders, files = listed(place)
    if not folders:
        do = "or put a file of names and labels beside the images, .csv or .jsonl" if any(map(is_image, files)) else ""
        raise DataError(place, _LAYOUT, do, files=len(files), sub_folders=0)
    walked = {name: walk(os.path.join(place, name), left_out, each=each) for name in folders}
    full = [name for name in folders if walked[name][0]]
    if empty := [name for name in folders if not walked[name][0]]:
        if not full or (not found.classes and len(full) < 2 and not classes):
            folder = os.path.join(place, empty[0])
            do = f"add files that end in {', '.join(sorted(SUFFIXES))}, or remove the folder"
            inside, others = listed(folder)
            got = {"files": len(others), "sub_folders": len(inside)}
            raise DataError.event(folder, "the folder of a class holds no images", do, **got)
        shown = ", ".join(os.path.join(os.path.basename(place), n) if part else n for n in empty[:SHOWN])
        found.warned.append(f"folders of classes that hold no images, which are left out: {shown}")
    if not found.classes:
        names = tuple(map(from_path, full))
        found.classes = classes if set(names) <= set(classes) else names
        check_class_names(place, found.classes)
        if len(found.classes) < 2:
            raise DataError(place, "at least 2 classes, one sub-folder each", classes=list(found.classes))
    if part:
        for name in files:
            count_beside(os.path.join(place, name), left_out)
    index = {name: k for k, name in enumerate(found.classes)}
    for name in full:
        folder = os.path.join(place, name)
        label = from_path(name)
        if label not in index:
            do, known = "rename or remove it", ", ".join(found.classes[:SHOWN])
            more = f" and {len(index) - SHOWN} more" if len(index) > SHOWN else ""
            raise DataError(folder, "a class of the train folder", do, **{part: label, "train": known + more})
        images, nested = walked[name]
        if nested:
            _log.info("%s: also %s of sub-folders", folder, counted(nested, "image"))
        found.add(images, np.full(len(images), index[label]), [part] * len(images))


def _add_labels(
    found: Found,
    root: str,
    file: str,
    part: str | None,
    options: LoadOptions,
    left_out: LeftOut,
    each: Callable[[int], None],
) -> None:
    """Add the images that a file of labels names."""
    images, _ = walk(root, LeftOut(), each=each)
    labels = read_labels(file, images, root, options.target, options.task, left_out)
    if found.classes and labels.classes != found.classes:
        unknown = [name for name in labels.classes if name not in found.classes]
        if unknown or labels.y.dtype.kind == "f":
            raise DataError(file, "the classes of the train folder", classes=", ".join(unknown or labels.classes))
        labels = labels._replace(y=np.asarray([found.classes.index(c) for c in labels.classes])[labels.y])
    found.classes = found.classes or labels.classes
    if part is None and labels.split is None:
        parts = [part_of(os.path.relpath(f, root).split(os.sep)[0]) for f in labels.files]
        parts = parts if "train" in parts else [""] * len(parts)
    else:
        parts = [part] * len(labels.files) if labels.split is None else labels.split.tolist()
    found.notes.append(f"labels from {os.path.basename(file)}")
    found.add(labels.files, labels.y, [p or "" for p in parts])


def _split(
    found: Found, good: np.ndarray, photos: Photos, name: str, progress: Progress, options: LoadOptions
) -> Splits:
    """Make the data sets, of the images that are good."""
    y, parts, x = np.concatenate(found.y), np.asarray(found.parts, "<U10"), photos.lazy()
    if options.cache_folder is not None:
        photos.store(good, Path(options.cache_folder), progress)
    files = np.asarray(found.files, object)

    def taken(rows: np.ndarray, label: str) -> Dataset:
        return Dataset(x.take(rows), y[rows], found.classes, label, files=files[rows])

    if any(found.parts):
        parts[parts == ""] = "train"
        if "train" not in parts[good]:
            raise DataError(name, "images of a training part", parts=", ".join(sorted(set(found.parts))))

    def part(label: str) -> Dataset | None:
        rows = good[parts[good] == label]
        return taken(rows, f"{name}/{label}") if len(rows) else None

    train = part("train")
    if train is None:
        train = taken(good, name)
        validation = test = None
    else:
        validation, test = part("validation"), part("test")
    if test is None and validation is not None:
        found.notes.append("there is no test folder: the validation set is the test set, too")
        test = validation
    elif test is None and not options.whole:
        train, test = train.hold_out_fifth("folder/test", stratified=True)
    size = len(good) * int(np.prod(photos.shape))
    if options.cache_folder is not None or size > min(_RESIDENT, _allowed(options)):
        return Splits(train, validation, test)
    done = 0

    def one() -> None:
        nonlocal done
        done += 1
        progress(done, len(good))

    whole: dict[int, Dataset] = {}
    for data in (train, validation, test):
        if data is not None and id(data) not in whole:
            assert isinstance(data.x, Lazy)
            whole[id(data)] = replace(data, x=photos.all(data.x.rows.tolist(), one))
    photos.forget()
    return Splits(
        whole[id(train)],
        None if validation is None else whole[id(validation)],
        None if test is None else whole[id(test)],
    )


def _allowed(options: LoadOptions) -> int:
    return _RESIDENT if options.cache_images is None else options.cache_images
