"""A random model of any architecture that transformers can build, as small as its config allows.

Sizes are set by the names that configs give them; what an architecture asks beyond that (widths
that must divide one another, a rotary part) is found by trying a few widths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VOCABULARY, WIDTH, HEADS, LAYERS = 96, 32, 4, 2
"""Of the models that are built; a config without one of them keeps its own."""
MANY = 6  # kinds of layers; where there are more, each is a number of its own

NAMES = {
    "vocabulary": "vocab_size decoder_vocab_size src_vocab_size tgt_vocab_size word_vocab_size "
    "entity_vocab_size char_vocab_size vocab_size_per_layer_input",
    "width": "hidden_size d_model n_embd dim embed_dim embedding_size hidden_dim "
    "word_embed_proj_dim rnn_hidden_size attention_hidden_size decoder_hidden_size "
    "encoder_hidden_size emb_dim projection_dim text_embed_dim d_embed proj_size lm_hidden_size "
    "adapter_hidden_size entity_emb_size out_hidden_size d_latents text_config_hidden_size "
    "projection_hidden_size true_hidden_size state_rank lru_width attention_output_width "
    "hidden_size_out embed_size qk_channels v_channels intermediate_width word_embedding_size "
    "moe_latent_size",
    "inner": "intermediate_size ffn_dim d_ff n_inner encoder_ffn_dim decoder_ffn_dim d_inner "
    "intermediate_size_mlp moe_intermediate_size shared_expert_intermediate_size "
    "feed_forward_hidden_size ffn_hidden_size dense_intermediate_size mlp_dim "
    "shared_intermediate_size moe_shared_expert_intermediate_size expert_ffn_hidden_size "
    "block_ff_dim block_ffn_dim expert_hidden_size n_routed_ffn prefix_dense_intermediate_size",
    "heads": "num_attention_heads n_head n_heads num_heads encoder_attention_heads "
    "decoder_attention_heads num_encoder_attention_heads num_decoder_attention_heads "
    "num_cross_attention_heads num_self_attention_heads num_sliding_attention_heads "
    "encoder_layers_heads swa_num_attention_heads",
    "key heads": "num_key_value_heads num_kv_heads n_kv_heads num_key_value_groups "
    "multi_query_group_num encoder_num_key_value_heads decoder_num_key_value_heads "
    "num_global_key_value_heads swa_num_key_value_heads",
    "head width": "head_dim d_kv d_head attention_head_size kv_channels v_head_dim "
    "qk_rope_head_dim qk_nope_head_dim key_head_dim value_head_dim linear_key_head_dim "
    "linear_value_head_dim attention_head_dim qk_rope_dim global_head_dim swa_head_dim "
    "index_head_dim swa_v_head_dim",
    "layers": "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers "
    "num_encoder_layers num_decoder_layers depth num_blocks num_mem_blocks",
}  # fmt: skip
KINDS = {name: kind for kind, names in NAMES.items() for name in names.split()}
OTHERS: dict[str, int] = {
    "kv_lora_rank": 16, "q_lora_rank": 16, "o_lora_rank": 16, "num_experts": 4,
    "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "linear_num_key_heads": 4,
    "linear_num_value_heads": 4, "n_group": 1, "topk_group": 1, "num_hidden_groups": 1,
    "first_k_dense_replace": 1, "n_shared_experts": 1, "num_shared_experts": 1, "o_groups": 1,
    "num_nextn_predict_layers": 0, "num_kv_shared_layers": 0, "num_mtp_layers": 0,
    "max_position_embeddings": 640, "n_positions": 640, "n_ctx": 640, "max_seq_len": 640,
    "max_source_positions": 640, "max_target_positions": 640, "num_experts_per_tok": 2,
    "top_k": 2, "moe_k": 2, "moe_topk": 2, "num_experts_per_token": 2, "moe_top_k": 2,
    "mamba_n_heads": 4, "mamba_num_heads": 4, "mamba_d_head": 16, "mamba_head_dim": 16,
    "mamba_n_groups": 1, "n_groups": 1, "mamba_d_state": 8, "ssm_state_size": 8, "state_size": 8,
    "mamba_d_ssm": 64, "mamba_expand": 2, "sliding_window": 8, "attention_window": 8,
    "local_attention": 8, "window_size": 8, "attention_chunk_size": 8, "mamba_chunk_size": 8,
    "index_n_heads": 2, "index_topk": 4, "time_step_rank": 4, "rotary_dim": 4,
    "num_conv_pos_embedding_groups": 1,
}  # fmt: skip
EXTRA: dict[str, dict[str, Any]] = {
    "gpt_neo": {
        "attention_types": [[["global", "local"], 1]],
        "attention_layers": ["global", "local"],
    },
    "deepseek_v2": {"num_experts_per_tok": 2},
    "esm": {"vocab_size": VOCABULARY, "mask_token_id": 4},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "hunyuan_vl_text": {"head_dim": 8},
    "ministral": {"head_dim": 8},
    "mistral4": {"head_dim": 16, "qk_head_dim": 16},
    "nemotron": {"num_key_value_heads": 2},
    "lfm2_moe": {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2},
    "bamba": {"attn_layer_indices": [1], "layer_types": ["mamba", "attention"]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"is_decoder": True},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16},
    "mamba2": {"num_heads": 4, "head_dim": 16},
    "mobilebert": {"embedding_size": 32},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "longcat_flash": {"qk_head_dim": 16, "head_dim": 8},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4},
}
"""What a few types need besides."""
for rotated in ("glm4v", "glm4v_moe", "glm_ocr", "glm_image", "qwen2_vl", "qwen2_5_vl"):
    EXTRA[f"{rotated}_text"] = {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    }
EXTRA["glm4v_moe_text"] = {  # which rotates half of each head
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 0],
        "partial_rotary_factor": 0.5,
    }
}  # fmt: skip
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 3,
       "cls_token_id": 1, "decoder_start_token_id": 1, "mask_token_id": 4}  # fmt: skip
IMAGES = {"image_size": 16, "patch_size": 8, "num_channels": 3}


def settings_of(kind: str, width: int = WIDTH, **changes: Any) -> dict[str, Any]:
    """A small config of that model type, as a dictionary.

    Args:
        width: of the hidden states, HEADS heads of width / HEADS. changes: put in last, as they
            are, into the config and the one of its text part.
    """
    from transformers import CONFIG_MAPPING

    made = _small(CONFIG_MAPPING[kind]().to_dict(), width)
    for part in (made, made.get("text_config")):
        if isinstance(part, dict):
            part.update(EXTRA.get(str(part.get("model_type")), {}) | changes)
    return made


def _small(given: dict[Any, Any], width: int) -> dict[Any, Any]:
    """Every size in a config and its parts made small; what stands layer by layer is cut."""
    total = next((given[name] for name in ("num_hidden_layers", "n_layer") if given.get(name)), 0)
    listed = {
        name: value
        for name, value in given.items()
        if isinstance(value, list) and total and len(value) == total
    }
    kinds = {name: list(dict.fromkeys(map(str, value))) for name, value in listed.items()}
    layers = (
        max([LAYERS, *map(len, kinds.values())])
        if max(map(len, kinds.values()), default=0) < 6
        else LAYERS
    )
    heads = next((given[n] for n in ("num_attention_heads", "n_head") if given.get(n)), None)
    made: dict[str, Any] = {}
    for name, value in given.items():
        if name in listed:
            firsts = [next(x for x in value if str(x) == kind) for kind in kinds[name]]
            made[name] = (firsts * layers)[:layers]
        elif name == "per_layer_config" and isinstance(value, dict):
            last = list(value.values())[-1:]
            made[name] = {str(layers - 1): _small(x, width) for x in last}
        elif isinstance(value, dict):
            made[name] = _small(value, width)
        elif name == "mrope_section":
            part = width // HEADS // 2
            made[name] = [part - 2 * (part // 3), part // 3, part // 3]
        elif not isinstance(name, str) or type(value) is not int or value <= 0:
            made[name] = value
        elif name in IDS:
            made[name] = IDS[name]
        elif name.endswith(("token_id", "token_index")):
            made[name] = VOCABULARY - 1
        elif name in IMAGES:
            made[name] = IMAGES[name]
        elif KINDS.get(name) == "key heads":  # as many as heads where it was so
            made[name] = HEADS if value == heads else min(2, value)
        elif KINDS.get(name) == "layers":
            made[name] = layers if value == total else min(LAYERS, value)
        else:
            made[name] = _size(name, value, width)
    return made


def _size(name: str, value: int, width: int) -> int:
    sizes = {
        "vocabulary": VOCABULARY, "width": width, "inner": width + width // 2, "heads": HEADS,
        "head width": width // HEADS,
    }  # fmt: skip
    if name in KINDS:
        return sizes[KINDS[name]]
    return min(OTHERS.get(name, value), value)


def classes_of(kind: str) -> Iterator[type]:
    """The model's classes: with a head for what it predicts first, then without."""
    import transformers
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto

    auto: Any = modeling_auto
    one_side = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    two_sides = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    both = getattr(CONFIG_MAPPING[kind](), "is_encoder_decoder", False)
    tables: tuple[dict[str, Any], ...] = (
        *((two_sides, one_side) if both else (one_side, two_sides)),
        auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        auto.MODEL_MAPPING_NAMES,
    )
    for table in tables:
        name = table.get(kind)
        for one in (name,) if isinstance(name, str) else name or ():
            yield getattr(transformers, one)


def build(kind: str, cls: type, width: int = WIDTH, **changes: Any) -> Any:
    """A network of that model type with random weights, in evaluation mode."""
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[kind].from_dict(settings_of(kind, width, **changes))
    config._attn_implementation = "eager"
    return cls(config).eval()
