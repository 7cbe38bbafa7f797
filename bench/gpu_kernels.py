"""Parity and timing of the CUDA kernels on the GPU at hand, with nothing but torch, NumPy and the package.

    python -m bench.gpu_kernels --output FILE      everything, as JSON
    python -m bench.gpu_kernels --once             each kernel once on small images, for compute-sanitizer

Parity: masks, drawn parameters and CutPaste must equal the CPU kernels' to the bit, other pixels to 1/255.
Timing: CUDA events around one call, warmed up, inputs rotated so that they do not stay in the cache; medians.
Both on radiograph phantoms made by code.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import anatpaste_gpu
from anatpaste_gpu.data.phantoms import render_phantom
from dev import backends, operator_calls

SEED = 20_221
# Batches of the roofline sheet; then sizes that take other paths: 9 x 9 tiles, not square, too large.
TIMED = ((64, 256, 256), (64, 512, 512), (16, 1024, 1024))
COMPARED = (
    (16, 256, 256),
    (8, 250, 250),
    (8, 320, 288),
    (8, 224, 224),
    (4, 512, 512),
    (2, 1024, 1024),
    (1, 2048, 1536),
)
DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32)
ONE_LEVEL = 1 / 255
GetOperator = Callable[[str, str], Callable[..., Any]]


def phantoms(count: int, height: int, width: int) -> Tensor:
    """uint8 (count,1,height,width) on the CPU; few are made, the batch repeats them."""
    side = max(height, width)
    made = [
        torch.from_numpy(render_phantom(n, image_size=side, seed=SEED).image) for n in range(min(count, 8))
    ]
    cropped = torch.stack(made)[:, None, :height, :width]
    return cropped.repeat(-(-count // len(made)), 1, 1, 1)[:count].contiguous()


def as_dtype(images: Tensor, dtype: torch.dtype) -> Tensor:
    return images if dtype == torch.uint8 else (images.float() / 255).to(dtype)


def compare(images: Tensor) -> dict[str, Any]:
    """One batch by the CUDA and by the CPU kernels."""
    ours, aux = anatpaste_gpu.batch_augment(images.cuda(), seed=SEED, return_aux=True)
    theirs, cpu_aux = anatpaste_gpu.batch_augment(images, seed=SEED, return_aux=True)
    scale = 255 if images.dtype == torch.uint8 else 1
    difference = (ours.cpu().float() - theirs.float()).abs().max().item() / scale
    masks = torch.equal(aux.masks.cpu(), cpu_aux.masks)
    drawn = all(torch.equal(a.cpu(), b) for a, b in zip(aux.params, cpu_aux.params, strict=True))
    jittered = anatpaste_gpu.image_jitter(images.cuda(), seed=SEED).cpu()
    jitter = (
        jittered.float() - anatpaste_gpu.image_jitter(images, seed=SEED).float()
    ).abs().max().item() / scale
    cuts = [anatpaste_gpu.cut_paste(i, variant="union", seed=SEED).cpu() for i in (images.cuda(), images)]
    cuts_equal = torch.equal(*cuts)
    passed = masks and drawn and cuts_equal and max(difference, jitter) <= tolerance(images.dtype)
    shape, dtype = tuple(images.shape), str(images.dtype).removeprefix("torch.")
    return {"shape": shape, "dtype": dtype, "masks_equal": masks, "params_equal": drawn, "passed": passed} | {
        "cut_paste_equal": cuts_equal,
        "largest_pixel_difference": difference,
        "largest_jitter_difference": jitter,
    }


def compare_operators(images: Tensor, get_op: GetOperator = backends.get_op) -> dict[str, bool]:
    """Each operator by itself, by the CUDA and by the CPU kernel: whether its results are equal.

    Args:
        images: (B,1,H,W) on the CPU.
        get_op: (backend, operator) -> what runs it; tensors go in and come out on the CPU.

    Returns:
        Call -> whether all results are equal to the bit, images that AnatPaste or jitter made to 1/255.
    """
    found = {}
    for name, arguments in operator_calls.on_images(images).items():
        operator = operator_calls.operator_of(name)
        results = [
            as_tuple(get_op(backend, operator)(*arguments)) for backend in (backends.CUDA, backends.NATIVE)
        ]
        blends = operator in ("image_jitter", "anat_paste")
        found[name] = all(
            alike(ours, theirs, images.dtype if blends and number == 0 else None)
            for number, (ours, theirs) in enumerate(zip(*results, strict=True))
        )
    return found


def as_tuple(results: Any) -> tuple[Tensor, ...]:
    return results if isinstance(results, tuple) else (results,)


def alike(ours: Tensor, theirs: Tensor, pixels: torch.dtype | None) -> bool:
    """Equal; or, for pixels of a type, near enough."""
    if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
        return False
    if pixels is None or not ours.numel():
        return torch.equal(ours, theirs)
    scale = 255 if pixels == torch.uint8 else 1
    return (ours.float() - theirs.float()).abs().max().item() / scale <= tolerance(pixels)


def tolerance(dtype: torch.dtype) -> float:
    """A step of bfloat16 near 1 is more than 1/255."""
    return max(ONE_LEVEL, 2**-8 if dtype == torch.bfloat16 else 0.0)


def on_side_stream(images: Tensor) -> bool:
    """Whether a call on a stream of its own gives what the default stream gives."""
    expected = anatpaste_gpu.batch_augment(images, seed=SEED)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        result = anatpaste_gpu.batch_augment(images, seed=SEED)
    stream.synchronize()
    return torch.equal(result, expected)


def in_graph(images: Tensor) -> bool:
    """Whether a captured call, its step advanced in device memory, equals a fresh call for each step."""
    step = torch.zeros((), dtype=torch.int64, device="cuda")
    index = torch.arange(len(images), device="cuda")
    anatpaste_gpu.batch_augment(
        images, seed=SEED, index=index, step=step
    )  # loads modules outside the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = anatpaste_gpu.batch_augment(images, seed=SEED, index=index, step=step)
        step += 1
    outcomes = []
    step.zero_()
    for number in range(3):
        graph.replay()
        expected = anatpaste_gpu.batch_augment(images, seed=SEED, index=index, step=number)
        outcomes.append(torch.equal(result, expected))
    return all(outcomes)


def median_ms(call: Callable[[int], Any], repeats: int = 30) -> dict[str, float]:
    """Milliseconds of one call by CUDA events: median and quartiles."""
    for number in range(5):
        call(number)
    times = []
    for number in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call(number)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    low, middle, high = statistics.quantiles(times, n=4)
    return {"median_ms": middle, "q1_ms": low, "q3_ms": high}


def graphed(call: Callable[[], Any]) -> Callable[[int], None]:
    """The call captured once: its replay has no Python and no launch gaps in it."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return lambda _: graph.replay()


def timed_calls(index: Tensor, masks: Tensor) -> dict[str, Callable[[Tensor], Any]]:
    """What is timed on a batch of those numbers and lung masks: what the roofline models, and more."""
    return {
        "segment_lungs": anatpaste_gpu.segment_lungs,
        "anat_paste": lambda x: anatpaste_gpu.batch_augment(x, seed=SEED, index=index, masks=masks),
        "batch_augment": lambda x: anatpaste_gpu.batch_augment(x, seed=SEED, index=index),
        "image_jitter": lambda x: anatpaste_gpu.image_jitter(x, seed=SEED, index=index),
        "cut_paste": lambda x: anatpaste_gpu.cut_paste(x, variant="union", seed=SEED, index=index),
        "copy": torch.clone,
    }


def timings(count: int, height: int, width: int) -> list[dict[str, Any]]:
    """Kernels at one size, eager (Python included) and as a captured graph (kernels alone)."""
    copies = [phantoms(count, height, width).cuda() for _ in range(4)]
    index = torch.arange(count, device="cuda")
    masks = anatpaste_gpu.segment_lungs(copies[0])
    rows = []
    for name, call in timed_calls(index, masks).items():
        row: dict[str, Any] = {"name": name, "batch": count, "height": height, "width": width}
        row["eager"] = median_ms(lambda number, call=call: call(copies[number % len(copies)]))  # type: ignore[misc]
        row["graph"] = median_ms(graphed(lambda call=call: call(copies[0])))  # type: ignore[misc]
        rows.append(row)
    return rows


def once() -> None:
    """Every kernel once, on every path, small enough for a sanitizer."""
    for height, width in ((64, 64), (50, 33), (320, 288)):
        for dtype in DTYPES:
            images = as_dtype(phantoms(2, height, width), dtype).cuda()
            anatpaste_gpu.batch_augment(
                anatpaste_gpu.image_jitter(images, seed=SEED), seed=SEED, return_aux=True
            )
            for variant in ("normal", "scar"):
                anatpaste_gpu.cut_paste(images, variant=variant, seed=SEED, return_aux=True)
            for name, arguments in operator_calls.on_images(images.cpu()).items():
                backends.get_op(backends.CUDA, operator_calls.operator_of(name))(*arguments)
    torch.cuda.synchronize()


def report() -> dict[str, Any]:
    comparisons = [compare(phantoms(*size)) for size in COMPARED]
    comparisons += [compare(as_dtype(phantoms(8, 256, 256), dtype)) for dtype in DTYPES[1:]]
    operators = {
        str(dtype).removeprefix("torch."): compare_operators(as_dtype(phantoms(4, 64, 80), dtype))
        for dtype in DTYPES
    }
    images = phantoms(16, 256, 256).cuda()
    runtime = {"side_stream_equal": on_side_stream(images), "graph_equal": in_graph(images)}
    return {
        "device": torch.cuda.get_device_name(),
        "comparisons": comparisons,
        "runtime": runtime,
        "operators_equal": operators,
        "passed": all(c["passed"] for c in comparisons)
        and all(runtime.values())
        and all(all(equal.values()) for equal in operators.values()),
        "timings": [row for size in TIMED for row in timings(*size)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Parity and timing of the CUDA kernels")
    parser.add_argument("--output", type=Path, help="write the JSON there instead of to the terminal")
    parser.add_argument("--once", action="store_true", help="run each kernel once and stop")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("bench.gpu_kernels needs an NVIDIA GPU that PyTorch can use.")
    if not anatpaste_gpu.has_cuda_kernels():
        sys.exit(anatpaste_gpu.why_no_cuda_kernels())
    if arguments.once:
        once()
        return 0
    result = report()
    text = json.dumps(result, indent=1)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    print(text if not arguments.output else f"passed: {result['passed']}")
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
