"""Captured Q, K, V and masks give the attentions that each architecture computes by itself."""

import copy
import gc
import threading
import weakref
from contextlib import suppress

import pytest
import torch
import transformers as hf
from torch import Tensor

from engine.contract import QKV
from engine.mechanisms.softmax import Softmax
from engine.models import capture
from engine.models.capture import Recorder
from engine.models.masks import (
    Band,
    Chunks,
    ModelError,
    Predicate,
    Toeplitz,
    Visible,
    tensor_fields,
)

N = 12
SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
DISTIL = {"vocab_size": 64, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
LOCAL = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
MODERN = {
    "local_attention": 4,
    "global_attn_every_n_layers": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
OPT = {k: v for k, v in SMALL.items() if k != "intermediate_size"}
OPT |= {"ffn_dim": 48, "word_embed_proj_dim": 32}
EXPERTS = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}
FEW = {"num_local_experts": 2, "num_experts_per_tok": 2}
LATENT = {
    "num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16, "v_head_dim": 16, "n_routed_experts": 4, "n_group": 2, "topk_group": 1,
    "first_k_dense_replace": 1, "n_shared_experts": 1,
}  # fmt: skip
CHUNKED = {
    "intermediate_size_mlp": 48, "num_local_experts": 2, "attention_chunk_size": 4,
    "layer_types": ["chunked_attention", "full_attention"],
}  # fmt: skip
HYBRID = {
    "num_experts": 2, "shared_expert_intermediate_size": 16, "linear_num_key_heads": 2,
    "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
BART = {
    "vocab_size": 64, "d_model": 32, "encoder_layers": 2, "decoder_layers": 1,
    "encoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
}  # fmt: skip

MODELS = {
    "gpt2": (hf.GPT2Model, hf.GPT2Config, GPT),
    "gpt2-scaled": (hf.GPT2Model, hf.GPT2Config, GPT | {"scale_attn_by_inverse_layer_idx": True}),
    "bert": (hf.BertModel, hf.BertConfig, SMALL),
    "distilbert": (hf.DistilBertModel, hf.DistilBertConfig, DISTIL),
    "roberta": (hf.RobertaModel, hf.RobertaConfig, SMALL | {"pad_token_id": 1}),
    "electra": (hf.ElectraModel, hf.ElectraConfig, SMALL | {"embedding_size": 16}),
    "albert": (hf.AlbertModel, hf.AlbertConfig, SMALL | {"embedding_size": 16}),
    "llama": (hf.LlamaModel, hf.LlamaConfig, GROUPED),
    "qwen3": (hf.Qwen3Model, hf.Qwen3Config, GROUPED),
    "mistral": (hf.MistralModel, hf.MistralConfig, GROUPED | {"sliding_window": 4}),
    "gemma2": (hf.Gemma2Model, hf.Gemma2Config, GROUPED | LOCAL | {"attn_logit_softcapping": 2.0}),
    "gemma3": (hf.Gemma3TextModel, hf.Gemma3TextConfig, GROUPED | LOCAL),
    "olmo3": (hf.Olmo3Model, hf.Olmo3Config, SMALL | LOCAL | {"num_key_value_heads": 2}),
    "phi3": (hf.Phi3Model, hf.Phi3Config, SMALL | {"num_key_value_heads": 2}),
    "opt": (hf.OPTModel, hf.OPTConfig, OPT),
    "neox": (hf.GPTNeoXModel, hf.GPTNeoXConfig, SMALL),
    "modernbert": (hf.ModernBertModel, hf.ModernBertConfig, SMALL | MODERN),
    "gpt-oss": (hf.GptOssModel, hf.GptOssConfig, GROUPED | LOCAL | FEW),
    "deepseek-v3": (hf.DeepseekV3Model, hf.DeepseekV3Config, SMALL | EXPERTS | LATENT),
    "llama4": (hf.Llama4TextModel, hf.Llama4TextConfig, GROUPED | CHUNKED),
    "qwen3-next": (hf.Qwen3NextModel, hf.Qwen3NextConfig, GROUPED | EXPERTS | HYBRID),
    "t5": (hf.T5EncoderModel, hf.T5Config, T5),
    "bart": (hf.BartModel, hf.BartConfig, BART),
}  # fmt: skip
BYPASSING = {
    "bloom": (hf.BloomModel, hf.BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "deberta-v2": (hf.DebertaV2Model, hf.DebertaV2Config, SMALL),
    "bigbird": (hf.BigBirdModel, hf.BigBirdConfig, SMALL | {"sep_token_id": 3}),
    "xlnet": (hf.XLNetModel, hf.XLNetConfig, {"d_model": 32, "n_layer": 2, "n_head": 4}),
    "longformer": (hf.LongformerModel, hf.LongformerConfig, SMALL | {"attention_window": 4}),
    "mpt": (hf.MptModel, hf.MptConfig, {"d_model": 32, "n_layers": 2, "n_heads": 4}),
    "falcon": (hf.FalconModel, hf.FalconConfig, {"hidden_size": 32, "num_attention_heads": 4}),
    "gptj": (hf.GPTJModel, hf.GPTJConfig, GPT | {"rotary_dim": 4}),
    "reformer": (hf.ReformerModel, hf.ReformerConfig, {
        "hidden_size": 32, "num_attention_heads": 2, "attention_head_size": 16, "is_decoder": True,
        "attn_layers": ["local"], "axial_pos_shape": (8, 8), "axial_pos_embds_dim": (16, 16),
    }),
}  # fmt: skip


def dense(qkv: QKV) -> torch.Tensor:
    """Weights (h n m), from the fields alone and all at once."""
    rows, cols = torch.arange(qkv.n), torch.arange(qkv.m)
    k = qkv.k.repeat_interleave(qkv.heads // qkv.groups, 0)
    scores = qkv.q @ k.mT * qkv.factor
    if qkv.softcap is not None:
        scores = qkv.softcap * torch.tanh(scores / qkv.softcap)
    if qkv.bias is not None:
        scores = scores + qkv.bias(rows, cols)
    seen = qkv.frame.visible(rows, cols)
    seen = torch.ones(qkv.n, qkv.m, dtype=torch.bool) if seen is None else seen
    scores = scores.masked_fill(~seen, -torch.inf)
    if qkv.sinks is not None:
        scores = torch.cat([scores, qkv.sinks[:, None, None].expand(-1, qkv.n, 1)], -1)
    return scores.softmax(-1).nan_to_num(0.0)[..., : qkv.m]


def make(name: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Two of the same: one to capture, one that keeps its own eager attention."""
    torch.manual_seed(0)
    kind, config, values = MODELS[name]
    net = kind(config(**values)).eval()
    net = net.get_encoder() if name == "bart" else net
    for p in net.parameters():  # attention is nearly uniform at birth, T5's apart
        if p.ndim > 1:
            p.data.mul_(1 if name == "t5" else 8)
    net.set_attn_implementation("eager")
    return net, copy.deepcopy(net)


def batch(padding: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.ones(2, N, dtype=torch.long)
    if padding == "left":
        mask[1, :5] = 0
    elif padding == "right":
        mask[1, -5:] = 0
    return {"input_ids": torch.randint(3, 64, (2, N)), "attention_mask": mask}


@pytest.mark.parametrize("padding", ["none", "right", "left"])
@pytest.mark.parametrize("name", MODELS)
def test_weights_and_hidden_states_are_the_models_own(name, padding):
    net, eager = make(name)
    inputs = batch(padding)
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        own = eager(**inputs, output_attentions=True)
    capture.prepare(net)
    record = capture.run(net, **inputs)  # goes on with the engine's own softmax
    attentions = [a for a in own.attentions if a is not None]
    assert len(record.seen) == len(attentions) > 0
    worst = worst_of_engine = 0.0
    for seen, attention in zip(record.seen, attentions, strict=True):
        for b, qkv in enumerate(seen.qkv):
            expected = attention[b][:, real[b]]
            worst = max(worst, float((dense(qkv)[:, real[b]] - expected).abs().max()))
            engine = Softmax().attend(qkv).weights()[:, real[b]]
            worst_of_engine = max(worst_of_engine, float((engine - expected).abs().max()))
    own_states = own.last_hidden_state[real]
    size = max(1.0, float(own_states.abs().max()))
    hidden = float((record.outputs.last_hidden_state[real] - own_states).abs().max()) / size
    print(
        f"{name} {padding}: weights {worst:.1e}, engine {worst_of_engine:.1e}, hidden {hidden:.1e}"
    )
    assert max(a.max() for a in attentions) > 0.3  # nothing uniform that would agree by itself
    assert max(worst, worst_of_engine) < 1e-5
    assert hidden < 1e-5


def qkvs(name: str, padding: str = "none", b: int = 0) -> list[QKV]:
    net, _ = make(name)
    capture.prepare(net)
    return [seen.qkv[b] for seen in capture.run(net, **batch(padding)).seen]


def test_plain_masks_are_recognised():
    for name, causal in (("llama", True), ("gpt2", True), ("bert", False), ("t5", False)):
        for qkv in qkvs(name):
            assert (qkv.causal, qkv.mask, qkv.key_mask) == (causal, None, None)
        for qkv in qkvs(name, "left", 1):
            assert (qkv.causal, qkv.mask) == (causal, None)
            assert qkv.key_mask.tolist() == [False] * 5 + [True] * 7


def test_windows_and_chunks_are_recognised():
    assert [q.mask for q in qkvs("mistral")] == [Band(3)] * 2
    assert [q.mask for q in qkvs("gemma3")] == [Band(3), None]
    assert [q.mask for q in qkvs("llama4")] == [Chunks(4), None]
    assert [q.mask for q in qkvs("llama4", "left", 1)] == [Chunks(4, 5), None]
    assert [q.mask for q in qkvs("modernbert")] == [None, Band(2, 2)]
    assert all(q.causal for q in qkvs("mistral") + qkvs("llama4"))


def test_a_window_wider_than_the_text_is_no_mask():
    net = hf.MistralModel(hf.MistralConfig(**GROUPED, sliding_window=N))
    capture.prepare(net)
    assert capture.run(net, **batch("none")).seen[0].qkv[0].mask is None


@pytest.mark.parametrize("mask", [Band(3), Band(0), Band(2, 2), Chunks(4), Chunks(4, 5)])
def test_spans_hold_all_that_is_seen(mask):
    cols = torch.arange(40)
    for rows in (torch.arange(5), torch.arange(17, 23), torch.tensor([30, 12])):
        start, stop = mask.span(rows)
        seen = mask(rows, cols).any(0).nonzero()[:, 0]
        assert start <= seen[0] and seen[-1] < stop
        assert start == seen[0]


def test_an_unknown_mask_function_stays_a_predicate():
    visible = Visible(lambda b, h, i, j: (i + j) % 2 == 0, None)
    mask = visible.fields(0, 6, 6)["mask"]
    assert isinstance(mask, Predicate)
    rows, cols = torch.arange(6), torch.arange(6)
    assert torch.equal(mask(rows, cols), (rows[:, None] + cols) % 2 == 0)


def test_masks_that_a_model_laid_out_itself():
    bias = torch.randn(1, 4, N, N)
    bias[..., 3] = torch.finfo(torch.float32).min
    fields = tensor_fields(bias, 0, 4)
    rows, cols = torch.arange(2, 5), torch.arange(N)
    assert torch.equal(fields["key_mask"], cols != 3)
    assert torch.equal(fields["bias"](rows, cols)[..., :3], bias[0, :, 2:5, :3])
    assert torch.equal(
        fields["bias"].heads(slice(1, 3))(rows, cols), bias[0, 1:3, 2:5] * (cols != 3)
    )
    whole = torch.ones(1, 1, N, N, dtype=torch.bool)
    assert tensor_fields(whole.tril(), 0, 4) == {"causal": True}
    assert tensor_fields(whole, 0, 4) == {}
    padded = tensor_fields(whole.tril() & (cols != 0), 0, 4)
    assert padded["causal"] and torch.equal(padded["key_mask"], cols != 0)
    odd = whole.tril() & ((cols[:, None] + cols) % 3 > 0)
    assert torch.equal(tensor_fields(odd, 0, 4)["mask"](rows, cols), odd[0, 0, 2:5])


def test_keys_that_only_some_heads_see_weigh_nothing_for_the_others():
    mask = torch.zeros(1, 2, 3, 3)
    mask[0, 0, :, 1] = torch.finfo(torch.float32).min
    q, k = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    weights = Softmax().attend(QKV(q, k, k, **tensor_fields(mask, 0, 2))).weights()
    expected = (q @ k.mT / 2 + mask[0]).softmax(-1)
    torch.testing.assert_close(weights, expected)
    assert not weights[0, :, 1].any() and weights[1, :, 1].all()


def test_grouped_keys_are_not_copied_out_and_a_distance_bias_is_not_a_square():
    llama = qkvs("llama")[0]
    assert (llama.heads, llama.groups) == (4, 2)
    t5 = qkvs("t5")[0]
    assert isinstance(t5.bias, Toeplitz)
    assert t5.bias.table.shape == (4, 2 * N - 1)
    assert t5.scale == 1
    assert qkvs("gemma2")[0].softcap == 2
    assert qkvs("gpt-oss")[0].sinks.shape == (4,)
    wide = qkvs("deepseek-v3")[0]
    assert (wide.q.shape[-1], wide.v.shape[-1]) == (24, 16)


ROTARY = ["llama", "qwen3", "mistral", "gemma2", "gemma3", "olmo3", "phi3", "neox", "modernbert"]


@pytest.mark.parametrize("name", [*ROTARY, "gpt2", "bert", "distilbert", "opt", "bart"])
def test_what_the_layer_knew(name):
    net, _ = make(name)
    capture.prepare(net)
    capture.watch(capture.run(net, **batch("none")).modules)
    seen = capture.run(net, **batch("none")).seen[1]
    layer, qkv = seen.layer(1, rotary=name in ROTARY), seen.qkv[1]
    assert layer.x.shape == (N, 32)
    assert (layer.q.shape, layer.k.shape) == (qkv.q.shape, qkv.k.shape)
    assert layer.rotary == (name in ROTARY)
    if name in ROTARY:
        # position 0 is not turned, and the last one is
        torch.testing.assert_close(layer.q[:, 0], qkv.q[:, 0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(layer.k[:, 0], qkv.k[:, 0], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(layer.k[:, -1], qkv.k[:, -1], atol=1e-2)
    if name != "bert":  # its output projection belongs to another module
        assert layer.w_o.shape == (32, qkv.heads * qkv.v.shape[-1])


@pytest.mark.parametrize("name", ["gpt-oss", "deepseek-v3", "llama4", "qwen3-next"])
def test_what_cannot_be_told_is_left_out(name):
    net, _ = make(name)
    capture.prepare(net)
    capture.watch(capture.run(net, **batch("none")).modules)
    layer = capture.run(net, **batch("none")).seen[-1].layer(rotary=True)
    assert layer.x.shape == (N, 32)
    assert layer.q is None and layer.k is None and layer.rotary


def test_w_o_projects_the_heads():
    for name, get in (("llama", lambda m: m.o_proj), ("gpt2", lambda m: m.c_proj)):
        net, _ = make(name)
        capture.prepare(net)
        seen = capture.run(net, **batch("none")).seen[0]
        heads = torch.randn(N, 32)
        bias = getattr(get(seen.module), "bias", None)
        expected = get(seen.module)(heads) - (0 if bias is None else bias)
        torch.testing.assert_close(heads @ seen.layer().w_o.T, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", BYPASSING)
def test_attention_in_code_of_its_own_is_refused(name):
    kind, config, values = BYPASSING[name]
    net = kind(config(vocab_size=64, **{k: v for k, v in values.items() if k != "vocab_size"}))
    with pytest.raises(ModelError, match="code of its own"):
        capture.prepare(net)


def test_models_of_one_config_keep_to_themselves():
    config = hf.LlamaConfig(**GROUPED, attn_implementation="eager")
    first, second = hf.LlamaModel(config), hf.LlamaModel(config)
    capture.prepare(second)
    assert first.config._attn_implementation == "eager"
    assert first.layers[0].self_attn.config._attn_implementation == "eager"
    assert second.layers[0].self_attn.config is second.config


def test_a_prepared_model_runs_outside_of_a_recording():
    net, eager = make("gemma2")
    capture.prepare(net)
    with torch.no_grad():
        torch.testing.assert_close(
            net(**batch("none"))[0], eager(**batch("none"))[0], atol=1e-4, rtol=1e-4
        )


def test_another_attention_can_be_put_in_its_place():
    net, eager = make("llama")
    capture.prepare(net)
    zero = capture.run(net, Recorder(attend=lambda i, qkv: qkv.q * 0), **batch("none"))
    same = capture.run(
        net,
        Recorder(attend=lambda i, qkv: dense(qkv) @ qkv.v.repeat_interleave(2, 0)),
        **batch("none"),
    )
    with torch.no_grad():
        own = eager(**batch("none"))[0]
    assert not torch.allclose(zero.outputs[0], own, atol=0.1)
    torch.testing.assert_close(same.outputs[0], own, atol=1e-4, rtol=1e-4)


def test_a_pass_can_be_stopped_and_leaves_nothing_behind():
    net, _ = make("llama")
    capture.prepare(net)

    def stop(done: int) -> None:
        raise InterruptedError(done)

    with pytest.raises(InterruptedError):
        capture.run(net, Recorder(on_layer=stop), **batch("none"))
    assert capture._recorder.get() is None
    done: list[int] = []
    kept = capture.run(net, Recorder(keep=[1], on_layer=done.append), **batch("none"))
    assert done == [1, 2]
    assert kept.seen[0] is None and kept.seen[1] is not None


def test_what_a_stopped_pass_had_made_is_freed_at_once():
    """By counting references: a collection of cycles may come when the memory is long gone."""
    net, _ = make("llama")
    capture.prepare(net)
    made: list[weakref.ref[Tensor]] = []

    def attend(number: int, qkv: QKV) -> Tensor:
        made.append(weakref.ref(qkv.q))
        return qkv.v.repeat_interleave(2, 0)

    def stop(done: int) -> None:
        raise InterruptedError(done)

    gc.disable()
    try:
        with suppress(InterruptedError):
            capture.run(net, Recorder(attend=attend, on_layer=stop), **batch("none"))
        assert made and not any(x() is not None for x in made)
    finally:
        gc.enable()


def test_two_threads_read_at_once():
    net, _ = make("llama")
    capture.prepare(net)
    texts = [torch.randint(3, 64, (1, n)) for n in (20, 30)]
    alone = [capture.run(net, input_ids=t) for t in texts]
    wrong: list[str] = []
    gate = threading.Barrier(2)

    def read(which: int) -> None:
        gate.wait()
        for _ in range(10):
            record = capture.run(net, input_ids=texts[which])
            pairs = zip(record.seen, alone[which].seen, strict=True)
            if not all(torch.allclose(a.qkv[0].k, b.qkv[0].k, atol=1e-5) for a, b in pairs):
                wrong.append(f"thread {which} saw another's keys")

    threads = [threading.Thread(target=read, args=(i,)) for i in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
