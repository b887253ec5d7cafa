"""Reading a whole model, as ratios to what transformers takes for the same text, in one run.

    python -m engine bench --models [--quick]

A random 12-layer, 12-head Llama. "eager": its own pass with `output_attentions`, then the row
statistics and the pooled map of every head from the n×n weights. "sdpa": its own pass by torch's
attention, without weights. "read": the pass that keeps Q, K and V; "all": that, then the same
statistics and maps; "with the finder": that, and the ten patterns that every head is scored for;
"MB": what each of the two takes at its highest (Linux). "mosaic": the picture of all heads from
their maps. "open": a folder of half a gigabyte, beside transformers' own opening of model and
tokenizer; both map the weights and read none. "to the first picture": opened, proved on a few
tokens, which reads the weights twice, and "all" of 512 tokens, against opened and eager. Last,
where BertViz is installed, its head view of 6 layers and 512 tokens beside our mosaic: seconds
from the text's tokens to what is sent to the browser, and its bytes. How long that takes to draw
is not compared: BertViz fetches d3 and jQuery from the network.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from engine.figures.attention.layers import layers
from engine.figures.base.theme import LIGHT
from engine.models import Model, load
from engine.models.capture import Recorder
from engine.models.overview import CELLS, Layer, overview
from engine.models.pieces import Coded
from engine.models.trace import Side, Trace
from tests.models.made import tokenizer

SIZES = {
    "vocab_size": 320, "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 8192,
}  # fmt: skip
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def net(attention: str, depth: int = 12) -> Any:
    torch.manual_seed(0)
    config = hf.LlamaConfig(**SIZES | {"num_hidden_layers": depth})
    return hf.LlamaForCausalLM._from_config(config, attn_implementation=attention).eval()


def eager(own: Any, ids: torch.Tensor) -> None:
    """The statistics of `RowStats` and the map, as one writes them from the weights that are
    returned, in their own precision."""
    at = torch.arange(ids.shape[1])
    far = (at[:, None] - at).abs().float()
    with torch.no_grad():
        for weights in own(ids, output_attentions=True, logits_to_keep=1).attentions:
            w = weights[0]
            entropy = -(w.clamp_min(1e-30).log() * w).sum(-1)
            top = w.topk(8, -1)
            {
                "entropy": entropy, "normalised_entropy": entropy / (at + 1).log(),
                "effective_tokens": entropy.exp(), "participation": 1 / w.square().sum(-1),
                "max_weight": top.values[..., 0], "argmax": top.indices[..., 0],
                "top_mass": top.values.sum(-1), "sink_mass": w[..., 0],
                "distance": (w * far).sum(-1), "kept_mass": w.sum(-1),
            }  # fmt: skip
            side = -(-w.shape[-1] // CELLS)
            torch.nn.functional.max_pool2d(w[None], side, ceil_mode=True)


def summaries(trace: Trace) -> None:
    """The same, by ours."""
    for i in range(trace.layers):
        trace.attention(i).summary(CELLS, ("max",), output=False)


def plain(own: Any, ids: torch.Tensor) -> None:
    with torch.no_grad():
        own(ids, logits_to_keep=1)


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def most(run: Callable[[], object]) -> float:
    """Megabytes that a run takes at its highest, beyond what there was; NaN where Linux is not."""
    if not RESET.exists():
        return float("nan")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else what was freed before counts as held
    RESET.write_text("5")  # the highest so far is forgotten

    def held(name: str) -> int:
        return next(int(x.split()[1]) for x in STATUS.read_text().splitlines() if name in x)

    before = held("VmRSS")
    run()
    return (held("VmHWM") - before) / 1e3


def drawn(n: int) -> tuple[Side, torch.Tensor]:
    """n random tokens, and their numbers."""
    ids = torch.randint(8, 320, (1, n), generator=torch.Generator().manual_seed(n))
    at = torch.arange(n)
    coded = Coded("x" * n, ids[0].tolist(), torch.stack([at, at + 1], 1), [False] * n)
    return Side(coded, ("x",) * n, n), ids


def opened(depth: int, n: int) -> tuple[Callable[[], Trace], torch.Tensor]:
    """What reads n random tokens with a model of ours, and their numbers."""
    side, ids = drawn(n)
    model = Model("bench", net("eager", depth), tokenizer(), torch.device("cpu"), torch.float32,
                  None, None, True)  # fmt: skip
    return lambda: model.run(side, None, Recorder()), ids


def picture(found: list[Layer]) -> Any:
    """All heads at once."""
    maps, names = [one.maps for one in found], [one.name for one in found]
    return layers(maps, names=names, theme=LIGHT, axes=("", ""))


def ratios(n: int, rounds: int) -> dict[str, float]:
    """Median ratios of CPU seconds: read to sdpa, all to eager; seconds of the mosaic."""
    read, ids = opened(12, n)
    owns = {name: net(name) for name in ("eager", "sdpa")}
    runs: dict[str, Callable[[], object]] = {
        "eager": lambda: eager(owns["eager"], ids),
        "sdpa": lambda: plain(owns["sdpa"], ids),
        "read": read,
        "all": lambda: summaries(read()),
        "finder": lambda: overview(read()),
    }
    for run in runs.values():  # warm-up
        run()
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(rounds)]
    highest = {name: most(runs[name]) for name in ("eager", "all")}
    found = overview(read())
    picture(found)  # Plotly is imported at first
    return {
        "read / sdpa": statistics.median(t["read"] / t["sdpa"] for t in times),
        "all / eager": statistics.median(t["all"] / t["eager"] for t in times),
        "with the finder / eager": statistics.median(t["finder"] / t["eager"] for t in times),
        "MB": highest["all"], "MB of eager": highest["eager"],
        "mosaic, s": seconds(lambda: picture(found)),
    }  # fmt: skip


def opening(rounds: int) -> dict[str, float]:
    """Seconds that a folder of half a gigabyte takes to open, as a multiple of transformers'."""
    with tempfile.TemporaryDirectory() as folder:
        own = net("eager", 17)
        own.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        size = sum(x.numel() * x.element_size() for x in own.parameters())
        del own

        side, ids = drawn(512)

        def theirs() -> tuple[float, float]:
            start = time.process_time()
            kind = hf.AutoModelForCausalLM
            own = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
            hf.AutoTokenizer.from_pretrained(folder)
            at = time.process_time()
            eager(own.eval(), ids)
            return at - start, time.process_time() - start

        def ours() -> tuple[float, float]:
            start = time.process_time()
            own = load(folder, "cpu")
            at = time.process_time()
            summaries(own.run(side, None, Recorder()))
            return at - start, time.process_time() - start

        theirs()  # warm-up: the files are in memory
        ours()
        found = [(ours(), theirs()) for _ in range(rounds)]
    return {
        "MB": size / 1e6, "open, s": statistics.median(a[0] for a, _ in found),
        "open / transformers": statistics.median(a[0] / b[0] for a, b in found),
        "to the first picture / transformers": statistics.median(a[1] / b[1] for a, b in found),
    }  # fmt: skip


def bertviz(n: int, depth: int = 6) -> dict[str, float]:
    """Seconds and bytes of BertViz's head view as multiples of our mosaic's."""
    from bertviz import head_view

    read, ids = opened(depth, n)
    own, sent = net("eager", depth), {}

    def theirs() -> None:
        with torch.no_grad():
            found = own(ids, output_attentions=True, logits_to_keep=1).attentions
        page = head_view(found, ["x"] * n, html_action="return")
        sent["theirs"] = len(page.data.encode())

    def ours() -> None:
        sent["ours"] = len(str(picture(overview(read())).to_json()))

    ours()  # warm-up
    taken = {"theirs": seconds(theirs), "ours": seconds(ours)}
    return {
        "BertViz, s": taken["theirs"], "ours, s": taken["ours"],
        "BertViz, MB": sent["theirs"] / 1e6, "ours, MB": sent["ours"] / 1e6,
        "times the seconds": taken["theirs"] / taken["ours"],
        "times the bytes": sent["theirs"] / sent["ours"],
    }  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m engine bench --models", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short text, one round")
    args = parser.parse_args(argv)
    print(f"torch {torch.__version__} · {torch.get_num_threads()} threads · 12 layers × 12 heads")
    for n in (128,) if args.quick else (512, 1024, 4096):
        found = ratios(n, 1 if args.quick else 3)
        print(f"n = {n:>5}  " + "  ".join(f"{k} {v:.2f}" for k, v in found.items()), flush=True)
    found = opening(1 if args.quick else 3)
    print("  ".join(f"{k} {v:.2f}" for k, v in found.items()), flush=True)
    if find_spec("bertviz"):
        found = bertviz(64 if args.quick else 512)
        print("  ".join(f"{k} {v:.2f}" for k, v in found.items()), flush=True)


if __name__ == "__main__":
    main()
