"""Q, K and V of every attention layer of a transformers model, as they are scored, in one pass.

transformers lets a program register its own attention function and, beside it, its own mask
function. Both are registered here under one name: the first sees what is about to be scored and
computes the output itself, the second answers with a description of the mask that is O(n) and is
evaluated tile by tile, so nothing n×n is ever built. What is seen goes to the recorder of the
running thread (a context variable): several people may read at once, and a model used outside of
a recording just computes.
"""

from __future__ import annotations

import contextvars
import copy
import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engine.contract import QKV, Bias, Layer
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import Softmax
from engine.models.joined import difference, differential, differs
from engine.models.known import Known
from engine.models.masks import ModelError, Visible, bias_of, tensor_fields

NAME = "attention_explorer"
LAID_OUT = "attention_explorer_laid_out"  # the same with n×n masks, for models that look into them
Attend = Callable[[int, QKV], Tensor]

_recorder: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar(NAME, default=None)

# arguments by which a model picks keys in ways that its mask doesn't tell of
UNKNOWN = ("indices", "block_indices", "sinks")


def _mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Tensor] | None = None,
    attention_mask: Tensor | None = None,
    **_: Any,
) -> Visible:
    """The mask function that transformers calls once a pass and kind of layer."""
    from transformers.masking_utils import causal_mask_function

    padding = None if attention_mask is None else attention_mask.bool()
    if padding is not None and padding.shape[-1] < kv_length + kv_offset:
        padding = nn.functional.pad(padding, (0, kv_length + kv_offset - padding.shape[-1]))
    function: Callable[..., Any] = mask_function or causal_mask_function
    return Visible(function, padding, int(q_offset), int(kv_offset))


@dataclass(eq=False)
class Seen:
    """One attention layer in one pass: module, input x (b n D), and a QKV for each batch item.

    own: the mechanism that the model attends with. again: its module had attended before in the
    same pass through it, which is told of watched modules only.
    """

    module: nn.Module
    x: Float[Tensor, "b n D"] | None
    qkv: list[QKV] = field(default_factory=list)
    own: Mechanism = field(default_factory=Softmax)
    again: bool = False

    def layer(self, batch: int = 0, *, rotary: bool = False) -> Layer:
        """What the layer knew, as far as it can be told."""
        x = None if self.x is None or self.x.ndim != 3 else self.x[batch]
        return Known(self.module, x, self.qkv[batch], rotary)


@dataclass(eq=False)
class Recorder:
    """What one pass leaves behind.

    Attributes:
        keep: layers to keep; all if None. attend: (layer, QKV) -> (h n e), the output that the
            model goes on with; that of its own mechanism if None. on_layer: called after each
            layer with how many are done; what it raises ends the pass.
        seen: the layers, None where not kept. outputs: what the model returned. ended: whether
            on_layer ended the pass. rotary: whether the model rotates q and k; if it is said,
            `attend` is given what each layer knew, too. only: modules that are layers; all if
            None.
    """

    keep: Collection[int] | None = None
    attend: Attend | None = None
    on_layer: Callable[[int], None] | None = None
    seen: list[Seen | None] = field(default_factory=list)
    modules: list[nn.Module] = field(default_factory=list)
    inputs: dict[nn.Module, Tensor] = field(default_factory=dict)
    watched: set[nn.Module] = field(default_factory=set)
    outputs: Any = None
    bias: tuple[Tensor, int, Bias] | None = None
    ended: bool = False
    rotary: bool | None = None
    only: Collection[nn.Module] | None = None

    def tell(self, done: int) -> None:
        """Tell `on_layer` how many layers are done, and remember whether it raises."""
        assert self.on_layer is not None
        try:
            self.on_layer(done)
        except Exception:  # not kept: its traceback holds all that the pass had made
            self.ended = True
            raise

    def bias_of(self, tensor: Tensor, batch: int) -> Bias:
        """The bias of a layer; models hand the same tensor to all their layers."""
        if self.bias is None or self.bias[0] is not tensor or self.bias[1] != batch:
            self.bias = (tensor, batch, bias_of(tensor, batch))
        return self.bias[2]


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Visible | Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    s_aux: Tensor | None = None,
    softcap: float | None = None,
    own: Mechanism | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls: q (b h n d), k (b g m d), v (b g m e).

    A model that doesn't attend by softmax says what it attends with (`own`), and what the layer
    reads (`hidden_states`), which the mechanism may need.
    """
    for name in UNKNOWN:
        if more.get(name) is not None:
            raise ModelError(
                "it chooses keys in a way of its own ('{name}'), which can't be read", name=name
            )
    recorder = _recorder.get() or Recorder(keep=())
    if recorder.only is not None and module not in recorder.only:
        recorder = Recorder(keep=())
    last = recorder.modules[-1] if recorder.modules else None
    less = last is module and differs(module)  # what is taken from the attention before
    number = len(recorder.seen) - less
    kept = recorder.keep is None or number in recorder.keep
    own, x = own or Softmax(), more.get("hidden_states")
    again = module in recorder.watched and module not in recorder.inputs
    entered = recorder.inputs.pop(module, None)
    seen = Seen(module, entered if kept else None, own=own, again=again)
    (_, heads, n, _), m = query.shape, key.shape[2]
    outputs = []
    for b in range(len(query)):
        fields: dict[str, Any]
        if isinstance(attention_mask, Visible):
            fields = attention_mask.fields(b, n, m)
        elif attention_mask is not None:
            fields = tensor_fields(attention_mask, b, heads)
        else:  # no mask: as torch's own attention does
            causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
            fields = {"causal": bool(causal) and n > 1}
        if position_bias is not None:
            fields["bias"] = recorder.bias_of(position_bias, b)
        qkv = QKV(
            query[b].contiguous(), key[b].contiguous(), value[b].contiguous(),
            scale=None if scaling is None else float(scaling),
            softcap=softcap, sinks=None if s_aux is None else s_aux.detach(), **fields,
        )  # fmt: skip
        if recorder.attend is not None:
            if recorder.rotary is not None and entered is not None:
                known = Seen(module, entered[b : b + 1], [qkv]).layer(rotary=recorder.rotary)
                qkv = qkv.replace(layer=known)
            elif x is not None:
                qkv = qkv.replace(layer=Layer(x=x[b]))
            out = recorder.attend(number, qkv)
        else:
            out = own.attend(qkv if x is None else qkv.replace(layer=Layer(x=x[b]))).output
        outputs.append(out.to(value.dtype))
        seen.qkv.append(qkv)
    if less:
        first = recorder.seen[-1]
        if first is not None:
            pairs = zip(first.qkv, seen.qkv, strict=True)
            first.qkv = [difference(a, b) for a, b in pairs]
            first.own = differential(module, first.qkv[0].heads)
        return torch.stack(outputs).transpose(1, 2).contiguous(), None
    recorder.seen.append(seen if kept else None)
    recorder.modules.append(module)
    recorder.inputs.clear()
    if recorder.on_layer is not None:
        recorder.tell(number + 1)
    return torch.stack(outputs).transpose(1, 2).contiguous(), None


def _remember_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    recorder = _recorder.get()
    x = kwargs["hidden_states"] if "hidden_states" in kwargs else (args or (None,))[0]
    if recorder is not None and isinstance(x, Tensor):
        recorder.inputs[module] = x
        recorder.watched.add(module)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars or notes of transformers while a model is opened."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def register() -> None:
    """Make both functions known to transformers; calling it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionMaskInterface.register(NAME, _mask)
    AttentionMaskInterface.register(LAID_OUT, eager_mask)
    for name in (NAME, LAID_OUT):
        AttentionInterface.register(name, _attention)


@contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Everything that the prepared models of this thread compute goes to this recorder."""
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)


def prepare(net: nn.Module, laid_out: bool = False) -> None:
    """Let a model compute its attention through this module from now on.

    Its configuration is copied first: models built from one configuration object share it, and
    would otherwise all be switched.

    Args:
        laid_out: give it n×n masks, as a few models need that cut and add to them themselves.

    Raises:
        ModelError: the model computes attention in code of its own.
    """
    register()
    modules = [m for m in net.modules() if hasattr(m, "config")]
    memo: dict[int, Any] = {}
    for module in modules:
        config: Any = copy.deepcopy(module.config, memo)
        module.config = config
        config.use_cache = False  # one pass: a cache would only hold everything twice
    net.eval()
    name = LAID_OUT if laid_out else NAME
    switch: Any = net
    with quiet():
        switch.set_attn_implementation(name)
    if switch.config._attn_implementation != name:
        raise ModelError(
            "{name} computes attention in code of its own and not through transformers' "
            "attention interface, so its Q, K and V can't be read",
            name=type(net).__name__,
        )


def restore(net: nn.Module) -> None:
    """Let a model compute its attention in its own way again."""
    switch: Any = net
    with quiet():
        switch.set_attn_implementation("eager")


def takes(net: Any, name: str, loosely: bool = False) -> bool:
    """Whether a network's pass has an argument of that name, or (loosely) any others."""
    found = inspect.signature(net.forward).parameters
    return name in found or (loosely and any(x.kind is x.VAR_KEYWORD for x in found.values()))


def attention_free(net: nn.Module) -> bool:
    """Whether nothing in a network calls itself attention."""
    names = (f"{type(module).__name__} {path}".lower() for path, module in net.named_modules())
    return not any("attention" in name or "attn" in name for name in names)


def run(net: nn.Module, recorder: Recorder | None = None, **inputs: Any) -> Recorder:
    """One pass of a prepared model over a batch, recorded, without gradients.

    The QKVs are `[seen.qkv for seen in recorder.seen]`: layer by layer, batch item by batch item.
    """
    with torch.no_grad(), recording(recorder or Recorder()) as kept:
        try:
            kept.outputs = net(**inputs)
        finally:
            kept.inputs.clear()
            kept.bias = None  # it holds what the model laid out, n×n
    return kept


def watch(modules: Collection[nn.Module]) -> None:
    """Keep the input of these attention modules too, in every later recording."""
    for module in set(modules):
        module.register_forward_pre_hook(_remember_input, with_kwargs=True)
