"""The kernels of the sheet, compiled for sm_86 as they are shipped: resources and annotated SASS."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from dev import REPOSITORY, build_flags, cuda_toolkit, sass

from .listing import Graph, read

OUTPUT = REPOSITORY / "build" / "roofline"
#: For uint8 images, by the name that the launcher gives the launch: what is launched.
KERNELS = {
    "segment_lungs": "segment_lungs_kernel<uint8_t, Blend::kShift>",
    "anat_paste": "anat_paste_kernel<uint8_t, true>",
    "cut_paste": "cut_paste_kernel<uint8_t>",
    "image_jitter": "image_jitter_kernel<uint8_t>",
    "image_jitter_sum": "image_jitter_sum_kernel<uint8_t>",
    "image_jitter_apply": "image_jitter_apply_kernel<uint8_t>",
    "depth_range": "depth_range_kernel<uint8_t>",
    "tile_maps": "tile_maps_kernel<uint8_t>",
    "equalize": "equalize_kernel<Blend::kScaled>",
    "level_histogram": "level_histogram_kernel",
    "open_dark": "mask_band_kernel<Morphology::kOpening, DarkSource, LabelSink>",
    "join_blocks_and_border": "join_kernel<true>",
    "clear_border_and_dilate": (
        "mask_band_kernel<Morphology::kDilation, FilteredSource<TouchesBorder>, LabelSink>"
    ),
    "join_blocks": "join_kernel<false>",
    "measure_components": "measure_kernel",
    "remove_small": "mask_band_kernel<Morphology::kNone, FilteredSource<IsSmall>, ByteSink>",
}


@dataclass(frozen=True)
class Compiled:
    """One kernel."""

    registers: int
    static_shared_bytes: int
    stack_bytes: int
    graph: Graph


def source() -> str:
    """A translation unit with the address of each kernel, in the order of KERNELS."""
    headers = sorted((REPOSITORY / "csrc" / "cuda").glob("*.cuh"))
    includes = "".join(f'#include "cuda/{header.name}"\n' for header in headers)
    addresses = "".join(f"  reinterpret_cast<const void*>(&{name}),\n" for name in KERNELS.values())
    return f"{includes}namespace anatpaste {{\nconst void* const kernels[] = {{\n{addresses}}};\n}}\n"


def run(command: list[object]) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout + done.stderr


def compile_kernels() -> tuple[dict[str, Compiled], str]:
    """Compiles all of KERNELS; returns them by launch name, and nvcc's version.

    Line tables change no instruction, so these are the kernels of the extension.
    """
    toolkit = cuda_toolkit.prepare_environment()
    if toolkit is None:
        raise SystemExit(f"the roofline sheet needs nvcc: {cuda_toolkit.why_not()}")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    unit, cubin = OUTPUT / "kernels.cu", OUTPUT / "kernels.cubin"
    unit.write_text(source())
    log = run([toolkit.home / "bin" / "nvcc", *build_flags.DEVICE_CODE, "-arch=sm_86", "-lineinfo",
               "-Xptxas", "-v", "-cubin", f"-I{REPOSITORY / 'csrc'}", "-o", cubin, unit])  # fmt: skip
    nvdisasm = sass.find_disassembler("nvdisasm", toolkit.home)
    listing = OUTPUT / "kernels.sass"
    listing.write_text(run([nvdisasm, "-gi", "-c", cubin]))
    resources = sass.parse_ptxas(log)
    graphs = read(listing)
    names = match_names(sorted(graphs))
    return {
        launch: Compiled(
            resources[name].registers,
            resources[name].static_shared_bytes,
            resources[name].stack_bytes,
            graphs[name],
        )
        for launch, name in names.items()
    }, toolkit.version


def match_names(mangled: list[str]) -> dict[str, str]:
    """Launch name to mangled name, through the demangled one."""
    readable = sass.demangle(mangled)
    found = {}
    for launch, expression in KERNELS.items():
        wanted = plain(expression)
        hits = [name for name, text in zip(mangled, readable, strict=True) if plain(text) == wanted]
        if len(hits) != 1:
            raise SystemExit(f"{expression} was compiled {len(hits)} times, expected once.")
        found[launch] = hits[0]
    return found


#: Enumerators as c++filt shows them.
_ENUMERATORS = {
    "Blend::kShift": "(Blend)0",
    "Blend::kScaled": "(Blend)1",
    "Morphology::kNone": "(Morphology)0",
    "Morphology::kOpening": "(Morphology)1",
    "Morphology::kDilation": "(Morphology)2",
}


def plain(name: str) -> str:
    """One spelling for source code and for c++filt: no namespace, return type, arguments, spaces."""
    name = name.replace("anatpaste::", "").removeprefix("void ").replace("uint8_t", "unsigned char")
    for enumerator, number in _ENUMERATORS.items():
        name = name.replace(enumerator, number)
    depth = 0
    for i, character in enumerate(name):
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "(" and depth == 0:
            name = name[:i]
            break
    return re.sub(r"\s", "", name)
