"""Drawn parameters are a row of two tensors: the same columns in the same order in Python and C++."""

from __future__ import annotations

import ctypes
import importlib
from pathlib import Path

import pytest
import torch

from anatpaste_gpu import operator_params
from anatpaste_gpu.operator_params import PARAMS, columns_of, from_columns

from .test_operator_settings import compile_fields, swaps

COMPILED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = importlib.import_module(
    "anatpaste_gpu._C"
).PARAMS
PROGRAM = """
#include "common/draw_cut_paste.h"
using namespace anatpaste;
extern "C" const char* name(int i) { return CutPasteParams::kIntNames[i]; }
extern "C" int cut_h_of(const int32_t* ints, const float* reals, int row) {
  return CutPasteParams::load(ints, reals, row).cut_h;
}
extern "C" void copy_row(const int32_t* ints, const float* reals, int32_t* to_ints, float* to_reals) {
  CutPasteParams::load(ints, reals, 1).store(to_ints, to_reals, 1);
}
"""


@pytest.mark.parametrize("name", PARAMS)
def test_python_and_compiled_operators_have_the_same_columns_in_the_same_order(name: str) -> None:
    assert COMPILED[name] == columns_of(PARAMS[name])
    assert set(COMPILED) == set(PARAMS)


@pytest.mark.parametrize("name", PARAMS)
def test_two_swapped_columns_are_refused_at_import(name: str) -> None:
    ints, reals = columns_of(PARAMS[name])
    for swapped in swaps(ints):
        with pytest.raises(ImportError, match=rf"params_int of {name} must be .*build it again with `pip"):
            operator_params.check_compiled({**COMPILED, name: (swapped, reals)})
    for swapped in swaps(reals):
        with pytest.raises(ImportError, match=rf"params_real of {name} must be .*build it again with `pip"):
            operator_params.check_compiled({**COMPILED, name: (ints, swapped)})


def test_a_compiled_module_without_columns_is_refused() -> None:
    with pytest.raises(ImportError, match=r"must be cut_h, .*, centre_x, but .* has none; build"):
        operator_params.check_compiled({})
    operator_params.check_compiled(COMPILED)


def test_a_swap_in_the_list_of_columns_reaches_names_reader_and_writer_alike(tmp_path: Path) -> None:
    height, width = "  F(int32_t, cut_h)                 \\\n", "  F(int32_t, cut_w)                 \\\n"
    done = compile_fields(tmp_path, "params.h", height + width, width + height, PROGRAM)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(tmp_path / "program.so"))
    library.name.restype = ctypes.c_char_p
    assert [library.name(i) for i in range(3)] == [b"kind", b"cut_w", b"cut_h"]
    ints, reals = (ctypes.c_int32 * 18)(*range(18)), (ctypes.c_float * 4)(*range(4))
    assert [library.cut_h_of(ints, reals, row) for row in range(2)] == [2, 11]
    to_ints, to_reals = (ctypes.c_int32 * 18)(), (ctypes.c_float * 4)()
    library.copy_row(ints, reals, to_ints, to_reals)
    assert (list(to_ints), list(to_reals)) == ([0] * 9 + list(range(9, 18)), [0, 0, 2, 3])


def test_a_column_more_does_not_compile(tmp_path: Path) -> None:
    """The tensors' shapes are published: users keep them and replay them."""
    last = "  F(int32_t, paste_left)"
    result = compile_fields(tmp_path, "params.h", last, f"{last} F(int32_t, angle)", PROGRAM)
    assert result.returncode != 0
    assert "params of cut_paste are (B,9) and (B,2)" in result.stderr


@pytest.mark.parametrize("name", PARAMS)
def test_fields_are_their_columns(name: str) -> None:
    kind = PARAMS[name]
    ints, reals = (torch.arange(2 * len(part)).view(2, -1) for part in columns_of(kind))
    params = from_columns(kind, ints, reals.float())
    for part, held in zip(columns_of(kind), (ints, reals), strict=True):
        for at, field in enumerate(part):
            assert getattr(params, field).tolist() == held[:, at].tolist(), field
