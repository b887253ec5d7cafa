"""Image encoders, small and random, read patch by patch: against their own eager attention."""

import json
import math

import numpy as np
import pytest
import torch
import transformers

from engine.mechanisms.softmax import Softmax
from engine.models import vision
from engine.models.masks import ModelError
from engine.models.overview import overview
from engine.models.vision import load
from engine.runtime.paths import TINY

SIDE, PATCH = 32, 8
SMALL = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 32,
    "image_size": SIDE, "patch_size": PATCH,
}  # fmt: skip
TEXT = {
    "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "vocab_size": 64,
}  # fmt: skip
KINDS = {
    "vit": (transformers.ViTConfig, transformers.ViTForImageClassification, {"num_labels": 3}),
    "deit": (transformers.DeiTConfig, transformers.DeiTModel, {}),
    "beit": (
        transformers.BeitConfig, transformers.BeitModel, {"use_relative_position_bias": True},
    ),
    "dinov2": (transformers.Dinov2Config, transformers.Dinov2Model, {}),
    "registers": (
        transformers.Dinov2WithRegistersConfig, transformers.Dinov2WithRegistersModel,
        {"num_register_tokens": 4},
    ),
    "dinov3": (
        transformers.DINOv3ViTConfig, transformers.DINOv3ViTModel, {"num_register_tokens": 2},
    ),
    "siglip": (transformers.SiglipVisionConfig, transformers.SiglipVisionModel, {}),
    "clip": (
        transformers.CLIPConfig, transformers.CLIPModel,
        {"vision_config": SMALL, "text_config": TEXT, "projection_dim": 8},
    ),
}  # fmt: skip
LEADING = {
    "vit": ("[CLS]",), "deit": ("[CLS]", "[DIST]"), "beit": ("[CLS]",), "dinov2": ("[CLS]",),
    "registers": ("[CLS]", "[REG1]", "[REG2]", "[REG3]", "[REG4]"),
    "dinov3": ("[CLS]", "[REG1]", "[REG2]"), "siglip": (), "clip": ("[CLS]",),
}  # fmt: skip
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "do_rescale": True,
    "do_normalize": True, "size": {"height": SIDE, "width": SIDE}, "rescale_factor": 1 / 255,
    "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25], "resample": 2,
}  # fmt: skip


def made(kind, folder):
    """A random model of a kind, saved."""
    config_class, model_class, more = KINDS[kind]
    torch.manual_seed(0)
    config = config_class(**(more if "vision_config" in more else SMALL | more))
    net = model_class(config)
    for name, weight in net.named_parameters():  # lively, so that rows differ
        if "query" in name or "key" in name or "q_proj" in name or "k_proj" in name:
            weight.data *= 20
        if "relative_position_bias_table" in name:
            weight.data.normal_()
    net.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return net


@pytest.fixture(scope="module", params=KINDS)
def seen(request, tmp_path_factory):
    """A kind, its network, and what was read of an image."""
    folder = tmp_path_factory.mktemp(request.param)
    net = made(request.param, folder)
    pixels = np.random.default_rng(1).random((40, 56, 3))
    return request.param, vision.image_side(net).eval(), load(folder, "cpu").view(pixels)


def test_weights_are_those_that_it_computes_itself(seen):
    _, net, view = seen
    net.set_attn_implementation("eager")
    with torch.no_grad():
        own = net(pixel_values=view.given[None], output_attentions=True).attentions
    assert len(own) == view.layers == 2 and view.names == ("0", "1")
    for i, expected in enumerate(own):
        weights = view.attention(i).weights()
        torch.testing.assert_close(
            weights, expected[0][:, view.order][:, :, view.order], atol=2e-5, rtol=1e-4
        )
        assert weights.std(-1).max() > 0.02  # not flat


def test_a_patch_stands_where_it_is_on_the_image(seen):
    kind, _, view = seen
    lead = len(LEADING[kind])
    assert view.tokens[:lead] == LEADING[kind] == view.model.leading
    assert view.grid.rows == view.grid.cols == SIDE // PATCH
    assert (view.grid.place[:lead] == -1).all()
    assert view.tokens[lead] == "(1,1)" and len(view.tokens) == lead + 16
    # the squares of two by two follow one another
    spans = view.units["2x2"]
    assert spans[0].tolist() == ([0, lead] if lead else [0, 4])
    for a, b in spans[bool(lead) :].tolist():
        place = view.grid.place[a:b]
        assert b - a == 4 and (place // 2).unique(dim=0).shape[0] == 1
    qkv = view.layer(1)
    assert qkv.n == len(view.tokens) and not qkv.causal
    assert view.layer(0).layer.x is not None


def test_the_image_is_shown_as_it_was_given(seen):
    _, _, view = seen
    assert view.pixels.shape == (SIDE, SIDE, 3)
    assert 0 <= view.pixels.min() < 0.3 and 0.7 < view.pixels.max() <= 1
    middle, spread = (torch.tensor(PROCESSOR[f"image_{x}"]) for x in ("mean", "std"))
    shown = torch.from_numpy(view.pixels).float()
    torch.testing.assert_close(
        (shown - middle) / spread, view.given.permute(1, 2, 0), atol=1e-3, rtol=0
    )


def test_heads_are_scored_over_patches(seen):
    """Pair by pair, in Python's own arithmetic."""
    kind, _, view = seen
    lead = len(LEADING[kind])
    places = view.grid.place[lead:].tolist()
    for i, layer in enumerate(overview(view, 8)):
        assert len(layer.maps) == layer.heads == 3 and layer.name == str(i)
        assert math.isnan(layer.scores["induction"][0])
        for h, w in enumerate(view.attention(i).weights().tolist()):
            sink = entropy = distance = 0.0
            for row, here in zip(w[lead:], places, strict=True):
                total = sum(row[lead:])
                sink += row[0] / len(places)
                for x, there in zip(row[lead:], places, strict=True):
                    share = x / total
                    entropy -= share * math.log(share) / math.log(16) / 16 if share else 0
                    walk = abs(here[0] - there[0]) + abs(here[1] - there[1])
                    distance += share * walk / 16
            assert layer.scores["entropy"][h] == pytest.approx(entropy, rel=1e-5)
            assert layer.scores["distance"][h] == pytest.approx(distance, rel=1e-5)
            expected = (
                pytest.approx(sink, rel=1e-5) if lead else pytest.approx(math.nan, nan_ok=True)
            )
            assert layer.scores["sink"][h] == expected


def test_a_patch_that_changes_changes_what_its_position_reads(tmp_path):
    """By the pixels, from the outside: not by what the encoder is told of itself."""
    made("registers", tmp_path)
    viewer = load(tmp_path, "cpu")
    pixels = np.zeros((SIDE, SIDE, 3))
    other = pixels.copy()
    other[2 * PATCH : 3 * PATCH, PATCH : 2 * PATCH] = 1  # third row, second column
    one, two = (viewer.view(x).layer(0).layer for x in (pixels, other))
    changed = (one.x != two.x).any(-1).nonzero()[:, 0].tolist()
    assert [viewer.view(pixels).tokens[i] for i in changed] == ["(3,2)"]


def test_classes_are_named_with_their_probabilities(tmp_path):
    made("vit", tmp_path)
    view = load(tmp_path, "cpu").view(np.ones((SIDE, SIDE, 3)))
    found = view.classes()
    assert {name for name, _ in found} == {"LABEL_0", "LABEL_1", "LABEL_2"}
    assert sum(p for _, p in found) == pytest.approx(1)
    made("dinov2", tmp_path)
    assert load(tmp_path, "cpu").view(np.ones((SIDE, SIDE, 3))).classes() == []


def test_mechanisms_attend_what_an_encoder_scores(tmp_path):
    made("registers", tmp_path)
    qkv = load(tmp_path, "cpu").view(np.ones((SIDE, SIDE, 3))).layer(1)
    near = Softmax().attend(qkv).weights()
    assert torch.allclose(near.sum(-1), torch.ones(3, qkv.n))


def test_what_is_no_image_encoder_is_refused_in_words(tmp_path):
    with pytest.raises(ModelError, match="doesn't read images"):
        load(TINY, "cpu")
    config = transformers.SwinConfig(
        image_size=SIDE, patch_size=4, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    folder = tmp_path / "swin"
    transformers.SwinModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    with pytest.raises(ModelError, match=r"from patch to patch|in code of its own"):
        load(folder)
    made("vit", tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text("[")
    with pytest.raises(ModelError, match="doesn't say how it takes images"):
        load(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer.* nor preprocessor_config\.json"):
        load(tmp_path / "vit")
    made("dinov2", tmp_path / "dino")
    view = load(tmp_path / "dino").view(np.ones((SIDE, SIDE, 3)), layers=(1,))
    with pytest.raises(ModelError, match="was not kept"):
        view.layer(0)
    with pytest.raises(ModelError, match="not one of"):
        view.layer(2)
