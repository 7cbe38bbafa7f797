"""Standard streams of commands, where libraries keep them."""

from __future__ import annotations

import io
import sys

import pytest

from anatpaste_gpu.standard_streams import lasting_streams


def test_a_library_that_closes_what_it_kept_leaves_standard_error_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beneath = io.StringIO()
    monkeypatch.setattr(sys, "stderr", beneath)
    with lasting_streams():
        kept = sys.stderr
    # As absl's log does, which TensorBoard brings, when Ray sets up the logs anew.
    kept.close()
    print("still told", file=sys.stderr)
    assert beneath.getvalue() == "still told\n"
