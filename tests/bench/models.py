"""Reading a whole model, as ratios to what transformers takes for the same text, in one run.

    python -m engine bench --models [--quick]

A random 12-layer, 12-head Llama. "eager": its own pass with `output_attentions`, then entropy,
largest weight and pooled map of every head from the n×n weights. "sdpa": its own pass by torch's
attention, without weights. "read": the pass that keeps Q, K and V; "all": that, then every row
statistic and map of every layer; "mosaic": the picture of all heads from their maps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

from engine.figures.attention.layers import layers
from engine.figures.base.theme import LIGHT
from engine.models import Model
from engine.models.capture import Recorder
from engine.models.overview import CELLS, overview
from engine.models.pieces import Coded
from engine.models.trace import Side, Trace
from tests.models.made import tokenizer

SIZES = {
    "vocab_size": 320, "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 8192,
}  # fmt: skip


def net(attention: str) -> Any:
    torch.manual_seed(0)
    config = hf.LlamaConfig(**SIZES)
    return hf.LlamaForCausalLM._from_config(config, attn_implementation=attention).eval()


def eager(own: Any, ids: torch.Tensor) -> None:
    """Statistics and maps as one writes them from the weights that are returned."""
    with torch.no_grad():
        for weights in own(ids, output_attentions=True, logits_to_keep=1).attentions:
            w = weights[0]
            w.clamp_min(1e-30).log().mul(w).sum(-1)
            w.max(-1)
            side = -(-w.shape[-1] // CELLS)
            torch.nn.functional.max_pool2d(w[None], side, ceil_mode=True)


def plain(own: Any, ids: torch.Tensor) -> None:
    with torch.no_grad():
        own(ids, logits_to_keep=1)


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def ratios(n: int, rounds: int) -> dict[str, float]:
    """Median ratios of CPU seconds: read to sdpa, all to eager; seconds of the mosaic."""
    ids = torch.randint(8, 320, (1, n), generator=torch.Generator().manual_seed(n))
    owns = {name: net(name) for name in ("eager", "sdpa")}
    model = Model("bench", net("eager"), tokenizer(), torch.device("cpu"), torch.float32, None,
                  None, True)  # fmt: skip
    at = torch.arange(n)
    side = Side(
        Coded("x" * n, ids[0].tolist(), torch.stack([at, at + 1], 1), [False] * n),
        ("x",) * n, n,
    )  # fmt: skip

    def read() -> Trace:
        return model.run(side, None, Recorder())

    runs: dict[str, Callable[[], object]] = {
        "eager": lambda: eager(owns["eager"], ids),
        "sdpa": lambda: plain(owns["sdpa"], ids),
        "read": read,
        "all": lambda: overview(read()),
    }
    for run in runs.values():  # warm-up
        run()
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(rounds)]
    found = overview(read())
    maps, names = [one.maps for one in found], [one.name for one in found]

    def drawn() -> object:
        return layers(maps, names=names, theme=LIGHT, axes=("", ""))

    drawn()  # Plotly is imported at first
    mosaic = seconds(drawn)
    return {
        "read / sdpa": statistics.median(t["read"] / t["sdpa"] for t in times),
        "all / eager": statistics.median(t["all"] / t["eager"] for t in times),
        "mosaic, s": mosaic,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m engine bench --models", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short text, one round")
    args = parser.parse_args(argv)
    print(f"torch {torch.__version__} · {torch.get_num_threads()} threads · 12 layers × 12 heads")
    for n in (128,) if args.quick else (512, 1024, 4096):
        found = ratios(n, 1 if args.quick else 3)
        print(f"n = {n:>5}  " + "  ".join(f"{k} {v:.2f}" for k, v in found.items()), flush=True)


if __name__ == "__main__":
    main()
