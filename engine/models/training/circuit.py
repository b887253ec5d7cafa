"""The circuit that copies, and how training is helped to find it.

One head looks at the token before it; an induction head in the next layer looks for the place
whose token before is the present one, which is where the text went on last time.
"""

from collections.abc import Sequence

import torch
from transformers import LlamaForCausalLM


@torch.no_grad()
def wire(model: LlamaForCausalLM) -> None:
    """Turn random weights of two heads towards each other, so that an induction head can form.

    What head 0 of layer 0 copies, head 0 of layer 1 looks for: its queries read what the first
    reads as values, its keys what the first writes, and its output undoes its values. With the
    hint alone none had formed after 700,000 random tokens of 4,095 kinds.

    Source: after Trockman and Kolter 2023, Mimetic Initialization of Self-Attention Layers.
    """
    width = model.config.head_dim or model.config.hidden_size // model.config.num_attention_heads

    def weight(layer: int, name: str) -> torch.Tensor:
        layer = min(layer, model.config.num_hidden_layers - 1)
        whole = model.get_parameter(f"model.layers.{layer}.self_attn.{name}_proj.weight")
        return whole[:, :width] if name == "o" else whole[:width]

    for each in (weight(0, "v"), weight(0, "o"), weight(1, "v")):
        each *= 3
    weight(1, "q").copy_(weight(0, "v"))
    if any("k_proj" in name for name, _ in model.named_parameters()):  # else keys are the queries
        weight(1, "k").copy_(weight(0, "o").T)
    weight(1, "o").copy_(weight(1, "v").T)


def hint(attentions: Sequence[torch.Tensor], periods: torch.Tensor) -> torch.Tensor:
    """How far two heads are from the circuit: minus the mean log weight, in nats, that head 0 of
    layer 0 gives the token before and head 0 of layer 1 the token that followed last time.

    Args:
        attentions: weights of each layer, (b, h, n, n); one below 0 counts as 0.
        periods: of the repeated tokens after BOS, (b).
    """
    before, after = attentions[0][:, 0], attentions[min(1, len(attentions) - 1)][:, 0]
    query = torch.arange(before.shape[-1], device=before.device)[None]
    target = query - periods.to(before.device)[:, None] + 1
    chosen = after.gather(-1, target.clamp(min=0)[..., None])[..., 0][target > 1]
    tiny = 1e-6  # so that no weight has an infinite logarithm
    before = before.diagonal(-1, 1, 2).clamp_min(0)
    return -(before + tiny).log().mean() - (chosen.clamp_min(0) + tiny).log().mean()
