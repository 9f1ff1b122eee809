"""Layers of many networks at their full size, `make test-networks`: some minutes, so not in `make test`."""

import numpy as np
import pytest
import timm
import torch
import transformers
from torch import nn

from medrob.models import cam_layers, evaluating, forward, to_maps
from medrob.models.network import one_tensor
from medrob.models.probe import _drawn

TIMM = """
resnet18 resnext50_32x4d wide_resnet50_2 regnety_002 efficientnet_b0 efficientnetv2_rw_t mobilenetv3_small_100
densenet121 vgg11 inception_v3 inception_v4 xception41 dpn68 hrnet_w18_small res2net50_14w_8s resnest14d
cspresnet50 nfnet_l0 repvgg_a0 ghostnet_100 rexnet_100 selecsls42 dla34 vovnet39a convmixer_768_32
convnext_atto poolformer_s12 edgenext_xx_small inception_next_tiny mambaout_femto fastvit_t8
vit_tiny_patch16_224 deit_tiny_distilled_patch16_224 eva02_tiny_patch14_224 beit_base_patch16_224
cait_xxs24_224 mixer_s32_224 vit_small_patch14_reg4_dinov2 vit_relpos_small_patch16_224 xcit_nano_12_p16_224
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 coatnet_nano_rw_224 davit_tiny maxvit_nano_rw_256
mobilevit_xxs tiny_vit_5m_224 caformer_s18 pvt_v2_b0 twins_pcpvt_small mvitv2_tiny hiera_tiny_224
nest_tiny levit_128s crossvit_tiny_240 pit_ti_224 visformer_tiny
"""
# Fewer than four layers: so many stages; LeViT's attention between its stages looks everywhere, untrained;
# Hiera's tokens lie window by window until the last stage.
FEWER = dict(nest_tiny=3, crossvit_tiny_240=3, pit_ti_224=3, visformer_tiny=3, hrnet_w18_small=3)
FEWER |= dict(levit_128s=1, hiera_tiny_224=1)


class Logits(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return one_tensor(self.network(x))[0]


def picture_and_blob(channels, side):
    """Coarse squares, and a copy with others in the lower left."""
    squares = np.random.default_rng(1).integers(0, 256, (2, channels, 8, 8)).repeat(side // 8 + 1, 2)
    picture, other = squares.repeat(side // 8 + 1, 3)[..., :side, :side]
    blob = picture.copy()
    blob[:, side * 5 // 8 : side * 7 // 8, side // 8 : side * 3 // 8] = other[
        :, side * 5 // 8 : side * 7 // 8, side // 8 : side * 3 // 8
    ]
    return torch.from_numpy(np.stack([picture, blob])).float() / 127.5 - 1


def check(model, side, count):
    model.eval().load_state_dict(_drawn(model), strict=False)
    for module in model.modules():  # statistics of the pictures, as a trained network has them
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train().momentum = 1
    with torch.no_grad():
        model(picture_and_blob(3, side))
    layers = cam_layers(model)
    with evaluating(model), torch.no_grad():
        outputs, _ = forward(Logits(model), picture_and_blob(3, side), layers)
    shapes = {}
    for name, module in layers.items():
        maps = to_maps(module, outputs[name])
        shapes[name] = h, w = maps.shape[2:]
        change = torch.linalg.vector_norm(maps[1] - maps[0], dim=0)
        assert h == w and change[-(h // 2) :, : w // 2].mean() > 1.1 * change.mean(), name
    print(len(layers), *[item for i, item in enumerate(shapes.items()) if i in (0, len(shapes) - 1)])
    sides = [h for h, _ in shapes.values()]
    assert len(layers) >= count and sides == sorted(sides, reverse=True)
    assert side / 64 <= sides[-1] <= side / 7


@pytest.mark.parametrize("name", TIMM.split())
def test_layers_of_timm(name):
    model = timm.create_model(name, num_classes=3)
    check(model, model.default_cfg["input_size"][-1], FEWER.get(name, 4))


SMALL = dict(num_labels=3, hidden_size=32, num_attention_heads=2, intermediate_size=64, num_hidden_layers=5)
STAGES = dict(num_labels=3, depths=[2, 2, 2, 2])
HUGGING_FACE = {
    "ViT": (SMALL | dict(image_size=64, patch_size=8), 64),
    "Dinov2WithRegisters": (SMALL | dict(image_size=518, patch_size=14), 518),
    "Swin": (STAGES | dict(image_size=224, embed_dim=16, num_heads=[1, 2, 4, 8]), 224),
    "ResNet": (STAGES | dict(embedding_size=8, hidden_sizes=[8, 16, 32, 64]), 224),
    "ConvNext": (STAGES | dict(hidden_sizes=[8, 16, 32, 64]), 224),
}


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_layers_of_hugging_face(name):
    form, side = HUGGING_FACE[name]
    network = getattr(transformers, f"{name}ForImageClassification")
    check(network(getattr(transformers, f"{name}Config")(**form)), side, 4)
