"""A small Llama that attends with any of the mechanisms, for transformers' Auto classes.

Importing this module makes its kind, `attention_zoo`, known to transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, no_type_check

import torch
from huggingface_hub.dataclasses import strict
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaDecoderLayer,
    LlamaModel,
    apply_rotary_pos_emb,
)

from engine.contract import Learned, Refusal
from engine.mechanisms import make
from engine.mechanisms.base import Mechanism
from engine.models import capture
from engine.models.zoo.forms import Given, form
from engine.models.zoo.kind import KIND


@no_type_check  # `strict` checks its fields, and its __init__ takes more than it says
@strict
class ZooConfig(LlamaConfig):
    """A Llama's configuration and what it attends with.

    Attributes:
        mechanism, mechanism_parameters: key and parameters, as `engine.make` takes them.
        rotary: whether queries and keys are rotated. trained_length: tokens read at once.
        tokenizer: the folder of its tokenizer, from the model's own.
    """

    model_type = KIND
    mechanism: str = "softmax"
    mechanism_parameters: dict | None = None
    rotary: bool = True
    trained_length: int = 256
    tokenizer: str = "."


class ZooAttention(LlamaAttention):
    """Projections of a Llama, and between them any mechanism."""

    config: ZooConfig

    def __init__(self, config: ZooConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.mechanism = make(config.mechanism, **(config.mechanism_parameters or {}))
        parts = {name: x for name, x in self._initial().items() if isinstance(x, nn.Parameter)}
        self.parts = nn.ParameterDict(parts)
        self.shared = bool(getattr(self.mechanism, "shared_qk", False))
        if self.shared:
            del self.k_proj

    def _initial(self) -> dict[str, Tensor]:
        config = self.config
        return self.mechanism.initial(
            config.num_attention_heads, self.head_dim, config.hidden_size, self.layer_idx
        )

    def learned(self) -> dict[str, Tensor]:
        """What the mechanism takes: parts that are trained, and what stays as it was at first."""
        given = {name: x.to(self.q_proj.weight) for name, x in self._initial().items()}
        return given | dict(self.parts.items())

    def own(self) -> Mechanism:
        """What this layer attends with, its learned parts in it."""
        found = {name: x.detach().double() for name, x in self.learned().items()}
        return replace(self.mechanism, learned=Learned(found)) if found else self.mechanism

    def forward(
        self,
        hidden_states: Float[Tensor, "b n D"],
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        attention_mask: Any = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Any]:
        """As a Llama's: the output (b n D), and with "eager" attention the weights (b h n n).

        Raises:
            ValueError: there is a cache of keys, or a text with padding before it.
        """
        if past_key_values is not None:
            raise Refusal("{kind} keeps no cache of keys: use_cache must be False", kind=KIND)
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        q = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        k = q if self.shared else self.k_proj(hidden_states).view(shape).transpose(1, 2)
        v = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        if self.config.rotary:
            assert position_embeddings is not None
            q, k = apply_rotary_pos_emb(q, k, *position_embeddings)
        way = str(self.config._attn_implementation)
        weights = None
        if way == capture.NAME:
            attend: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[way]
            made, _ = attend(
                self, q, k, v, attention_mask, scaling=self.scaling, own=self.own(),
                hidden_states=hidden_states,
            )  # fmt: skip
        else:
            _refuse_padding(attention_mask)
            attended = form(self.mechanism, Given(q, k, hidden_states, self.learned()))
            if way == "eager":
                weights = attended.weights()
                made = weights.to(v) @ v
            else:
                made = attended.output(v)
            made = made.transpose(1, 2)
        return self.o_proj(made.flatten(2)), weights


def _refuse_padding(mask: Tensor | None) -> None:
    """Raises ValueError where a mask hides more than what comes after; padding at the end does no
    harm, since no earlier token sees it."""
    if mask is None:
        return
    hidden = ~mask if mask.dtype == torch.bool else mask < 0
    lower = hidden[..., -1, :].flatten(0, -2)  # what the last row can't see
    if bool((lower[:, :-1] & ~lower[:, 1:]).any()):
        raise Refusal("{kind} can't honour padding before a text: pad at its end", kind=KIND)


class ZooModel(LlamaModel):
    """The layers."""

    config_class = ZooConfig
    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": LlamaDecoderLayer,
        "attentions": ZooAttention,
    }

    def __init__(self, config: ZooConfig) -> None:
        super().__init__(config)
        for i, layer in enumerate(self.layers):
            layer.self_attn = ZooAttention(config, i)  # pyright: ignore[reportAttributeAccessIssue]
        self.post_init()


class ZooForCausalLM(LlamaForCausalLM):
    """The language model."""

    config_class = ZooConfig

    def __init__(self, config: ZooConfig) -> None:
        super().__init__(config)
        self.model = ZooModel(config)
        self.post_init()


AutoConfig.register(KIND, ZooConfig, exist_ok=True)
AutoModelForCausalLM.register(ZooConfig, ZooForCausalLM, exist_ok=True)
