"""The network: embedding, head, normalisation, weights from a file."""

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from anatpaste_gpu.methods.pretext.network import AnatPasteNet, to_input


@pytest.fixture(scope="module")
def network() -> AnatPasteNet:
    torch.manual_seed(0)
    return AnatPasteNet().eval()


def test_cardinality(network: AnatPasteNet) -> None:
    images = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)
    assert network.embedding_size == 512
    assert network.embed(images).shape == (3, 512)
    assert network(images).shape == (3, 2)
    assert network.embed(images[:0]).shape == (0, 512)


def test_head_has_three_layers_with_norm_and_relu_between(network: AnatPasteNet) -> None:
    kinds = [type(layer) for layer in network.head]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    widths = [
        (layer.in_features, layer.out_features) for layer in network.head if isinstance(layer, nn.Linear)
    ]
    assert widths == [(512, 512), (512, 128), (128, 2)]


def test_embedding_is_torchvisions_pooled_feature(network: AnatPasteNet) -> None:
    plain = torchvision.models.resnet18().eval()
    plain.load_state_dict(network.backbone.state_dict(), strict=False)
    seen: list[torch.Tensor] = []
    plain.avgpool.register_forward_hook(lambda module, args, out: seen.append(out.flatten(1)))
    images = torch.rand(2, 1, 48, 48)
    plain((images.expand(-1, 3, -1, -1) - 0.5) / 0.5)
    # The two inputs differ in rounding only: one multiply-add here, a subtraction and a division there.
    torch.testing.assert_close(network.embed(images), seen[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "maximum"), [(torch.uint8, 255), (torch.uint16, 65535), (torch.float32, 1), (torch.float16, 1)]
)
def test_input_is_normalised_by_one_half(dtype: torch.dtype, maximum: int) -> None:
    images = (
        torch.tensor([0, maximum / 2 if maximum == 1 else maximum // 2, maximum]).to(dtype).view(1, 1, 1, 3)
    )
    result = to_input(images)
    assert result.dtype == torch.float32
    assert result.shape == (1, 3, 1, 3)
    assert torch.equal(result[:, 0], result[:, 1])
    assert torch.equal(result[:, 0], result[:, 2])
    middle = (images[0, 0, 0, 1].double() / maximum - 0.5) / 0.5
    # One float32 rounding of a value near 1.
    torch.testing.assert_close(
        result[0, 0, 0].double(),
        torch.stack([-torch.ones(()), middle, torch.ones(())]).double(),
        rtol=0,
        atol=2e-7,
    )


@pytest.mark.parametrize("name", ["resnet34", "mobilenet_v3_small", "densenet121"])
def test_other_backbones(name: str) -> None:
    network = AnatPasteNet(name).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 64, 64, dtype=torch.uint8)).shape == (2, 2)
        assert network.embed(torch.zeros(1, 1, 64, 64)).shape == (1, network.embedding_size)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_a_torchvision_classifier(tmp_path, suffix: str) -> None:
    plain = torchvision.models.resnet18()
    path = tmp_path / f"weights{suffix}"
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(plain.state_dict(), path)
    network = AnatPasteNet()
    network.load_weights(path)
    assert torch.equal(network.backbone.conv1.weight, plain.conv1.weight)
    assert torch.equal(network.backbone.layer4[1].bn2.weight, plain.layer4[1].bn2.weight)


def test_weights_of_the_whole_network(tmp_path, network: AnatPasteNet) -> None:
    path = tmp_path / "whole.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    other = AnatPasteNet()
    other.load_weights(path)
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


class TestExceptions:
    def test_backbone(self) -> None:
        with pytest.raises(
            ValueError, match=r"backbone must be a torchvision classification model .* got 'resnet81'"
        ):
            AnatPasteNet("resnet81")

    def test_missing_weights(self, tmp_path) -> None:
        with pytest.raises(ValueError, match=r"weights .*nothing\.pth do not exist"):
            AnatPasteNet().load_weights(tmp_path / "nothing.pth")

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_damaged_weights(self, tmp_path, suffix: str) -> None:
        path = tmp_path / f"bad{suffix}"
        path.write_bytes(b"not weights at all")
        with pytest.raises(ValueError, match=r"weights .*bad\.\w+ are not readable as tensors"):
            AnatPasteNet().load_weights(path)

    def test_code_in_a_pickle_is_not_run(self, tmp_path) -> None:
        path = tmp_path / "module.pth"
        torch.save(nn.Linear(1, 1), path)
        with pytest.raises(ValueError, match="are not readable as tensors"):
            AnatPasteNet().load_weights(path)

    def test_weights_of_another_network(self, tmp_path) -> None:
        path = tmp_path / "other.pth"
        torch.save(torchvision.models.resnet34().state_dict(), path)
        with pytest.raises(
            ValueError, match=r"do not fit the network: \d+ tensors are missing, unknown or of another"
        ):
            AnatPasteNet().load_weights(path)
