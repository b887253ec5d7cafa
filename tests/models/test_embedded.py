"""Models that come with the project: their names, and how transformers' classes know them."""

import subprocess
import sys

import pytest

import engine
from engine.mechanisms import MECHANISMS
from engine.models import embedded
from engine.models.zoo.recipes import KINDS
from engine.runtime.paths import ROOT, TINY, ZOO

ALL = [f"{embedded.PREFIX}{name}" for name in KINDS]
THERE = embedded.trained()


def test_names_lead_to_folders_and_other_names_are_left_alone():
    assert embedded.folder_of("tiny") == str(TINY)
    assert embedded.folder_of("zoo-window") == str(ZOO / "window")
    for name in ("zoo-nothing", "owner/name", "/a/folder", "window"):
        assert embedded.folder_of(name) == name and embedded.kind_of(name) is None
    assert set(THERE) <= set(ALL) and sorted(THERE, key=ALL.index) == THERE


@pytest.mark.parametrize(
    ("mechanism", "chosen", "found"),
    [
        ("window", (), "zoo-window"),
        ("window", (("window", 7),), "zoo-window"),  # a size may differ
        ("softmax", (), "zoo-softmax"),  # and not the one without positions
        ("relative", (), "zoo-alibi"),
        ("relative", (("kind", "t5"),), ""),  # a kind may not
        ("segmented", (("integrate", "attention"),), "zoo-segmented"),
        ("segmented", (("integrate", "none"),), ""),
        ("lsh", (("shared_qk", False),), ""),
        ("lsh", (), "zoo-lsh"),
        ("kmeans", (), ""),
    ],
)
def test_the_model_that_was_trained_with_a_mechanism(mechanism, chosen, found):
    assert embedded.trained_with(mechanism, chosen, ALL) == found
    assert embedded.trained_with(mechanism, chosen, []) == ""


@pytest.mark.parametrize("name", KINDS)
def test_settings_are_all_parameters_and_what_was_said_among_them(name):
    kind = KINDS[name]
    pairs = dict(embedded.settings(kind))
    assert pairs.items() >= kind.parameters.items()
    assert MECHANISMS[kind.key](**pairs) == engine.make(kind.key, **kind.parameters)


@pytest.mark.skipif(not THERE, reason="none is trained")
@pytest.mark.parametrize("first", ["AutoModelForCausalLM", "LlamaForCausalLM"])
def test_auto_classes_open_them_once_the_engine_is_imported(first):
    """In a fresh process, whichever of transformers' modules comes first, before or after."""
    code = (
        "import sys\n"
        "import engine\n"
        "assert 'transformers' not in sys.modules\n"
        f"from transformers import {first}\n"
        "from transformers import AutoModelForCausalLM\n"
        "import torch\n"
        f"net = AutoModelForCausalLM.from_pretrained({str(ZOO / 'window')!r})\n"
        "assert type(net).__name__ == 'ZooForCausalLM', type(net)\n"
        "assert net.config.mechanism == 'window'\n"
        "assert net(torch.arange(1, 9)[None]).logits.shape == (1, 8, net.config.vocab_size)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_auto_classes_that_are_imported_first_learn_of_them():
    code = (
        "from transformers import AutoConfig\n"
        "import engine\n"
        f"config = AutoConfig.from_pretrained({str(ZOO / 'window')!r})\n"
        "assert type(config).__name__ == 'ZooConfig', type(config)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
