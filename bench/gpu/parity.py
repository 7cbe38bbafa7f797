"""Whether the CUDA kernels give what the CPU kernels give.

    python -m bench.gpu.parity --output FILE

Masks, drawn parameters and CutPaste have to be equal to the bit, other pixels to 1/255; on a stream of its
own and within a CUDA graph as on the default stream.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import anatpaste_gpu
from dev import backends, operator_calls

from .images import SEED, Radiographs
from .program import run

# Sizes that take different paths: the fused kernel, 9 x 9 tiles, not square, too large for one block.
COMPARED = (
    (16, 256, 256),
    (8, 250, 250),
    (8, 320, 288),
    (8, 224, 224),
    (4, 512, 512),
    (2, 1024, 1024),
    (1, 2048, 1536),
)
DTYPES = (torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64)
ONE_LEVEL = 1 / 255
# The largest value of the types that are not fractions.
WHITE = {torch.uint8: 255, torch.uint16: 65535}
GetOperator = Callable[[str, str], Callable[..., Any]]
OnGpu = Callable[[Tensor], Tensor]


def as_dtype(images: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 images in another type; uint16 takes all of its range."""
    if dtype == torch.uint16:
        return (images.int() * 257).to(dtype)
    return images if dtype == torch.uint8 else (images.double() / 255).to(dtype)


def in_colour(images: Tensor) -> Tensor:
    """(B,3,H,W) of (B,1,H,W), its channels three different pictures."""
    return torch.cat([images, images.flip(-1), images.flip(-2)], dim=1)


def offset(images: Tensor) -> Tensor:
    """The same images, contiguous, at an address that only fits single pixels: no wide access is allowed."""
    room = torch.empty(images.numel() + 1, dtype=images.dtype, device=images.device)
    placed = room[1:].view(images.shape)
    placed.copy_(images)
    return placed


def misplaced(images: Tensor) -> Tensor:
    """On the GPU, at such an address."""
    return offset(images.cuda())


def fractions(images: Tensor) -> Tensor:
    """float64 in [0, 1]."""
    return images.double() / WHITE.get(images.dtype, 1)


def compare(images: Tensor, on_gpu: OnGpu) -> dict[str, Any]:
    """One batch by the CUDA and by the CPU kernels; `on_gpu` puts it onto the GPU."""
    device_images = on_gpu(images)
    ours, aux = anatpaste_gpu.batch_augment(device_images, seed=SEED, return_aux=True)
    theirs, cpu_aux = anatpaste_gpu.batch_augment(images, seed=SEED, return_aux=True)
    difference = farthest(ours.cpu(), theirs)
    masks = torch.equal(aux.masks.cpu(), cpu_aux.masks)
    drawn = all(torch.equal(a.cpu(), b) for a, b in zip(aux.params, cpu_aux.params, strict=True))
    jitter = farthest(*(anatpaste_gpu.image_jitter(i, seed=SEED).cpu() for i in (device_images, images)))
    cuts = [anatpaste_gpu.cut_paste(i, variant="union", seed=SEED).cpu() for i in (device_images, images)]
    cuts_equal = torch.equal(*cuts)
    passed = masks and drawn and cuts_equal and max(difference, jitter) <= tolerance(images.dtype)
    aligned = device_images.data_ptr() % 16 == 0
    shape, dtype = tuple(images.shape), str(images.dtype).removeprefix("torch.")
    return {"shape": shape, "dtype": dtype, "aligned": aligned, "passed": passed} | {
        "masks_equal": masks,
        "params_equal": drawn,
        "cut_paste_equal": cuts_equal,
        "largest_pixel_difference": difference,
        "largest_jitter_difference": jitter,
    }


def farthest(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two pixels, as a share of white."""
    return (fractions(ours) - fractions(theirs)).abs().max().item()


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
    return farthest(ours, theirs) <= tolerance(pixels)


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


def batches(radiographs: Radiographs) -> Iterator[tuple[Tensor, OnGpu]]:
    """What is compared: sizes, then types, each in grey, in colour and at an odd address."""
    for size in COMPARED:
        yield radiographs.batch(*size), Tensor.cuda
    for dtype in DTYPES:
        images = as_dtype(radiographs.batch(8, 256, 256), dtype)
        yield from ((images, Tensor.cuda), (in_colour(images), Tensor.cuda), (images, misplaced))


def report(radiographs: Radiographs, _: argparse.Namespace) -> dict[str, Any]:
    """All comparisons, and whether every one passed."""
    comparisons = [compare(*batch) for batch in batches(radiographs)]
    operators = {
        str(dtype).removeprefix("torch."): compare_operators(as_dtype(radiographs.batch(4, 64, 80), dtype))
        for dtype in DTYPES
    }
    images = radiographs.batch(16, 256, 256).cuda()
    runtime = {"side_stream_equal": on_side_stream(images), "graph_equal": in_graph(images)}
    passed = (
        all(comparison["passed"] for comparison in comparisons)
        and all(runtime.values())
        and all(all(equal.values()) for equal in operators.values())
    )
    return {"passed": passed, "comparisons": comparisons, "runtime": runtime, "operators_equal": operators}


if __name__ == "__main__":
    sys.exit(run(__doc__, report))
