"""Arrays by name in files that hold only arrays: .safetensors, .npz, HDF5 (Keras).

Also the config of the model in a .keras file.

Reading executes no code, and allocates no more than the size of the file allows. An .npz has
a checksum for each array; in the other formats a changed number goes undetected. The
packages safetensors and h5py are imported only for their files
(`pip install "rnnjax[interop]"`).
"""

import io
import json
import math
import os
import stat
import uuid
import zipfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from rnnjax._checks import as_path
from rnnjax.interop._arrays import check_mapping, to_numpy

__all__ = ["read", "read_config", "write"]

Arrays = dict[str, np.ndarray]
Chosen = TypeVar("Chosen")
Content = TypeVar("Content")

# The largest ratio of the size of an .npz's arrays to the file: `np.savez_compressed` makes
# trained weights a few percent smaller, a zip bomb a thousand times.
EXPANSION = 50
# Always allowed: where all weights are still zeros, the ratio of a small file is far larger.
SMALL_BYTES = 2**20

PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".joblib")


def read(path: str | os.PathLike[str]) -> Arrays:
    """The arrays in a file, by name.

    Args:
      path: `.safetensors`; `.npz`; `.h5` or `.hdf5`, such as Keras's `.weights.h5`; names
        there are paths of groups, "layers/lstm/cell/vars/0".

    Returns:
      Arrays in the dtypes of the file, bfloat16 included.

    Raises:
      ValueError: a file of another kind, such as a pickle; one that is truncated, damaged, or
        claims to hold more than it does; a folder, a pipe or a device.
      TypeError: `path` is not a path.
      ImportError: the package that reads this kind is not installed.
      OSError: the file cannot be opened.
    """
    path = Path(as_path("path", path))
    return _read_whole(path, _choose(path, READERS), "numbers")


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The config of the model in a `.keras` file, as plain dictionaries.

    `rnnjax.interop.keras.layer_config` extracts that of one layer. The weights are in the
    same file: `python -m zipfile -e NAME.keras .` extracts "model.weights.h5" for `read`.

    Args:
      path: of the file.

    Returns:
      The config of the whole model.

    Raises:
      ValueError: a file of another kind; one that is truncated, damaged, or claims to hold
        more than it does; a folder, a pipe or a device.
      TypeError: `path` is not a path.
      OSError: the file cannot be opened.
    """
    path = Path(as_path("path", path))
    reader = _choose(path, {".keras": _read_keras_config}, 'save("NAME.keras")')
    return _read_whole(path, reader, "a model")


def write(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Writes arrays to a file atomically: until it is complete, an existing file is kept.

    Args:
      path: `.safetensors` or `.npz`.
      arrays: of any library, by name; bfloat16 only in `.safetensors`.

    Raises:
      ValueError: a file of another kind, or a dtype that it cannot hold.
      TypeError: `path` is not a path, a name not a string, or an entry not an array of
        numbers.
      ImportError: the package that writes this kind is not installed.
      OSError: the file cannot be written.
    """
    path = Path(as_path("path", path))
    writer = _choose(path, WRITERS)
    check_mapping("arrays", arrays, "pass them by name")
    for name in arrays:
        if not isinstance(name, str):  # 1 and "1" would be two arrays of one name.
            raise TypeError(f"arrays: expected names that are strings, got {name!r}")
    content = writer({name: to_numpy(name, array) for name, array in arrays.items()})
    # Not derived from the path, whose name may already have the maximal length.
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)  # The caller does not know the temporary name.
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _read_whole(path: Path, reader: Callable[[io.BufferedReader], Content], what: str) -> Content:
    # Opening a pipe blocks until there is a writer, and a device may be endless.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(
            f"{path}: expected a file, got a folder, a pipe or a device; copy what it holds into "
            "a file"
        )
    with path.open("rb") as stream:
        try:
            return reader(stream)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # For a damaged file the readers may raise anything.
            raise ValueError(
                f"{path}: expected a whole {path.suffix} file of {what}, got one that cannot be "
                f"read: {error}"
            ) from error


def _choose(
    path: Path, functions: Mapping[str, Chosen], from_keras: str = 'save_weights("NAME.weights.h5")'
) -> Chosen:
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        raise ValueError(
            f"{path}: expected a file of arrays, got a {suffix} file, which is a pickle and runs "
            "code when it is read; where you trust it, turn it into a file of arrays: "
            f'`safetensors.torch.save_file(module.state_dict(), "{path.stem}.safetensors")`'
        )
    if suffix not in functions:
        raise ValueError(
            f"{path}: expected a file of the kind {', '.join(functions)}, got "
            f"{suffix or 'no suffix'}; from Keras, `model.{from_keras}`"
        )
    return functions[suffix]


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        error.add_note('install it with `pip install "rnnjax[interop]"`')
        raise


# safetensors --------------------------------------------------------------------------


def _read_safetensors(stream: io.BufferedReader) -> Arrays:
    # It checks that header and file agree before it reads an array.
    arrays: Arrays = _package("safetensors.numpy").load_file(stream.name)
    # But of two entries of the same name it returns the last.
    size = int.from_bytes(stream.read(8), "little")
    json.loads(stream.read(size), object_pairs_hook=_once)
    return arrays


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name occurs twice."""
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise ValueError(f"{name}: expected one entry of each name, got two")
        entries[name] = value
    return entries


def _write_safetensors(arrays: Arrays) -> bytes:
    # safetensors writes the memory as it is, ignoring strides.
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    package = _package("safetensors.numpy")
    try:
        content: bytes = package.save(whole)
    except package.SafetensorError as error:
        dtypes = {name: str(array.dtype) for name, array in arrays.items()}
        raise ValueError(
            f"arrays: expected dtypes that .safetensors can hold, got {dtypes}: {error}"
        ) from error
    return content


# npz ----------------------------------------------------------------------------------


def _read_npz(stream: io.BufferedReader) -> Arrays:
    arrays: Arrays = {}
    with zipfile.ZipFile(stream) as file:
        for member in _members(file, stream):
            name = member.filename.removesuffix(".npy")
            if name == member.filename or name in arrays:
                raise ValueError(f"{member.filename}: expected one .npy array of each name")
            with file.open(member) as opened:
                arrays[name] = _read_npy(name, opened, member.file_size)
    return arrays


def _members(file: zipfile.ZipFile, stream: io.BufferedReader) -> list[zipfile.ZipInfo]:
    """The members of a zip, if they claim no more than its size allows."""
    size, members = os.fstat(stream.fileno()).st_size, file.infolist()
    total, room = sum(m.file_size for m in members), max(SMALL_BYTES, EXPANSION * size)
    if total > room:
        raise ValueError(f"{size} bytes claim to hold {total}, more than {room}")
    for member in members:
        # With other methods, zipfile unpacks everything it has read, of any size.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename}: expected it stored or deflated")
    # Damage can hide members, as inside the comment of another; but the record at the end of a
    # zip holds their number (0xFFFF if too large), and is the whole file if there are none.
    end = stream.seek(-22 - len(file.comment), os.SEEK_END)
    count = int.from_bytes(stream.read(22)[10:12], "little")
    if count not in (len(members), 0xFFFF) or (end and not members):
        raise ValueError(f"expected {count or 'some'} members, got {len(members)}")
    return members


def _read_npy(name: str, stream: Any, size: int) -> np.ndarray:
    version = np.lib.format.read_magic(stream)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if header is None:
        raise ValueError(f"{name}: expected an array in .npy format 1 or 2, got {version}")
    shape, fortran_order, dtype = header(stream)
    _check_numbers(name, dtype)
    claimed, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if claimed != held or any(n < 0 for n in shape):
        raise ValueError(f"{name}: expected {held} bytes, got shape {shape} of {dtype}: {claimed}")
    content = bytearray(stream.read(claimed))
    order: Any = "F" if fortran_order else "C"
    array: np.ndarray = np.ndarray(shape, dtype, buffer=content, order=order)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _write_npz(arrays: Arrays) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, array in arrays.items():
            _check_numbers(name, array.dtype)
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return content.getvalue()


# HDF5 ---------------------------------------------------------------------------------


def _read_h5(stream: io.BufferedReader) -> Arrays:
    h5py = _package("h5py")
    room = os.fstat(stream.fileno()).st_size
    arrays: Arrays = {}
    with h5py.File(stream.name, "r") as file:
        groups, seen = [("", file)], {h5py.h5o.get_info(file.id).addr}
        while groups:
            place, group = groups.pop(0)
            for key in group:
                name = f"{place}{key}"
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    raise ValueError(f"{name}: expected an array, got a link to elsewhere")
                item = group[key]
                # Two names of one array would count twice, and a cycle would never end.
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    raise ValueError(f"{name}: expected an entry of its own, got one seen before")
                seen.add(address)
                if isinstance(item, h5py.Group):
                    groups.append((f"{name}/", item))
                    continue
                if not isinstance(item, h5py.Dataset):
                    raise ValueError(f"{name}: expected an array, got {type(item).__name__}")
                room -= _check_dataset(name, item, h5py.h5d)
                if room < 0:
                    raise ValueError(f"{name}: the arrays claim more bytes than the file has")
                arrays[name] = _read_dataset(item)
    return arrays


def _check_dataset(name: str, dataset: Any, h5d: Any) -> int:
    """The size of a dataset in bytes, which must be stored contiguously and uncompressed."""
    if not _is_bfloat16(dataset):
        _check_numbers(name, dataset.dtype)
    plan = dataset.id.get_create_plist()
    if plan.get_layout() not in (h5d.CONTIGUOUS, h5d.COMPACT) or plan.get_external_count():
        raise ValueError(
            f"{name}: expected an array that lies in the file in one piece, as Keras writes it, "
            "got a chunked, compressed, virtual or external one; write it again with "
            "`group.create_dataset(name, data=array)`"
        )
    shape, held = dataset.shape, dataset.id.get_storage_size()
    if shape is None or math.prod(shape) * dataset.dtype.itemsize != held:
        raise ValueError(f"{name}: expected {held} bytes, got shape {shape} of {dataset.dtype}")
    return int(held)


def _read_dataset(dataset: Any) -> np.ndarray:
    array = np.asarray(dataset[()])
    if _is_bfloat16(dataset):
        return array.view(jnp.bfloat16)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _is_bfloat16(dataset: Any) -> bool:
    # HDF5 has no bfloat16: Keras writes two opaque bytes, with the dtype as an attribute.
    return bool(dataset.dtype == np.dtype("V2") and dataset.attrs.get("dtype") == "bfloat16")


def _check_numbers(name: str, dtype: np.dtype) -> None:
    if dtype.kind not in "biufc":
        raise ValueError(
            f"{name}: expected numbers, got {dtype}; .safetensors holds bfloat16 as well"
        )


# Keras's configs -----------------------------------------------------------------------


def _read_keras_config(stream: io.BufferedReader) -> dict[str, Any]:
    with zipfile.ZipFile(stream) as file:
        configs = [m for m in _members(file, stream) if m.filename == "config.json"]
        if len(configs) != 1:
            raise ValueError(f"expected one config.json, got {len(configs)}")
        with file.open(configs[0]) as opened:
            content = opened.read(configs[0].file_size)
        config = json.loads(content, object_pairs_hook=_once)
    if not isinstance(config, dict):
        raise ValueError(f"config.json: expected an object, got {type(config).__name__}")
    return config


READERS: dict[str, Callable[[io.BufferedReader], Arrays]] = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".h5": _read_h5,
    ".hdf5": _read_h5,
}
WRITERS: dict[str, Callable[[Arrays], bytes]] = {
    ".safetensors": _write_safetensors,
    ".npz": _write_npz,
}
