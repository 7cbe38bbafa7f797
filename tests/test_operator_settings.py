"""An operator's settings are one list: the same fields in the same order in Python, C++ and the schema."""

from __future__ import annotations

import ctypes
import importlib
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from anatpaste_gpu import AnatPasteConfig, CutPasteConfig, operator_settings
from anatpaste_gpu.operator_settings import SETTINGS, anat_paste_settings, cut_paste_settings
from dev import REPOSITORY, backends, build_flags, operator_calls

COMPILED: dict[str, tuple[str, ...]] = importlib.import_module("anatpaste_gpu._C").SETTINGS
#: Operator that takes settings -> whose they are.
TAKERS = {f"{draw}{name}": name for name in SETTINGS for draw in ("", "draw_")}
CSRC = REPOSITORY / "csrc"
STRUCTS = {"image_jitter": "ImageJitter", "anat_paste": "AnatPaste", "cut_paste": "CutPaste"}
PROGRAM = """
#include "common/draw_cut_paste.h"
using namespace anatpaste;
extern "C" const char* name(int i) { return %sSettings::kNames[i]; }
extern "C" int count() { return %sSettings::kCount; }
extern "C" float area_low_of(const double* values) { return AnatPasteSettings::parse(values).area_low; }
"""


@pytest.mark.parametrize("name", SETTINGS)
def test_python_and_compiled_operators_have_the_same_fields_in_the_same_order(name: str) -> None:
    assert COMPILED[name] == SETTINGS[name]._fields
    assert set(COMPILED) == set(SETTINGS)


@pytest.mark.parametrize("name", TAKERS)
def test_the_schema_takes_them_as_one_list(name: str) -> None:
    arguments = getattr(torch.ops.anatpaste, name).default._schema.arguments
    kinds = {argument.name: str(argument.type) for argument in arguments}
    assert kinds["settings"] == "List[float]"
    # Everything else that an operator is told is a tensor, the images' size, or which outputs are wanted.
    others = {argument for argument, kind in kinds.items() if "Tensor" not in kind} - {"settings"}
    assert others <= {"height", "width", "return_figure", "return_mask"}


def test_no_other_operator_takes_settings() -> None:
    calls = operator_calls.on_images(torch.zeros((1, 1, 16, 16), dtype=torch.uint8))
    listed = {name for name, arguments in calls.items() if any(isinstance(a, list) for a in arguments)}
    assert {operator_calls.operator_of(name) for name in listed} == set(SETTINGS)


def swaps(fields: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The fields with two neighbours in each other's place."""
    return [(*fields[:i], fields[i + 1], fields[i], *fields[i + 2 :]) for i in range(len(fields) - 1)]


@pytest.mark.parametrize("name", SETTINGS)
def test_two_swapped_names_are_refused_at_import(name: str) -> None:
    for swapped in swaps(SETTINGS[name]._fields):
        with pytest.raises(ImportError, match=rf"the settings of {name} must be .*build it again with `pip"):
            operator_settings.check_compiled({**COMPILED, name: swapped})


def test_a_compiled_module_without_settings_is_refused() -> None:
    with pytest.raises(ImportError, match=r"must be jitter_low, jitter_high, but .* has none; build"):
        operator_settings.check_compiled({})
    operator_settings.check_compiled(COMPILED)


def compile_fields(
    folder: Path, name: str, old: str, new: str, program: str
) -> subprocess.CompletedProcess[str]:
    """Compiles a program with `old` replaced by `new` in this header of csrc/common, as folder/program.so."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    shutil.copytree(CSRC / "common", folder / "common")
    header = folder / "common" / name
    text = header.read_text()
    assert text.count(old) == 1
    header.write_text(text.replace(old, new))
    (folder / "program.cpp").write_text(program)
    command = [compiler, build_flags.STANDARD, "-shared", "-fPIC", f"-I{folder}", str(folder / "program.cpp")]
    return subprocess.run([*command, "-o", str(folder / "program.so")], capture_output=True, text=True)


def test_a_swap_in_the_list_of_fields_reaches_the_names_and_the_parser_alike(tmp_path: Path) -> None:
    low, high = "  F(float, area_low)              \\\n", "  F(float, area_high)             \\\n"
    program = PROGRAM.replace("%s", STRUCTS["anat_paste"])
    assert compile_fields(tmp_path, "settings.h", low + high, high + low, program).returncode == 0
    library = ctypes.CDLL(str(tmp_path / "program.so"))
    library.name.restype, library.area_low_of.restype = ctypes.c_char_p, ctypes.c_float
    names = tuple(library.name(i).decode() for i in range(library.count()))
    assert names == ("area_high", "area_low", *SETTINGS["anat_paste"]._fields[2:])
    assert library.area_low_of((ctypes.c_double * len(names))(*range(len(names)))) == 1
    with pytest.raises(ImportError, match="the settings of anat_paste must be area_low, area_high"):
        operator_settings.check_compiled({**COMPILED, "anat_paste": names})


@pytest.mark.parametrize("name", ["scar_width_low", "integer_draws"])
def test_a_field_under_another_name_does_not_compile(tmp_path: Path, name: str) -> None:
    program = PROGRAM.replace("%s", STRUCTS["cut_paste"])
    result = compile_fields(tmp_path, "settings.h", f", {name})", f", {name}_)", program)
    assert result.returncode != 0
    assert f"has no member named '{name}'" in result.stderr.replace("‘", "'").replace("’", "'")


@pytest.mark.parametrize("change", [[], [0.0]], ids=["one short", "one too many"])
def test_a_list_of_another_length_is_refused(backend: str, change: list[float]) -> None:
    images = torch.zeros((1, 1, 16, 16), dtype=torch.uint8)
    for call, arguments in operator_calls.on_images(images).items():
        name = operator_calls.operator_of(call)
        if name not in SETTINGS:
            continue
        wrong = [a[:-1] + 2 * change if isinstance(a, list) else a for a in arguments]
        count = len(SETTINGS[name]._fields)
        with pytest.raises(
            RuntimeError, match=rf"settings must hold {count} numbers .*, got {count + 2 * len(change) - 1}"
        ):
            backends.get_op(backend, name)(*wrong)


def test_settings_travel_exactly() -> None:
    """Whole numbers and truth values are what they were, and lengths are in pixels of these images."""
    config = AnatPasteConfig(
        patch_area=(0.1, 0.3), value_range=(0.2, 0.6), integer_draws=True, patch_background="image", margin=3
    )
    paste = operator_settings.AnatPasteSettings(*anat_paste_settings(config, 512, 128))
    assert (paste.area_low, paste.area_high) == (0.1 * 65536, 0.3 * 65536)
    assert (paste.value_low, paste.value_high) == (51.0, 153.0)
    assert (paste.margin, paste.integer_draws, paste.image_background) == (3, True, True)
    assert paste.sigma_scale == 1.0
    cut = operator_settings.CutPasteSettings(*cut_paste_settings("union", CutPasteConfig(), 512, 512))
    assert (cut.variant, cut.scar_width_low, cut.scar_length_high) == (2, 4.0, 50.0)
    assert (cut.rotation_low, cut.rotation_high) == (-45.0, 45.0)
