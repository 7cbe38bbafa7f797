"""What `make floors` installs and tries; the installing itself needs an index and minutes."""

from __future__ import annotations

import pytest

from dev.floor_smoke import PARTS
from dev.floors import CORE, EXTRAS, declared, floors

#: Extras for developers and for the benchmarks, or made of the others.
NOT_TRIED = {"all", "test", "dev", "peers", "peers-cuda12"}


def test_every_extra_of_users_is_tried() -> None:
    assert set(EXTRAS) == set(declared()["optional-dependencies"]) - NOT_TRIED
    assert set(PARTS) == {CORE, *EXTRAS}


@pytest.mark.parametrize("extra", [CORE, *EXTRAS])
def test_every_requirement_has_a_floor(extra: str) -> None:
    pins = floors(declared(), extra)
    assert pins
    assert all(pin.count("==") == 1 for pin in pins)


def test_floors_are_the_lowest_versions() -> None:
    project = {
        "name": "ours",
        "dependencies": ["torch>=2.10", "numpy>=1.26,<3"],
        "optional-dependencies": {"more": ["ours[less]", "parser[signatures]>=4.49"]},
    }
    assert floors(project, CORE) == ["torch==2.10", "numpy==1.26"]
    assert floors(project, "more") == ["parser[signatures]==4.49"]


def test_a_requirement_without_a_floor() -> None:
    with pytest.raises(ValueError, match=r"^torch<3 must have one lowest version \(>=\)\.$"):
        floors({"name": "ours", "dependencies": ["torch<3"]}, CORE)
