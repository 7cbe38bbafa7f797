"""SQUID's memories and its inpainting, against slow loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.methods.squid.inpainting import Inpainting, NeighbourAttention, neighbour_bias, place_bits
from anatpaste_gpu.methods.squid.memory import MemoryMatrix, MemoryQueue, recall


def slow_recall(query: Tensor, slots: Tensor, kept: int) -> Tensor:
    """One query of one memory, by the definition."""
    weights = [float(torch.exp(query.detach() @ slot)) for slot in slots]
    weights = [weight / sum(weights) for weight in weights]
    chosen = sorted(range(len(slots)), key=lambda number: -weights[number])[:kept]
    total = sum(weights[number] for number in chosen)
    return sum((weights[number] / total * slots[number] for number in chosen), torch.zeros(len(query)))


class TestMemory:
    @pytest.mark.parametrize("kept", [1, 5, 9])
    def test_recall_is_the_mean_of_the_slots_most_alike(self, kept: int) -> None:
        generator = torch.Generator().manual_seed(kept)
        queries = torch.randn(3, 7, 4, generator=generator)
        slots = torch.randn(3, 9, 4, generator=generator)
        found = recall(queries, slots, kept)
        for memory in range(3):
            for number in range(7):
                expected = slow_recall(queries[memory, number], slots[memory], kept)
                # Float32 sums of nine terms.
                torch.testing.assert_close(found[memory, number], expected, rtol=1e-5, atol=1e-6)

    def test_what_the_authors_code_keeps(self) -> None:
        """It takes the weights that are above the fifth largest one: four."""
        generator = torch.Generator().manual_seed(0)
        query, slots = torch.randn(1, 1, 4, generator=generator), torch.randn(1, 9, 4, generator=generator)
        weights = torch.softmax(query[0] @ slots[0].T, 1)
        fifth = weights.topk(5).values[0, -1]
        above = weights * (weights > fifth)
        assert int((above > 0).sum()) == 4
        expected = above / above.sum() @ slots[0]
        torch.testing.assert_close(recall(query, slots, 4)[0], expected, rtol=1e-5, atol=1e-6)

    def test_gradients_go_through_as_if_nothing_was_cut_off(self) -> None:
        """Of the weights; the slots' own are those of the sparse sum."""
        generator = torch.Generator().manual_seed(3)
        queries = torch.randn(1, 2, 4, generator=generator, requires_grad=True)
        slots = torch.randn(1, 9, 4, generator=generator, requires_grad=True)
        outer = torch.randn(1, 2, 4, generator=generator)
        of_queries, of_slots = torch.autograd.grad(
            (recall(queries, slots, 3) * outer).sum(), (queries, slots)
        )
        weights = torch.softmax(queries @ slots.mT, 2)
        (expected,) = torch.autograd.grad(
            (weights * (outer @ slots.detach().mT)).sum(), queries, retain_graph=True
        )
        torch.testing.assert_close(of_queries, expected, rtol=1e-5, atol=1e-6)
        (through,) = torch.autograd.grad((weights * (outer @ slots.detach().mT)).sum(), slots)
        largest, places = weights.detach().topk(3, 2)
        sparse = torch.zeros_like(weights).scatter(2, places, largest / largest.sum(2, keepdim=True))
        torch.testing.assert_close(of_slots, through + sparse.mT @ outer, rtol=1e-5, atol=1e-6)

    def test_recall_is_computed_in_float32_under_autocast(self) -> None:
        generator = torch.Generator().manual_seed(4)
        queries, slots = torch.randn(2, 3, 8, generator=generator), torch.randn(2, 9, 8, generator=generator)
        expected = recall(queries, slots, 5)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(recall(queries, slots, 5), expected)

    def test_queue_is_first_in_first_out(self) -> None:
        queue = MemoryQueue(2, 5, 3, 2)
        first = queue.slots.clone()
        expected = [list(memory) for memory in first]
        number = 0
        for count in (2, 2, 3, 5, 1):
            features = torch.arange(number, number + count * 6).reshape(count, 2, 3).float()
            number += count * 6
            for one in features:
                for memory in range(2):
                    expected[memory].append(one[memory])  # the newest last
            queue.push(features)
        # The oldest is where the pointer is.
        order = [(int(queue.pointer) + place) % 5 for place in range(5)]
        for memory in range(2):
            assert torch.equal(queue.slots[memory, order], torch.stack(expected[memory][-5:]))
        assert int(queue.pointer) == 13 % 5

    def test_queue_learns_nothing(self) -> None:
        queue = MemoryQueue(2, 5, 3, 2)
        queries = torch.randn(4, 2, 3, requires_grad=True)
        queue(queries).sum().backward()
        assert queries.grad is not None
        assert queue.slots.grad is None
        assert list(queue.parameters()) == []
        assert set(queue.state_dict()) == {"slots", "pointer"}

    def test_what_the_queue_answers_lies_row_by_row(self) -> None:
        """Else a linear layer behind it copies its weights for each image: half of a step's time."""
        assert MemoryQueue(4, 6, 3, 2)(torch.randn(5, 4, 3)).is_contiguous()

    def test_matrix_recalls_quarters(self) -> None:
        torch.manual_seed(5)
        matrix = MemoryMatrix(7, 3 * 4, 2)
        maps = torch.randn(2, 3, 4, 4)
        found = matrix(maps)
        for image in range(2):
            for quarter, (y, x) in enumerate(((0, 0), (0, 2), (2, 0), (2, 2))):
                query = maps[image, :, y : y + 2, x : x + 2].permute(1, 2, 0).flatten()
                expected = (
                    slow_recall(query, matrix.slots[quarter].detach(), 2).reshape(2, 2, 3).permute(2, 0, 1)
                )
                own = found[image, :, y : y + 2, x : x + 2]
                torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)

    def test_matrix_leaves_pixels_as_they_are(self) -> None:
        matrix = MemoryMatrix(7, 3 * 4, 2)
        maps = torch.randn(2, 3, 4, 4)
        keep = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
        keep[1, 0, 2, 3] = True
        found = matrix(maps, keep)
        assert torch.equal(found[1, :, 2, 3], maps[1, :, 2, 3])
        keep[1, 0, 2, 3] = False
        assert torch.equal(torch.where(keep, maps, matrix(maps)), matrix(maps, keep))


class TestAttention:
    @pytest.mark.parametrize("parts", [1, 2, 3, 4])
    def test_the_mask_is_the_window_around_a_patch(self, parts: int) -> None:
        bias = neighbour_bias(parts)
        for number in range(parts**2):
            row, column = divmod(number, parts)
            outside = 0
            seen = set()
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    if (down, right) == (0, 0):
                        continue
                    if 0 <= row + down < parts and 0 <= column + right < parts:
                        seen.add((row + down) * parts + column + right)
                    else:
                        outside += 1
            assert {int(place) for place in (bias[number, :-1] == 0).nonzero()} == seen
            assert bias[number, :-1].isneginf().sum() == parts**2 - len(seen)
            assert float(bias[number, -1].exp()) == pytest.approx(outside, rel=1e-6)

    @pytest.mark.parametrize("parts", [2, 3])
    def test_it_is_torchs_attention_over_zero_padded_windows(self, parts: int) -> None:
        """As the authors write it: eight keys a patch, gathered one by one, zeros where there is no patch."""
        torch.manual_seed(parts)
        width = 16
        attention = NeighbourAttention(width, parts)
        nn.init.normal_(attention.inward.bias)
        reference = nn.MultiheadAttention(width, 8)
        with torch.no_grad():
            reference.in_proj_weight.copy_(attention.inward.weight)
            reference.in_proj_bias.copy_(attention.inward.bias)
            reference.out_proj.load_state_dict(attention.outward.state_dict())
        queries, patches = torch.randn(2, 2, parts**2, width)
        found = attention(queries, patches)
        for image in range(2):
            grid = functional.pad(patches[image].reshape(parts, parts, width), (0, 0, 1, 1, 1, 1))
            for number in range(parts**2):
                row, column = divmod(number, parts)
                window = grid[row : row + 3, column : column + 3].reshape(9, width)
                keys = torch.cat([window[:4], window[5:]])[:, None]
                expected = reference(queries[image, number][None, None], keys, keys)[0][0, 0]
                # Softmaxes and sums of float32 in another order.
                torch.testing.assert_close(found[image, number], expected, rtol=1e-4, atol=1e-5)

    def test_inpainting_is_what_the_block_says(self) -> None:
        """Its parts put together again, one image at a time."""
        torch.manual_seed(6)
        block = Inpainting(16, 2, 2, 6, 3).eval()
        features = torch.randn(8, 16, 2, 2)
        found, queries = block(features)
        for image in range(2):
            own = slice(4 * image, 4 * image + 4)
            query = block.narrowed(features[own]).flatten(1)
            assert torch.equal(queries[image], query)
            recalled = torch.stack(
                [slow_recall(q, s, 3) for q, s in zip(query, block.queue.slots, strict=True)]
            )
            seen = (block.attention_norm(block.attention(query[None], recalled[None])[0]) + recalled).relu()
            mixed = (block.forward_norm(block.forward_layers(seen)) + seen).relu().reshape(4, 4, 2, 2)
            bits = place_bits(2)[:, :, None, None].expand(-1, -1, 2, 2)
            expected = block.widened(torch.cat([mixed, bits], 1))
            torch.testing.assert_close(found[own], expected, rtol=1e-4, atol=1e-5)

    def test_inpainting_leaves_pixels_as_they_are(self) -> None:
        block = Inpainting(16, 2, 2, 6, 3).eval()
        features = torch.randn(4, 16, 2, 2)
        keep = torch.zeros(4, 1, 2, 2, dtype=torch.bool)
        keep[3, 0, 0, 1] = True
        found, _ = block(features, keep)
        assert torch.equal(found[3, :, 0, 1], features[3, :, 0, 1])
        keep[3, 0, 0, 1] = False
        assert torch.equal(block(features, keep)[0], block(features)[0])
