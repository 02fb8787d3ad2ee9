import contextlib
import errno
import io
import json
import os
import pickle
import struct
import warnings
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.interop import files

RNG = np.random.default_rng(0)
ARRAYS = {
    "rnn.weight": RNG.normal(size=(3, 4)).astype(np.float32),
    "turned/over": RNG.normal(size=(2, 5)).T,
    "half": RNG.normal(size=3).astype(np.float16),
    "scalar": np.array(2.5),
    "none": np.zeros((0, 3), np.float32),
    "step": np.array([1, 2], np.int32),
}
KINDS = [".safetensors", ".npz", ".h5", ".hdf5"]


def need(suffix):
    if suffix != ".npz":
        pytest.importorskip("safetensors" if suffix == ".safetensors" else "h5py")


def make(path, arrays):
    """A file that another program would write."""
    need(path.suffix)
    if path.suffix in (".h5", ".hdf5"):
        import h5py

        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        from safetensors.numpy import save_file

        save_file({name: np.array(array, order="C") for name, array in arrays.items()}, path)
    return path


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("suffix", KINDS)
def test_files_of_others_are_read(tmp_path, suffix):
    same(files.read(make(tmp_path / f"a{suffix}", ARRAYS)), ARRAYS)


@pytest.mark.parametrize("suffix", files.WRITERS)
def test_what_is_written_is_read_and_by_others_too(tmp_path, suffix):
    need(suffix)
    path = tmp_path / f"a{suffix}"
    files.write(path, {"old": np.zeros(3)})
    files.write(path, ARRAYS | {"of_jax": jnp.ones(3, jnp.float32)})
    expected = ARRAYS | {"of_jax": np.ones(3, np.float32)}
    same(files.read(path), expected)
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            same(dict(file), expected)
    else:
        from safetensors.numpy import load_file

        same(load_file(path), expected)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_bfloat16_survives(tmp_path):
    pytest.importorskip("safetensors")
    arrays = {"w": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3)}
    files.write(tmp_path / "a.safetensors", arrays)
    same(files.read(tmp_path / "a.safetensors"), {"w": np.asarray(arrays["w"])})
    with pytest.raises(ValueError, match=r"w: expected numbers, got bfloat16; .safetensors"):
        files.write(tmp_path / "a.npz", arrays)


def test_bfloat16_of_keras(tmp_path):
    h5py = pytest.importorskip("h5py")
    w = np.arange(3).astype(jnp.bfloat16)
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file.create_dataset("w", data=w.view("V2")).attrs["dtype"] = "bfloat16"
    same(files.read(tmp_path / "a.weights.h5"), {"w": w})


@pytest.mark.parametrize("suffix", files.WRITERS)
def test_a_file_stays_till_the_next_is_whole(tmp_path, suffix, monkeypatch):
    need(suffix)
    path = tmp_path / f"a{suffix}"
    files.write(path, {"old": np.zeros(3)})

    def fail(*args):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        files.write(path, ARRAYS)
    with pytest.raises(TypeError, match="w: expected an array of numbers, got object"):
        files.write(path, {"w": np.array([None])})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    same(files.read(path), {"old": np.zeros(3)})


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.bin", "a.PKL", "a.ckpt"])
def test_pickles_are_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"is a pickle .*save_file\(module.state_dict\(\)"):
        files.read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.keras", "a.txt", "a"])
def test_other_kinds_are_refused_by_name(tmp_path, name):
    for function in (files.read, lambda path: files.write(path, {})):
        with pytest.raises(ValueError, match=r"expected a file of the kind \.safetensors, \.npz"):
            function(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("suffix", KINDS)
def test_damaged_files_are_refused(tmp_path, suffix):
    path = make(tmp_path / f"a{suffix}", ARRAYS)
    whole = path.read_bytes()
    for cut in (0, 1, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=rf"a{suffix}: expected a whole {suffix} file"):
            files.read(path)
    path.write_bytes(b"PK\x03\x04 no such thing")
    with pytest.raises(ValueError, match="cannot be read"):
        files.read(path)


def damage(whole, rng):
    """Cut short, a bit turned over, bytes scattered, or a number of eight bytes replaced."""
    broken = bytearray(whole)
    how, place = rng.integers(4), rng.integers(len(whole))
    if how == 0:
        del broken[place:]
    elif how == 1:
        broken[place] ^= 1 << int(rng.integers(8))
    elif how == 2:
        for place in rng.integers(len(whole), size=rng.integers(2, 20)):
            broken[place] = rng.integers(256)
    else:
        numbers = (0, 1, 2**63 - 1, 2**64 - 1, 0x0101010101010101)
        broken[place : place + 8] = struct.pack("<Q", numbers[rng.integers(len(numbers))])
    return bytes(broken)


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz", "a.h5", "a.keras"])
def test_a_damaged_file_is_refused_by_its_name_or_harmless(tmp_path, name):
    rng, path, read = np.random.default_rng(1), tmp_path / name, files.read
    arrays = {"w": ARRAYS["half"], "b": ARRAYS["step"], "layers/c": ARRAYS["rnn.weight"]}
    if name == "a.keras":
        keras_file(path, '{"class_name": "Sequential", "config": {"layers": []}}')
        read = files.read_config
    else:
        make(path, arrays)
    whole, expected = path.read_bytes(), read(path)
    for _ in range(250):
        path.write_bytes(damage(whole, rng))
        try:
            found = read(path)
        except (ValueError, OSError) as error:
            told = str(error)
        else:
            told = ""
        if told:
            assert str(path) in told
        elif name == "a.keras":
            assert found == expected
        elif name == "a.npz":
            same(found, expected)
        else:  # these have no checksums
            assert sum(array.nbytes for array in found.values()) <= len(whole)


def test_members_that_damage_hides_are_missed(tmp_path):
    """The length of a comment or of what is extra, grown by one bit over the entries behind."""
    path = make(tmp_path / "a.npz", ARRAYS)
    whole = path.read_bytes()
    first = whole.index(b"PK\x01\x02")
    hidden = 0
    for place in range(first + 30, first + 34):
        for bit in range(8):
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            path.write_bytes(broken)
            with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as file:
                hidden += len(file.namelist()) < len(ARRAYS)
            with pytest.raises(ValueError, match=r"a.npz: expected a whole .npz file"):
                files.read(path)
    assert hidden


def test_a_zip_whose_end_says_that_it_is_empty_is_refused(tmp_path):
    """Eight zeros over the number of members and the size of their list."""
    path = make(tmp_path / "a.npz", ARRAYS)
    broken = bytearray(path.read_bytes())
    broken[-14:-6] = bytes(8)
    path.write_bytes(broken)
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == []
    with pytest.raises(ValueError, match="expected some members, got 0"):
        files.read(path)
    files.write(path, {})
    same(files.read(path), {})


def test_an_archive_may_have_a_comment(tmp_path):
    path = make(tmp_path / "a.npz", ARRAYS)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"trained on a Monday"
    same(files.read(path), ARRAYS)


@pytest.mark.parametrize("suffix", [*KINDS, ".keras"])
def test_only_a_file_is_read(tmp_path, suffix):
    """To open a pipe waits for ever, and /dev/zero has no end."""
    read = files.read_config if suffix == ".keras" else files.read
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"endless{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"folder{suffix}").mkdir()
    for name in ("pipe", "endless", "folder"):
        with pytest.raises(ValueError, match=rf"{name}{suffix}: expected a file, got a folder"):
            read(tmp_path / f"{name}{suffix}")
    (tmp_path / f"loop{suffix}").symlink_to(f"loop{suffix}")
    for name in ("loop", "nowhere"):
        with pytest.raises(OSError, match=f"{name}{suffix}"):
            read(tmp_path / f"{name}{suffix}")


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    longest = tmp_path / ("a" * 251 + ".npz")
    files.write(longest, ARRAYS)
    same(files.read(longest), ARRAYS)
    (tmp_path / "folder.npz").mkdir()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    names = ["nowhere/a.npz", "folder.npz", "full.npz", "a" * 252 + ".npz"]
    for name in names:
        if name == "full.npz":
            monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match=rf"'{tmp_path}/{name}'"):
            files.write(tmp_path / name, ARRAYS)
        monkeypatch.undo()
    assert {file.name for file in tmp_path.iterdir()} == {longest.name, "folder.npz"}


def test_names_are_strings(tmp_path):
    """1 and "1" would be two arrays of one name."""
    for suffix in files.WRITERS:
        with pytest.raises(TypeError, match="arrays: expected names that are strings, got 1"):
            files.write(tmp_path / f"a{suffix}", {1: np.zeros(3), "1": np.ones(3)})


# safetensors --------------------------------------------------------------------------


ENTRY = '{"dtype": "%s", "shape": [2], "data_offsets": [0, 8]}'


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f'"w": {ENTRY % "F32"}', f'"w": {ENTRY % "I32"}'),
        (f'"w": {ENTRY % "F32"}', f'"\\u0077": {ENTRY % "F32"}'),
        (f'"v": {ENTRY % "F32"}', '"__metadata__": {"w": "1", "w": "2"}'),
    ],
)
def test_a_name_stands_once_in_a_safetensors(tmp_path, first, second):
    """The package gives the last of two."""
    need(".safetensors")
    header = f"{{{first}, {second}}}".encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(ValueError, match="w: expected one entry of each name, got two"):
        files.read(path)


# npz ----------------------------------------------------------------------------------


def npy(shape, dtype="<f4", content=b""):
    header = io.BytesIO()
    fields = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue() + content


def pickled():
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([Bomb()]), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("w.npy", npy((10**6, 10**6)))], r"w: expected 0 bytes, .* 4000000000000"),
        ([("w.npy", npy((2,), content=bytes(4)))], "w: expected 4 bytes"),
        ([("w.npy", npy((2,), content=bytes(12)))], "w: expected 12 bytes"),
        ([("w.npy", npy((-1, -2), content=bytes(8)))], "w: expected 8 bytes"),
        ([("w.npy", npy((2**62, 4)))], "w: expected 0 bytes"),
        ([("w.npy", npy((1,), [("a", "<f4")], bytes(4)))], "w: expected numbers"),
        ([("w.npy", npy((1,), "<U1", bytes(4)))], "w: expected numbers"),
        ([("w.npy", pickled())], "w: expected numbers, got object"),
        ([("w.npy", bytes(20))], "magic string"),
        ([("w.txt", b"hello")], "w.txt: expected one .npy array of each name"),
        ([("w.npy", npy((1,), content=bytes(4)))] * 2, "one .npy array of each name"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_npz_must_hold_what_it_claims(tmp_path, members, message):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        for name, content in members:
            file.writestr(name, content)
    with pytest.raises(ValueError, match=message):
        files.read(tmp_path / "a.npz")


def test_a_zip_bomb_is_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", w=np.zeros(2**22, np.float32))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args: pytest.fail("it was read"))
    with pytest.raises(ValueError, match="claim to hold 16777344"):
        files.read(tmp_path / "a.npz")


def test_a_zip_that_understates_its_members_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, w=np.zeros(2**20, np.float32))
    held = 2**22 + 128
    content = path.read_bytes()
    assert content.count(struct.pack("<I", held)) >= 1
    path.write_bytes(content.replace(struct.pack("<I", held), struct.pack("<I", 200)))
    with pytest.raises(ValueError, match="cannot be read"):
        files.read(path)


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_in_one_piece_is_refused(tmp_path, how):
    for name, read in (("a.npz", files.read), ("a.keras", files.read_config)):
        with zipfile.ZipFile(tmp_path / name, "w", how) as file:
            file.writestr("config.json", b"{}")
        with pytest.raises(ValueError, match=r"config.json: expected it stored or deflated"):
            read(tmp_path / name)


def keras_file(path, *contents):
    with zipfile.ZipFile(path, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two members of one name
        file.writestr("metadata.json", b"{}")
        for content in contents:
            file.writestr("config.json", content)
    return path


def test_the_config_in_a_keras_file(tmp_path):
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "LSTM"}]}}
    path = keras_file(tmp_path / "model.keras", json.dumps(config))
    assert files.read_config(path) == config
    for suffix in ("npz", "weights.h5"):
        with pytest.raises(ValueError, match=r"of the kind .keras, .*model.save\(\"NAME.keras\"\)"):
            files.read_config(tmp_path / f"model.{suffix}")
    whole = path.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"whole .keras file of a model.*cannot be read"):
            files.read_config(path)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([], "expected one config.json, got 0"),
        (["{}", "{}"], "expected one config.json, got 2"),
        (["[]"], "expected an object, got list"),
        (["{"], "cannot be read"),
        ([b"\xff\xfe\xfa"], "cannot be read"),
        (["[" * 10**5], "cannot be read"),
        (["{" + '"a": ' + "9" * 10**5 + "}"], "cannot be read"),
        (
            ['{"activation": "relu", "activation": "tanh"}'],
            "activation: expected one entry of each name, got two",
        ),
        ([b" " * 2**23], "claim to hold"),
    ],
)
def test_a_damaged_config_is_refused(tmp_path, contents, message):
    path = tmp_path / "model.keras"
    keras_file(path, *contents)
    if message == "claim to hold":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("config.json", contents[0])
    with pytest.raises(ValueError, match=message):
        files.read_config(path)


def test_small_files_may_hold_many_zeros_and_foreign_byte_orders(tmp_path):
    arrays = {"w": np.zeros(2**16, np.float32)}
    same(files.read(make(tmp_path / "a.npz", arrays)), arrays)
    foreign = {"w": np.arange(3, dtype=">f4")}
    same(files.read(make(tmp_path / "b.npz", foreign)), {"w": np.arange(3, dtype="f4")})


# HDF5 ---------------------------------------------------------------------------------


def external(h5py, file):
    file["w"] = h5py.ExternalLink("/etc/other.h5", "/w")


def soft(h5py, file):
    file["v"] = np.zeros(2)
    file["w"] = h5py.SoftLink("/v")


def twice(h5py, file):
    file["v"] = np.zeros(2)
    file["w"] = file["v"]


def loop(h5py, file):
    file.create_group("v")["w"] = file["/"]


def virtual(h5py, file):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "w", (2,))
    file.create_virtual_dataset("w", layout)


def outside(h5py, file):
    file.create_dataset("w", (2,), "f4", external=[("/etc/hostname", 0, 8)])


def huge(h5py, file):
    file.create_dataset("w", (10**6, 10**6), "f4")


def compressed(h5py, file):
    file.create_dataset("w", data=np.zeros(10**6), compression="gzip")


def strings(h5py, file):
    file["w"] = ["a", "b"]


def empty(h5py, file):
    file["w"] = h5py.Empty("f4")


def record(h5py, file):
    file["w"] = np.zeros(2, [("a", "f4")])


def named_type(h5py, file):
    file["w"] = np.dtype("f4")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (external, "w: expected an array, got a link to elsewhere"),
        (soft, "w: expected an array, got a link to elsewhere"),
        (twice, "w: expected an entry of its own"),
        (loop, "v/w: expected an entry of its own"),
        (virtual, "w: expected an array that lies in the file in one piece"),
        (outside, "w: expected an array that lies in the file in one piece"),
        (huge, r"w: expected 0 bytes, got shape \(1000000, 1000000\)"),
        (compressed, "w: expected an array that lies in the file in one piece"),
        (strings, "w: expected numbers"),
        (empty, "w: expected"),
        (record, "w: expected numbers"),
        (named_type, "w: expected an array, got Datatype"),
    ],
)
def test_an_h5_must_hold_what_it_claims(tmp_path, build, message):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        build(h5py, file)
    with pytest.raises(ValueError, match=message):
        files.read(tmp_path / "a.h5")


def test_an_h5_whose_arrays_share_their_bytes_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        sets = [file.create_dataset("0", data=np.zeros(4097, np.float32))]
        sets += [file.create_dataset(f"{i}", data=np.zeros(1021, np.float32)) for i in range(1, 20)]
        places = [dataset.id.get_offset() for dataset in sets]
    content = (tmp_path / "a.h5").read_bytes()
    for old, new in [
        (1021, 4097),
        (4 * 1021, 4 * 4097),
        *((place, places[0]) for place in places[1:]),
    ]:
        assert struct.pack("<Q", old) in content
        content = content.replace(struct.pack("<Q", old), struct.pack("<Q", new))
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(ValueError, match="claim more bytes than the file has"):
        files.read(tmp_path / "a.h5")
