"""Models opened from a folder: read as they are, and bad ones refused with a sentence."""

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from engine.models import ModelError, load
from engine.models.pieces import BYTES
from engine.sources.reading import text as read_text
from tests.models.made import WORDS, rewrite, tokenizer

TEXT = "The fox said: 你好。\n\nthe dog 🙂"


def config(**more) -> hf.LlamaConfig:
    return hf.LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        bos_token_id=0, eos_token_id=1, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    hf.LlamaForCausalLM(config(trained_length=48)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def broken(tiny, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def test_a_folder_is_read(tiny):
    model = load(tiny, device="cpu")
    assert (model.name, model.layers, model.heads, model.key_heads) == ("tiny", 2, 4, 2)
    assert (model.trained_length, model.context, model.dtype) == (48, 64, torch.float32)
    assert model.check < 1e-5
    assert model.bytes_per_token == 2 * 4 * (32 + 16 + 16 + 32)
    trace = model.read(TEXT)
    assert trace.text == TEXT and trace.complete and trace.layers == 2
    assert trace.tokens[0] == "<|bos|>"
    assert "".join(trace.tokens[1:]).startswith("The fox said: 你好。\n\nthe dog 🙂¹⁄")
    qkv = trace.layer(1)
    n = len(trace.tokens)
    assert (qkv.q.shape, qkv.k.shape, qkv.v.shape) == ((4, n, 8), (2, n, 8), (2, n, 8))
    assert (qkv.causal, qkv.mask, qkv.key_mask) == (True, None, None)
    assert qkv.tokens == trace.tokens
    assert list(qkv.units) == ["tokens", "words", "sentences", "paragraphs"]
    assert len(qkv.units["paragraphs"]) == 2
    assert qkv.origin.source == "text" and qkv.origin.detail == "tiny · layer 1"
    assert qkv.origin.trained_length == 48
    assert qkv.layer is not None and qkv.layer.rotary
    assert qkv.layer.x is not None and qkv.layer.x.shape == (n, 32)
    assert trace.layer(1) is qkv


def test_what_it_reads_is_what_the_model_computes(tiny):
    own = hf.LlamaForCausalLM.from_pretrained(tiny, attn_implementation="eager").eval()
    trace = load(tiny, device="cpu").read(TEXT)
    ids = hf.AutoTokenizer.from_pretrained(tiny)(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        out = own(ids, output_attentions=True)
    from engine.mechanisms.softmax import Softmax

    for i in range(2):
        weights = Softmax().attend(trace.layer(i)).weights()
        torch.testing.assert_close(weights, out.attentions[i][0], atol=1e-5, rtol=0)
    probabilities = out.logits[0, -1].softmax(0)
    best = trace.next_tokens(5)
    assert len(best) == 5
    values = torch.tensor([p for _, p in best])
    torch.testing.assert_close(values, probabilities.topk(5).values, atol=1e-5, rtol=0)


def test_the_beginning_is_kept(tiny):
    trace = load(tiny, device="cpu").read("the fox. " * 100)
    assert len(trace.tokens) == 64 < trace.total_tokens and not trace.complete
    short = load(tiny, device="cpu").read(TEXT, max_tokens=5)
    assert short.tokens == load(tiny, device="cpu").read(TEXT).tokens[:5]


def test_what_closes_a_text_is_kept_too(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "closing")
    tokenizer(last=True).save_pretrained(folder)
    model = load(folder, device="cpu")
    trace = model.read(TEXT, max_tokens=6)
    assert trace.tokens[-1] == "<|end|>" and len(trace.tokens) == 6
    assert trace.tokens[:5] == model.read(TEXT).tokens[:5]
    assert trace.layer(0).units["paragraphs"].tolist() == [[0, 6]]


def test_a_special_token_in_a_text_is_text(tiny):
    trace = load(tiny, device="cpu").read("a<|bos|>")
    assert trace.tokens.count("<|bos|>") == 1
    assert "".join(trace.tokens[1:]) == "a<|bos|>"


MIXED = "The  fox,\n\n他说：“你好，𓂀！” 🙂 👩‍👩‍👧\ta "


def spelt(trace) -> str:
    """The text that the tokens spell, by their spans."""
    said, end = "", 0
    for start, stop in trace.offsets.tolist():
        said, end = said + trace.text[max(start, end) : stop], max(end, stop)
    return said


def test_character_by_character(tiny):
    model = load(tiny, device="cpu")
    for text in (MIXED, "x", " ", "\n", "你", "犇猋", "🙂", "a<|bos|>"):
        trace = model.read(text[:30], characters=True)
        assert trace.tokens[0] == "<|bos|>" and trace.tokens.count("<|bos|>") == 1
        assert spelt(trace) == text[:30]
        units = trace.layer(0).units
        assert list(units) == ["characters", "words", "sentences", "paragraphs"]
        starts = trace.offsets[units["characters"][:, 0], 0].tolist()
        assert starts[1:] == list(range(len(text[:30])))  # after BOS, each of them once
    trace = model.read(TEXT, characters=True)
    usual = model.read(TEXT)
    assert "".join(trace.tokens[1:]) == "".join(usual.tokens[1:])
    assert len(trace.tokens) > len(usual.tokens)
    assert trace.layer(0).units["words"].shape == usual.layer(0).units["words"].shape
    assert model.read(TEXT, max_tokens=5, characters=True).tokens == trace.tokens[:5]


def test_characters_alone_stand_without_the_space_of_a_word(tiny, tmp_path):
    folder = Path(shutil.copytree(tiny, tmp_path / "spaced"))
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<unk>", *(f"<0x{b:02X}>" for b in range(256))],
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(WORDS * 4, trainer)
    hf.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)
    model = load(folder, device="cpu")
    trace = model.read("the fox 🙂", characters=True)
    assert trace.tokens[:8] == tuple("the fox ") and spelt(trace) == trace.text
    pieces = model.tokenizer.convert_ids_to_tokens
    assert pieces(model.pieces.encode("the fox", characters=True).ids) == [
        "t",
        "h",
        "e",
        "▁",
        "f",
        "o",
        "x",
    ]


def test_bytes_that_are_no_character_have_names(tiny):
    model = load(tiny, device="cpu")
    names = [model.token(i) for i in range(320)]
    assert "⟨80⟩" in names and " the" in names and "\n" in names and "你" in names
    assert not any("\ufffd" in name for name in names)


def test_a_space_before_the_text_is_called_a_space(tiny, tmp_path):
    folder = Path(shutil.copytree(tiny, tmp_path / "prefixed"))
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    special = ["<unk>", *(f"<0x{b:02X}>" for b in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=270, special_tokens=special, show_progress=False)
    made.train_from_iterator(["he the"], trainer)
    hf.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>").save_pretrained(folder)
    model = load(folder, device="cpu")
    assert model.read("eh 中").tokens == (" ", "e", "h", " ", "中¹⁄₃", "中²⁄₃", "中³⁄₃")
    assert "⟨E4⟩" in [model.token(i) for i in range(len(special))]


def test_layers_to_keep_and_layers_that_there_are_not(tiny):
    trace = load(tiny, device="cpu").read("the fox", layers=[1])
    assert trace.layer(1).n == len(trace.tokens)
    for i, said in ((0, "was not kept"), (2, "not one of 0 … 1"), (-1, "not one of")):
        with pytest.raises(ModelError, match=said):
            trace.layer(i)


def test_bfloat16(tiny):
    model = load(tiny, device="cpu", dtype=torch.bfloat16)
    assert model.read(TEXT).layer(0).dtype == torch.bfloat16
    assert model.read(TEXT).next_tokens(1)
    with pytest.raises(ModelError, match="float32 or bfloat16"):
        load(tiny, dtype=torch.float16)


def test_texts_that_hold_nothing_to_read_are_refused(tiny):
    model = load(tiny, device="cpu")
    for text, most, said in (
        ("", 9, "empty"),
        ("ab\ud800", 9, "position 2"),
        ("a", 0, "at least 1"),
    ):
        with pytest.raises(ModelError, match=said):
            model.read(text, max_tokens=most)


def test_values_that_are_not_finite_are_said(tiny):
    model = load(tiny, device="cpu")
    assert model.proof.way == "all"
    model.net.model.layers[1].self_attn.k_proj.weight.data.fill_(torch.inf)
    with pytest.raises(ModelError, match="tiny can't read this text: k holds values"):
        model.read("the fox")


def test_who_listens_can_end_a_pass(tiny):
    model, done = load(tiny, device="cpu"), []
    model.read("the fox", on_layer=done.append)
    assert done == [1, 2]

    def stop(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        model.read("the fox", on_layer=stop)


def test_one_token(tiny):
    trace = load(tiny, device="cpu").read(" ", max_tokens=1)
    assert trace.tokens == ("<|bos|>",) and trace.layer(0).n == 1


def test_two_people_read_at_once(tiny):
    model, wrong = load(tiny, device="cpu"), []
    texts = ["the quick fox", "你好，世界！ the lazy dog"]
    alone = [model.read(t) for t in texts]

    def read(which: int) -> None:
        for _ in range(8):
            trace = model.read(texts[which])
            if trace.tokens != alone[which].tokens:
                wrong.append(trace.tokens)
            if not torch.allclose(trace.layer(1).v, alone[which].layer(1).v, atol=1e-5):
                wrong.append(trace.layer(1))

    threads = [threading.Thread(target=read, args=(i,)) for i in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_model_without_a_head_predicts_nothing(tmp_path):
    small = {
        "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 40, "pad_token_id": 1,
    }  # fmt: skip
    hf.RobertaForMaskedLM(hf.RobertaConfig(**small)).save_pretrained(tmp_path / "roberta")
    tokenizer(last=True).save_pretrained(tmp_path / "roberta")
    model = load(tmp_path / "roberta", device="cpu")
    assert model.context == 38  # its positions start after the padding's
    trace = model.read("the fox. " * 40)
    assert len(trace.tokens) == 38 and not trace.layer(0).causal
    with pytest.raises(ModelError, match="predict"):
        trace.next_tokens()


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def damage_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def drop_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.self_attn.q_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()


DAMAGE = {
    "config.json of 'copy' is broken": damage_config,
    "could not be opened: its files are damaged": damage_weights,
    "lack 1 tensor: model.layers.1.self_attn.q_proj": drop_a_tensor,
    "only safetensors are read": only_pickled,
    "has no weights": lambda f: (f / "model.safetensors").unlink(),
    "has no config.json": lambda f: (f / "config.json").unlink(),
    "has no tokenizer": no_tokenizer,
    "tokenizer of 'copy' could not be opened": lambda f: (f / "tokenizer.json").write_text("{"),
    "doesn't know the model type 'novel'": lambda f: (
        rewrite(f / "config.json", model_type="novel")
    ),
    "needs code of its own": lambda f: rewrite(
        f / "config.json", model_type="novel", auto_map={"AutoModel": "code.Net"}
    ),
    "doesn't say which kind": lambda f: rewrite(f / "config.json", model_type=None),
    "or don't fit its config.json": lambda f: rewrite(f / "config.json", hidden_size="wide"),
}  # fmt: skip


@pytest.mark.parametrize("said", DAMAGE)
def test_a_damaged_folder_is_refused(broken, said):
    DAMAGE[said](broken)
    with pytest.raises(ModelError, match=said.replace("(", "\\(")) as caught:
        load(broken, device="cpu")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_code_in_a_folder_is_never_run(broken):
    (broken / "code.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()"
    )
    rewrite(
        broken / "config.json",
        auto_map={"AutoModelForCausalLM": "code.Net", "AutoConfig": "code.C"},
    )
    load(broken, device="cpu")  # a kind that transformers knows itself
    assert not (broken / "ran").exists()


@pytest.mark.parametrize("where", ["/nowhere/at/all", "a/b/c", "no such folder", "../x", "", "--"])
def test_a_missing_folder_is_refused(where):
    with pytest.raises(ModelError, match="there is no folder"):
        load(where)
    with pytest.raises(ModelError, match="is a file"):
        load(__file__)


def hub(monkeypatch, info, fetch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)


def unreachable(self, *args, timeout, **more):
    assert timeout <= 10
    raise ConnectionError("Name or service not known")


def test_a_hub_that_cannot_be_reached_is_said_soon(monkeypatch):
    def fetch(*args, local_files_only=False, **more):
        assert local_files_only, "nothing is fetched without a network"
        raise FileNotFoundError

    hub(monkeypatch, unreachable, fetch)
    with pytest.raises(ModelError, match="the hub can't be reached; fetch it"):
        load("someone/something")


def test_a_model_fetched_before_is_opened_without_a_network(monkeypatch, tiny):
    hub(monkeypatch, unreachable, lambda *args, local_files_only=False, **more: str(tiny))
    assert load("someone/something", device="cpu").name == "someone/something"


def test_a_hub_model_with_pickled_weights_only_is_not_fetched(monkeypatch):
    files = [
        SimpleNamespace(rfilename=n) for n in ("config.json", "pytorch_model.bin", "vocab.json")
    ]

    def fetch(*args, **more):
        raise AssertionError("nothing may be fetched")

    hub(monkeypatch, lambda self, *args, **more: SimpleNamespace(siblings=files), fetch)
    with pytest.raises(ModelError, match="only safetensors"):
        load("someone/something")


def test_text_as_a_source(tiny):
    qkv = read_text("the fox", tiny, layer=1)
    assert qkv.origin.detail == "tiny · layer 1"
    assert torch.equal(read_text("the fox", load(tiny), layer=1).q, qkv.q)


def test_the_alphabet_of_bytes_is_whole():
    assert sorted(BYTES.values()) == list(range(256))
    assert set(BYTES) == set(pre_tokenizers.ByteLevel.alphabet())
