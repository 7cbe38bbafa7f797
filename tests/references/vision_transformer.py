"""Vision transformers as their papers write them down, straight from the tensors of published files.

`hugging_face_dino` reads the names of Hugging Face's DINOv2, `clip_tower` those of CLIP's image tower;
neither uses a module of torch's or timm's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


def hugging_face_dino(state: State, images: Tensor, heads: int, eps: float = 1e-6) -> Tensor:
    """The class token after the last norm, (B, D), of images (B, 3, H, W) of the size of the positions."""
    patches = state["embeddings.patch_embeddings.projection.weight"]
    grid = functional.conv2d(
        images, patches, state["embeddings.patch_embeddings.projection.bias"], stride=patches.shape[-1]
    )
    tokens = _with_class(grid, state["embeddings.cls_token"]) + state["embeddings.position_embeddings"]
    for number in range(_count(state, "encoder.layer.")):
        own = _below(state, f"encoder.layer.{number}.")
        inner = _norm(tokens, own, "norm1", eps)
        query, key, value = (
            _linear(inner, own, f"attention.attention.{part}") for part in ("query", "key", "value")
        )
        attended = _linear(_attention(query, key, value, heads), own, "attention.output.dense")
        tokens = tokens + own["layer_scale1.lambda1"] * attended
        inner = _linear(_norm(tokens, own, "norm2", eps), own, "mlp.fc1")
        inner = _linear(functional.gelu(inner), own, "mlp.fc2")
        tokens = tokens + own["layer_scale2.lambda1"] * inner
    return _norm(tokens, state, "layernorm", eps)[:, 0]


def clip_tower(state: State, images: Tensor, heads: int, *, quick: bool, eps: float = 1e-5) -> Tensor:
    """The class token before it is projected into the space of texts, (B, D)."""
    activation: Callable[[Tensor], Tensor] = functional.gelu
    if quick:
        activation = lambda values: values * torch.sigmoid(1.702 * values)  # noqa: E731
    patches = state["visual.conv1.weight"]
    grid = functional.conv2d(images, patches, stride=patches.shape[-1])
    tokens = _with_class(grid, state["visual.class_embedding"]) + state["visual.positional_embedding"]
    tokens = _norm(tokens, state, "visual.ln_pre", eps)
    for number in range(_count(state, "visual.transformer.resblocks.")):
        own = _below(state, f"visual.transformer.resblocks.{number}.")
        inner = functional.linear(
            _norm(tokens, own, "ln_1", eps), own["attn.in_proj_weight"], own["attn.in_proj_bias"]
        )
        tokens = tokens + _linear(_attention(*inner.chunk(3, -1), heads), own, "attn.out_proj")
        inner = activation(_linear(_norm(tokens, own, "ln_2", eps), own, "mlp.c_fc"))
        tokens = tokens + _linear(inner, own, "mlp.c_proj")
    return _norm(tokens[:, 0], state, "visual.ln_post", eps)


def _attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of every head, side by side again."""
    batch, tokens, width = query.shape
    query, key, value = (
        part.reshape(batch, tokens, heads, width // heads).transpose(1, 2) for part in (query, key, value)
    )
    share = (query @ key.transpose(2, 3) / (width // heads) ** 0.5).softmax(-1)
    return (share @ value).transpose(1, 2).reshape(batch, tokens, width)


def _with_class(grid: Tensor, token: Tensor) -> Tensor:
    return torch.cat([token.reshape(1, 1, -1).expand(len(grid), -1, -1), grid.flatten(2).transpose(1, 2)], 1)


def _norm(tokens: Tensor, state: State, name: str, eps: float) -> Tensor:
    mean = tokens.mean(-1, keepdim=True)
    variance = tokens.var(-1, correction=0, keepdim=True)
    return (tokens - mean) / (variance + eps).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def _linear(tokens: Tensor, state: State, name: str) -> Tensor:
    return functional.linear(tokens, state[f"{name}.weight"], state[f"{name}.bias"])


def _below(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _count(state: State, prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})
