"""Language models that are given an image beside the text, small and random: against their own
eager attention."""

import numpy as np
import pytest
import torch
import transformers as hf

from engine.models import load
from engine.models.intervene import Changes, again
from engine.models.masks import ModelError
from tests.models.made import encoded, lively, tokenizer
from tests.models.test_vision import PATCH, SIDE
from tests.models.test_vision import SMALL as VISION

TEXT = "the quick fox"
WORDS = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
SIZE = {"height": SIDE, "width": SIDE}


def words(*special, **named):
    """A tokenizer with more special tokens, some of which it calls by a name; their numbers."""
    plain = tokenizer()
    made = hf.PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer, bos_token="<|bos|>", eos_token="<|end|>",
        extra_special_tokens=named or list(special),
    )  # fmt: skip
    return made, made.convert_tokens_to_ids([*special, *named.values()])


def llava():
    made, (number,) = words("<image>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**VISION),
        text_config=hf.LlamaConfig(vocab_size=len(made), **WORDS),
        image_token_id=number, vision_feature_layer=-1, vision_feature_select_strategy="default",
    )  # fmt: skip
    processor = hf.LlavaProcessor(
        hf.CLIPImageProcessorPil(size=SIZE, crop_size=SIZE), made, patch_size=PATCH,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    return hf.LlavaForConditionalGeneration(config), processor, (SIDE // PATCH) ** 2


def gemma3():
    made, (start, end, image) = words(
        boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<image_soft_token>"
    )
    config = hf.Gemma3Config(
        vision_config=VISION,
        text_config={"vocab_size": len(made), "head_dim": 8, "sliding_window": 64} | WORDS,
        mm_tokens_per_image=4, boi_token_index=start, eoi_token_index=end,
        image_token_index=image,
    )  # fmt: skip
    processor = hf.Gemma3Processor(hf.Gemma3ImageProcessorPil(size=SIZE), made, image_seq_length=4)
    net = hf.Gemma3ForConditionalGeneration(config)
    net.model.multi_modal_projector.mm_input_projection_weight.data.normal_()  # zero at birth
    return net, processor, 4


def idefics3():
    made, (image, *_) = words("<image>", "<fake_token_around_image>", "<end_of_utterance>")
    config = hf.Idefics3Config(
        vision_config=VISION, scale_factor=2, image_token_id=image, pad_token_id=0,
        text_config=hf.LlamaConfig(vocab_size=len(made), pad_token_id=0, **WORDS),
    )  # fmt: skip
    images = hf.Idefics3ImageProcessorPil(
        size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE},
        do_image_splitting=False,
    )  # fmt: skip
    processor = hf.Idefics3Processor(images, made, image_seq_len=4)
    return hf.Idefics3ForConditionalGeneration(config), processor, 4


KINDS = {"llava": llava, "gemma3": gemma3, "idefics3": idefics3}


def saved(kind, folder):
    """A random model of a kind with its processor, saved; and the tokens that an image has."""
    torch.manual_seed(0)
    net, processor, count = KINDS[kind]()
    lively(net, 4).eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return net, processor, count


@pytest.fixture(scope="module", params=KINDS)
def seen(request, tmp_path_factory):
    """The network, its processor, how many tokens an image has, and the model as it is opened."""
    folder = tmp_path_factory.mktemp(request.param)
    net, processor, count = saved(request.param, folder)
    return net, processor, count, load(folder, "cpu")


def pixels():
    return np.random.default_rng(1).random((SIDE, SIDE, 3))


def test_weights_are_those_that_it_computes_itself(seen):
    net, processor, _, model = seen
    trace = model.read(TEXT, image=pixels())
    image = (pixels() * 255).round().astype(np.uint8)
    given = processor(text=[trace.text], images=[image], return_tensors="pt")
    net.set_attn_implementation("eager")
    with torch.no_grad():
        own = net(**given, output_attentions=True)
    assert trace.read.coded.ids == given["input_ids"][0].tolist()
    assert trace.layers == len(own.attentions) == 2
    for i, expected in enumerate(own.attentions):
        weights = trace.attention(i).weights()
        torch.testing.assert_close(weights, expected[0], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(trace.logits, own.logits[0, -1], atol=1e-4, rtol=1e-4)


def test_tokens_of_the_image_are_told_apart(seen):
    _, _, count, model = seen
    trace = model.read(TEXT, image=pixels())
    named = [name for name in trace.tokens if name.startswith("[IMG")]
    assert named == [f"[IMG{i + 1}]" for i in range(count)]
    assert "".join(trace.tokens).endswith(TEXT) and trace.complete
    assert "[IMG1]" not in model.read(TEXT).tokens
    within = model.read(f"the {model.sight.mark} fox", image=pixels())
    assert within.tokens.index("[IMG1]") > trace.tokens.index("[IMG1]")


def test_the_image_bears_on_what_is_predicted(seen):
    *_, model = seen
    one, other = (model.read(TEXT, image=x).logits for x in (pixels(), 1 - pixels()))
    assert (one - other).abs().max() > 1e-4


def test_a_head_is_switched_off_with_the_image_in_place(seen):
    *_, model = seen
    trace = model.read(TEXT, image=pixels())
    same, less = (
        again(trace, model, Changes(heads=frozenset(heads))) for heads in ((), ((1, 2),))
    )
    torch.testing.assert_close(same.logits, trace.logits, atol=1e-4, rtol=1e-4)
    assert (less.logits - trace.logits).abs().max() > 1e-3


def test_what_does_not_fit_is_refused(seen):
    *_, model = seen
    with pytest.raises(ModelError, match="together, more than the 3 that are read"):
        model.read(TEXT, max_tokens=3, image=pixels())
    with pytest.raises(ModelError, match="2 places for one image"):
        model.read(2 * model.sight.mark, image=pixels())


def test_an_image_with_a_long_text_is_refused_before_it_is_encoded(seen, monkeypatch):
    *_, model = seen
    monkeypatch.setattr(model.sight, "processor", None)
    lengths = encoded(monkeypatch)
    with pytest.raises(ModelError, match="together, more than the 64 that are read"):
        model.read("the dog. " * 40_000, max_tokens=64, image=pixels())
    assert 0 < max(lengths) < 10_000


def test_a_model_of_texts_says_so():
    with pytest.raises(ModelError, match="together with an image"):
        load("assets/models/tiny", "cpu").read(TEXT, image=pixels())
