"""Models, folders and tokenizers that people were hurt by: read right, or refused in words."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers as hf

from engine.mechanisms.softmax import Softmax
from engine.models import ModelError, capture, load, proof
from engine.models.capture import Recorder
from engine.models.facts import describe
from engine.models.files import find, here
from engine.models.pieces import Pieces, laid
from engine.models.read import Model
from tests.models.made import bert, network, rewrite, saved, tokenizer

CPU = torch.device("cpu")
LLAMA = {
    "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    net = hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA))
    return saved(tmp_path_factory.mktemp("models") / "llama", net, tokenizer())


@pytest.fixture
def copy(llama, tmp_path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "copy"))


def prove(kind: str, **more) -> proof.Proof:
    return proof.prove(network(kind, **more), kind, None, CPU)


def test_a_token_beyond_the_embedding_is_named(copy):
    more = hf.AutoTokenizer.from_pretrained(copy)
    more.add_tokens([f"<new{i}>" for i in range(len(more), 321)])
    more.save_pretrained(copy)
    model = load(copy, device="cpu")
    assert model.read("the fox").tokens
    with pytest.raises(
        ModelError, match="'<new320>' the number 320, but copy knows only 320 tokens"
    ):
        model.read("the <new320> fox")


def test_bytes_of_a_character_stand_for_it():
    pieces = Pieces(hf.ByT5Tokenizer())
    coded = pieces.encode("aé b")
    assert pieces.named(coded) == ("a", "é¹⁄₂", "é²⁄₂", " ", "b", "</s>")
    assert coded.offsets.tolist() == [[0, 1], [1, 2], [1, 2], [2, 3], [3, 4], [4, 4]]
    assert "".join(pieces.token(t) for t in coded.ids[:1]) == "a"
    assert pieces.token(coded.ids[1]) == "⟨C3⟩"


class Spaced(hf.PythonBackend):
    """Pieces as sentencepiece writes them, by a tokenizer without offsets (Marian, M2M100)."""

    VOCABULARY = ("<unk>", "</s>", "▁the", "▁fo", "x", "▁", "ﬁ", "▁it", "e")

    def __init__(self, **more):
        self.known = {piece: i for i, piece in enumerate(self.VOCABULARY)}
        super().__init__(unk_token="<unk>", eos_token="</s>", **more)

    vocab_size = property(lambda self: len(self.known))

    def get_vocab(self):
        return dict(self.known)

    def _tokenize(self, text, **_):
        found, rest = [], "▁" + text.replace(" ", "▁")
        while rest:
            length = next((n for n in (4, 3, 2, 1) if rest[:n] in self.known), 1)
            found.append(rest[:length])
            rest = rest[length:]
        return found

    def _convert_token_to_id(self, token):
        return self.known.get(token, 0)

    def _convert_id_to_token(self, index):
        return self.VOCABULARY[index]

    def convert_tokens_to_string(self, tokens):
        return "".join(tokens).replace("▁", " ").strip()


@pytest.mark.parametrize("text", ["the fox the fox", "fox the", "the  fox", " the", "fox犬 the"])
def test_a_space_before_a_piece_eats_no_character(text):
    pieces = Pieces(Spaced())
    coded = pieces.encode(text)
    shown = pieces.named(coded)
    assert "".join(shown) == text
    for piece, name in zip(pieces.tokenizer.convert_ids_to_tokens(coded.ids), shown, strict=True):
        if piece not in ("<unk>", "▁"):
            assert name.strip() == piece.strip("▁")


def test_offsets_of_no_length_are_not_believed():
    """As Llama 3.2's tokenizer gave them (tokenizers #1688)."""
    fast = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer)
    right = Pieces(fast).encode("the fox, you")

    class Wrong(hf.PreTrainedTokenizerFast):
        def __call__(self, *texts, **more):
            coded = super().__call__(*texts, **more)
            if "offset_mapping" in coded:
                coded["offset_mapping"] = [(a, a) for a, _ in coded["offset_mapping"]]
            return coded

    wrong = Pieces(Wrong(tokenizer_object=fast.backend_tokenizer)).encode("the fox, you")
    assert torch.equal(wrong.offsets, right.offsets)
    assert bool((right.offsets[1:, 1] > right.offsets[1:, 0]).all())


@pytest.mark.parametrize(
    ("text", "written", "spans"),
    [
        ("Ab c", ["ab", " c"], [(0, 2), (2, 4)]),
        ("ab c", ["▁ab", "▁c"], [(0, 2), (2, 4)]),
        ("naïve", ["nai", "ve"], [(0, 3), (3, 5)]),
        ("ﬁx", ["fi", "x"], [(0, 1), (1, 2)]),
        ("犬 b", [None, "b"], [(0, 1), (2, 3)]),
        ("x犬猫", ["x", None], [(0, 1), (1, 3)]),
        ("犬猫 b", [None, None, "b"], [(0, 1), (1, 2), (3, 4)]),
        ("犬猫鳥 b", [None, None, "b"], [(0, 3), (3, 3), (4, 5)]),
        ("é", [b"\xc3", b"\xa9"], [(0, 1), (0, 1)]),
        ("a🙂b", ["a", b"\xf0\x9f", b"\x99\x82b"], [(0, 1), (1, 2), (1, 3)]),
        ("ab", ["", "ab", ""], [(0, 0), (0, 2), (2, 2)]),
        ("a b", ["a", "lost", "b"], [(0, 1), (1, 1), (2, 3)]),
        ("", [None], [(0, 0)]),
    ],
)
def test_tokens_are_laid_along_a_text(text, written, spans):
    assert laid(text, written) == spans


def test_an_unknown_token_is_called_by_what_it_stands_for():
    pieces = Pieces(bert())
    coded = pieces.encode("the 犬猫 fox said: wonder")
    assert pieces.tokenizer.convert_ids_to_tokens(coded.ids).count("[UNK]") >= 3
    assert pieces.named(coded) == (
        "[CLS]", "the", " 犬", "猫", " fox", " said", ":", " wonder", "[SEP]",
    )  # fmt: skip


def test_a_table_that_is_computed_is_not_missed(tmp_path):
    net = network("marian", scale=1, vocab_size=320)
    from safetensors.torch import load_file, save_file

    folder = saved(tmp_path / "marian", net, tokenizer())
    file = folder / "model.safetensors"
    kept = {k: x for k, x in load_file(file).items() if "embed_positions" not in k}
    save_file(kept, file, {"format": "pt"})
    model = load(folder, device="cpu")
    table = model.net.model.encoder.embed_positions.weight
    assert torch.equal(table, net.model.encoder.embed_positions.weight) and bool(table.any())


def test_an_encoder_saved_alone_is_read(tmp_path):
    torch.manual_seed(0)
    t5 = hf.T5Config(vocab_size=320, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    folder = saved(tmp_path / "t5", hf.T5EncoderModel(t5), tokenizer())
    model = load(folder, device="cpu")
    assert {place.part for place in model.places} == {"encoder"} and model.layers == 2


def test_a_model_for_images_too_is_read_without_one():
    found = prove("mllama")
    assert found.way == "all" and found.check < 1e-5
    assert {place.part for place in found.places} == {"decoder"}


@pytest.mark.parametrize("kind", ["mamba", "fnet", "mamba2"])
def test_what_has_no_attention_is_said_to_have_none(kind):
    changes = {"num_heads": 8, "head_dim": 8} if kind == "mamba2" else {}
    with pytest.raises(ModelError, match=f"{kind} has no attention"):
        prove(kind, **changes)


@pytest.mark.parametrize("file", ["sentencepiece.bpe.model", "tekken.json", "source.spm"])
def test_files_of_other_tokenizers_are_known(copy, file):
    for old in copy.glob("*token*"):
        old.unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        find(str(copy))
    (copy / file).touch()
    assert find(str(copy)).name == "copy"


@pytest.mark.parametrize("kind", ["clip", "align", "siglip"])
def test_the_text_side_of_a_model_that_compares_is_read(tmp_path, kind):
    net = network(kind, vocab_size=320)
    model = load(saved(tmp_path / kind, net, tokenizer()), device="cpu")
    trace = model.read("the fox")
    assert (model.weights_only, model.predicts) == (None, False) and model.check < 1e-5
    with torch.no_grad():
        own = net.text_model(torch.tensor([trace.read.coded.ids]), output_attentions=True)
    for i, weights in enumerate(own.attentions):
        torch.testing.assert_close(trace.attention(i).weights(), weights[0], atol=1e-5, rtol=0)


def test_models_without_an_embedding_or_a_config_of_each_part_open():
    canine = prove("canine")
    assert canine.places and canine.unseen > 0  # it attends to groups of characters, too
    assert len({place.part for place in prove("fsmt").places}) == 3


def test_settings_that_differ_from_layer_to_layer_are_no_hindrance():
    assert prove("gemma4_text").way == "all"


def test_layers_that_do_not_attend_from_token_to_token_are_counted():
    found = prove("longt5")
    assert {place.part for place in found.places} == {"decoder", "cross"} and found.unseen == 2
    assert prove("t5").unseen == prove("gpt2").unseen == prove("bloom").unseen == 0


def test_the_difference_of_diffllama_is_read():
    net = network("diffllama")
    ids = torch.arange(10, 22)[None]
    first = net.model.layers[0].self_attn
    made = []
    hook = first.groupnorm.register_forward_pre_hook(lambda module, args: made.append(args[0]))
    with torch.no_grad():
        net(ids)
    hook.remove()
    capture.prepare(net)
    seen = capture.run(net, input_ids=ids).seen
    assert len(seen) == 2
    qkv, own = seen[0].qkv[0], seen[0].own
    assert (qkv.heads, own.key) == (2, "differential")
    made[0] = made[0].view(1, 12, 2, -1) if made[0].ndim == 3 else made[0]
    torch.testing.assert_close(
        own.attend(qkv).output, made[0][0].transpose(0, 1), atol=1e-5, rtol=0
    )
    weights = own.attend(qkv).weights()
    share = own.learned.weights["lambda"][0]
    torch.testing.assert_close(
        weights.sum(-1).double(), (1 - share).expand(2, 12), atol=1e-4, rtol=0
    )


def test_layers_have_the_numbers_that_the_model_gives_them():
    hybrid = ["linear_attention", "full_attention", "linear_attention", "full_attention"]
    found = prove("qwen3_next", num_hidden_layers=4, layer_types=hybrid)
    assert [place.name for place in found.places] == ["1", "3"]
    found = prove("minimax", num_hidden_layers=2, layer_types=hybrid[:2])
    assert [place.name for place in found.places] == ["1"]
    assert [place.name for place in prove("albert").places] == ["0", "1"]
    assert [place.name for place in prove("gpt2").places] == ["0", "1"]


def test_keys_that_stand_for_several_tokens_are_refused_when_a_model_is_opened():
    with pytest.raises(ModelError, match="stand for several tokens"):
        prove("deepseek_v4")


@pytest.mark.parametrize("kind", ["mistral", "llama4_text", "deepseek_v4", "longformer"])
def test_the_probe_is_longer_than_what_the_config_tells_of(kind):
    net = network(kind)
    n = proof.probe(net, None)["input_ids"].shape[1]
    assert n > max(x for x in proof.lengths(net.config.to_dict()) if x < proof.LONGEST - 8) >= 8


@pytest.mark.parametrize("kind", ["paligemma", "doge"])
def test_a_model_that_looks_into_its_mask_gets_one(kind):
    found = prove(kind)
    assert found.way == "all" and found.check < 1e-5
    assert found.weights is not None and found.weights < 1e-5


@pytest.mark.parametrize("kind", ["deepseek_v32", "glm_moe_dsa", "bigbird_pegasus"])
def test_reasons_are_in_words(kind):
    found = prove(kind)
    assert found.way == "weights"
    assert "of its own" in str(found.reason) and "object" not in str(found.reason)


def test_fewer_layers_than_there_are_weights_for(copy):
    rewrite(copy / "config.json", num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"hold 1 layer that its config\.json doesn't tell of"):
        load(copy, device="cpu")


def test_a_pointer_is_no_weights(copy):
    (copy / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid ...")
    with pytest.raises(ModelError, match="pointers only"):
        load(copy, device="cpu")


def test_names_of_folders(llama, tmp_path, monkeypatch):
    kept = tmp_path / "models--org--name" / "snapshots" / "0123abcd"
    shutil.copytree(llama, kept)
    (kept.parents[1] / "refs").mkdir()
    (kept.parents[1] / "refs" / "main").write_text("0123abcd")
    shutil.copytree(llama, kept.parent / "4567")
    assert find(str(kept)).name == "org/name"
    found = find(f' "{kept.parents[1]}" ')
    assert (found.name, found.folder) == ("org/name", kept)
    monkeypatch.chdir(llama)
    assert find(".").name == "llama"


@pytest.mark.parametrize(
    ("said", "name", "revision"),
    [
        ("'gpt2'", "gpt2", None),
        ("gpt2@main", "gpt2", "main"),
        ("https://huggingface.co/org/name", "org/name", None),
        ("https://huggingface.co/org/name/tree/v2", "org/name", "v2"),
        ("hf.co/gpt2/tree/v2?x=1", "gpt2", "v2"),
    ],
)
def test_names_on_the_hub_as_people_paste_them(monkeypatch, llama, said, name, revision):
    import huggingface_hub

    asked = []

    def info(self, where, timeout, **more):
        asked.append((where, more.get("revision")))
        return SimpleNamespace(
            siblings=[SimpleNamespace(rfilename=f.name) for f in llama.iterdir()]
        )

    def fetch(where, **more):
        asked.append((where, more.get("revision")))
        return str(llama)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert find(said).name == name
    assert asked == [(name, revision)] * 2


def test_refusals_say_what_to_do(copy):
    rewrite(copy / "config.json", quantization_config={"quant_method": "gptq"})
    with pytest.raises(ModelError, match=r"quantised.*open the model that it was made from"):
        load(copy, device="cpu")
    (copy / "config.json").rename(copy / "adapter_config.json")
    with pytest.raises(ModelError, match=r"adapter.*open its base model"):
        load(copy, device="cpu")


def test_a_gated_model_is_said_to_be(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def info(self, where, timeout, **more):
        raise GatedRepoError("gated", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    with pytest.raises(ModelError, match="log in"):
        load("org/name")


def test_opening_says_what_is_being_done(llama):
    steps: list[str] = []
    load(llama, device="cpu", on_step=steps.append)
    assert steps == ["files", "weights", "tokenizer"]

    def stop(step):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        load(llama, device="cpu", on_step=stop)


def test_how_a_model_is_read_is_found_out_once_when_it_is_first_asked_for(llama, monkeypatch):
    passes: list[object] = []
    run = capture.run
    monkeypatch.setattr(capture, "run", lambda *a, **k: [passes.append(0), run(*a, **k)][1])
    model = load(llama, device="cpu")
    assert not passes
    with ThreadPoolExecutor(4) as people:
        found = list(people.map(lambda _: model.proof, range(4)))
    assert passes and len({id(x) for x in found}) == 1
    before = len(passes)
    assert (model.layers, model.heads, model.check < 1e-3) == (2, 4, True)
    assert len(model.read("the fox").layer(0).q) == 4 and len(passes) == before + 1


def test_what_its_own_code_says_is_no_reason():
    model = Model(
        "small", network("llama", vocab_size=320), tokenizer(), CPU, torch.float32, None, 640, True
    )
    assert model.proof.way == "all"
    model.net.model.layers[0].self_attn.o_proj = None
    with pytest.raises(ModelError, match=r"its own code fails on it$"):
        model.read("the fox")


def test_a_mask_with_a_value_for_each_pair_and_head_can_be_cut():
    net = network("doge")
    capture.prepare(net, laid_out=True)
    qkv = capture.run(net, Recorder(), input_ids=torch.arange(10, 19)[None]).seen[0].qkv[0]
    one = Softmax().attend(qkv.head(1)).weights()
    torch.testing.assert_close(one[0], Softmax().attend(qkv).weights()[1])


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "x" * 300, "/x/" + "y" * 300, "a\0b"])
def test_a_name_that_no_folder_has_is_refused_in_words(name):
    with pytest.raises(ModelError, match="there is no folder"):
        here(name)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (b"[" * 200_000, "is no JSON"),
        (b"\xff\xfe{}", "is no JSON"),
        (b'{"model_type": "llama", "num_hidden_layers": 1000000}', "layers = 1,000,000"),
        (b'{"model_type": "x", "text_config": {"hidden_size": 1e12}}', "at most 4,194,304"),
    ],
)  # fmt: skip
def test_a_config_that_would_take_the_machine_is_refused_at_once(copy, config, words):
    (copy / "config.json").write_bytes(config)
    for look in (find, describe):
        with pytest.raises(ModelError, match=words):
            look(str(copy))


def test_a_config_that_is_a_folder_and_a_folder_that_is_closed(copy, monkeypatch):
    (copy / "config.json").unlink()
    (copy / "config.json").mkdir()
    with pytest.raises(ModelError, match="can't be read"):
        find(str(copy))

    def closed(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(ModelError, match="can't be read"):
        find(str(copy))


@pytest.mark.parametrize(
    "head", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x05" + b"\0" * 9]
)
def test_weights_that_are_none_are_damaged_before_they_are_opened(copy, head):
    (copy / "model.safetensors").write_bytes(head)
    with pytest.raises(ModelError, match="are damaged"):
        describe(str(copy))


def test_of_a_long_text_a_beginning_is_encoded(llama, monkeypatch):
    model, lengths = load(llama, device="cpu"), []
    encode = Pieces.encode

    def counted(self, text, *more):
        lengths.append(len(text))
        return encode(self, text, *more)

    monkeypatch.setattr(Pieces, "encode", counted)
    text = "the fox ran over the hill. " * 40_000
    trace = model.read(text)
    assert len(trace.tokens) == 64 and max(lengths) < 10_000
    short = model.read(text[:9_000])
    assert trace.tokens == short.tokens and trace.offsets.tolist() == short.offsets.tolist()
    assert trace.read.about and not model.read(text[:900]).read.about
    per = model.read(text[:900]).total_tokens / 900
    assert trace.total_tokens == pytest.approx(per * len(text), rel=0.05)
    spaces = " " * 30_000 + text  # few tokens for many characters
    assert model.read(spaces).tokens == model.read(spaces[:40_000]).tokens
