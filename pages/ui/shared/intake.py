"""The sidebar's first part: which text or arrays, read by which model."""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st
from charset_normalizer import from_bytes
from streamlit.delta_generator import DeltaGenerator

from engine.models import Model, embedded
from engine.runtime.public import listed, public
from engine.sources import SOURCES, samples
from engine.sources.arrays import Contents
from engine.sources.arrays import contents as unpacked
from engine.sources.drawings import DRAWINGS
from engine.sources.stacks import CROPS
from engine.spec.fields import CONTENT, LONGEST_TEXT, READINGS, TEXTUAL
from engine.spec.picture import Spec
from engine.spec.spelling import declarations
from pages.ui.server.desk import DESK
from pages.ui.server.limits import limits
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared import contents, controls
from pages.ui.shared.guard import REFUSED
from pages.ui.shared.reading import key_of, picture_of
from pages.ui.shared.settings import model_name
from pages.ui.shared.strings import language, t
from pages.ui.url import state

UPLOADS = {
    "file": ["txt", "md"],
    "arrays": ["npz", "npy", "safetensors", "pt", "pth", "bin"],
    "image": ["png", "jpg", "jpeg"],
}
FOLDED = ("heads", "dim", "noise", "needles", "seed", "causal", "layout")
PICTURE = ("sample", "upload")  # which image, on one control
MEASURED = ("grid", "sharpness")  # of an image that no model reads
SHORT = 3  # characters of a layer's name that fit side by side
EDITABLE = 20_000  # characters; a longer file is not put into the box
ENCODINGS = ("gb18030", "big5", "cp932", "euc_jp", "euc_kr", "cp1252")  # where it isn't Unicode


def _value(spec: Spec) -> str:
    """What the list shows: a source, or a sample by its id."""
    pending = st.session_state.get("pending")
    if pending:
        return pending
    if spec.source == "file" and 0 < len(_own(spec)) <= EDITABLE:
        return "text"
    return f"sample:{spec.content}" if spec.source == "sample" else spec.source


def _own(spec: Spec) -> str:
    """The person's own text, whether it fits into the URL or is kept here; else nothing."""
    if spec.source == "text":
        return spec.content
    kept = contents.get(spec.content) if spec.source == "file" else None
    return str(kept[0]) if kept else ""


def _name(option: str) -> str:
    kind, _, sample = option.partition(":")
    if kind == "sample":
        return t(samples.listing()[sample]["title"])
    return t(f"source.{kind}.name")


def _choose(option: str) -> None:
    kind, _, sample = option.partition(":")
    st.session_state["pending"] = kind if kind in UPLOADS and kind not in SOURCES else None
    st.session_state.pop("refused", None)
    if kind == "sample":
        state.change(source=kind, content=sample)
    elif kind == "text":
        _read(_draft(state.spec()))
    elif kind in SOURCES:
        state.change(source=kind)


def _draft(spec: Spec) -> str:
    """The person's last own text; before there is one, the text that is shown."""
    draft = st.session_state.get("draft")
    if draft is None:
        draft = samples.text(spec.content) if spec.source == "sample" else _own(spec)
    return draft[:EDITABLE]


def _read(text: str, name: str = "") -> None:
    """Choose a text; one that is too long for the URL is kept under its digest."""
    if len(text) > LONGEST_TEXT:
        contents.keep(text, name)
    state.put(state.spec().with_text(text))


def _typed() -> None:
    st.session_state.pop("refused", None)
    text = st.session_state["own-text"]
    if said := _beyond(text):
        st.session_state["refused"] = said
    st.session_state["draft"] = text = text[: limits().text]
    _read(text)


def _beyond(text: str) -> str:
    """Words for a text that is longer than one visitor's may be; none for any other."""
    most = limits().text
    return t("explore.read_first", most=most) if len(text) > most else ""


def decoded(data: bytes) -> tuple[str, str] | None:
    """A text file's text, and the encoding that it seems to be in, "" for Unicode; None if it is
    none."""
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        encoding = ""
    except UnicodeDecodeError:
        best = from_bytes(data, cp_isolation=list(ENCODINGS)).best()
        if best is None:
            return None
        text, encoding = str(best), best.encoding
    return None if "\0" in text else (text, encoding)


def _dropped(kind: str) -> None:
    upload: Any = st.session_state[f"upload-{kind}"]
    if upload is None:
        return
    data = upload.getvalue()
    st.session_state.pop("refused", None)
    if kind == "arrays":
        state.change(source="arrays", content=contents.keep(data, upload.name))
    elif kind == "image":
        state.change_param("source_params", "upload", contents.keep(data, upload.name))
    else:
        found = decoded(data)
        if found is None:
            st.session_state["refused"] = t("error.encoding", name=upload.name)
            return
        text, encoding = found
        said = [t("explore.read_as", name=upload.name, encoding=encoding)] if encoding else []
        said += filter(None, [_beyond(text)])
        if said:
            st.session_state["refused"] = t("sentence.join").join(said)
        _read(text[: limits().text], upload.name)
    st.session_state["pending"] = None


def _uploader(kind: str) -> None:
    st.file_uploader(
        t(f"explore.upload.{kind}"), type=UPLOADS[kind], key=f"upload-{kind}",
        on_change=_dropped, args=(kind,), help=t(f"explore.upload.{kind}.help"),
    )  # fmt: skip


def _picture(spec: Spec) -> None:
    """Which image: a drawing, or a person's own."""
    values = spec.source_arguments()
    words = "source.image.param.sample"
    samples = declarations(SOURCES, "image")["sample"].choices

    def picked(option: str) -> None:
        st.session_state["pending"] = "image" if option == "upload" else None
        if option != "upload":
            chosen = dict(state.spec().source_params) | {"sample": option, "upload": ""}
            state.change(source_params=tuple(chosen.items()))

    own = bool(values["upload"]) or st.session_state.get("pending") == "image"
    controls.choose(
        t(words), "source_params", (*samples, "upload"), "upload" if own else values["sample"],
        lambda option: t(f"{words}.{option}"), key="source_params.image.sample", on_choose=picked,
        segments=False,
    )  # fmt: skip
    if own:
        _uploader("image")


def held(spec: Spec) -> Contents:
    """A person's own arrays, unpacked.

    Raises:
        Trouble: they are no longer here; ValueError: they can't be read.
    """
    kept = contents.get(spec.content)
    if kept is None or not isinstance(kept[0], bytes):
        raise Trouble(t("error.gone"))
    data, name = kept
    return obtain(
        f"contents:{spec.content}", t("gate.arrays"),
        lambda report: unpacked(data, name, limits().upload), lambda made: made.bytes,
    )  # fmt: skip


def _stack(spec: Spec) -> None:
    """Which layer and which text of a batch, and what becomes of keys without a token."""
    try:
        found = held(spec)
    except REFUSED:
        return  # said where the picture would be
    if len(found.layers) > 1:
        chosen = spec.layer if spec.layer is not None and spec.layer < len(found.layers) else 0
        layer(dict(enumerate(found.layers)), chosen, state.change)
    if found.items > 1:
        controls.choose(
            t("explore.item"), "item", range(found.items), min(spec.item, found.items - 1), str,
            segments=found.items <= 8, help=t("explore.item.help"),
        )  # fmt: skip
    if found.stack and found.tokens is not None and found.tokens < found.keys:
        controls.choose(
            t("explore.crop", tokens=found.tokens, keys=found.keys), "crop", CROPS, spec.crop,
            lambda one: t(f"explore.crop.{one}"), segments=True,
        )  # fmt: skip


def source(*, read: bool = False) -> None:
    """The list of sources, and what the chosen one asks for.

    Args:
        read: offer only what a model can read: texts and images.
    """
    spec = state.spec()
    options = ["text", *(f"sample:{key}" for key in samples.ids())]
    more = [kind for kind in CONTENT if kind not in ("sample", "text")] + list(SOURCES)
    shown = _value(spec)
    options += [kind for kind in more if not read or kind in (*TEXTUAL, "image", shown)]
    controls.choose(
        t("explore.source"), "source", options, shown, _name, segments=False, on_choose=_choose
    )
    if shown == "text":
        controls.follow("own-text", _own(spec))
        st.text_area(
            t("explore.own_text"), key="own-text", height=150, on_change=_typed,
            label_visibility="collapsed", placeholder=t("explore.own_text.hint"),
        )  # fmt: skip
    elif shown == "image":
        _picture(spec)
    elif shown in UPLOADS:
        _uploader(shown)
        if spec.source == shown == "arrays":
            _stack(spec)
    if refused := st.session_state.get("refused"):
        st.text(refused)  # of an upload, which may stand in the box by now
    if spec.textual:
        controls.choose(
            t("explore.by"), "by", READINGS, spec.by, lambda by: t(f"by.{by}"),
            help=t("explore.by.help"),
        )  # fmt: skip
    values = spec.source_arguments()
    declared = declarations(SOURCES, spec.source)
    left_out = PICTURE + (MEASURED if spec.encoder else ())
    for folded in (False, True):
        names = [name for name in declared if (name in FOLDED) == folded and name not in left_out]
        with st.expander(t("source.more")) if folded and names else st.container():
            for name in names:
                controls.parameter(
                    spec.source, "source", "source_params", name, declared[name], values[name]
                )


def beside(place: DeltaGenerator) -> None:
    """What the model that is open reads beside the text: a second one, or an image."""
    spec = state.spec()
    opened = DESK.kept.get(key_of(spec.model)) if spec.textual else None
    if not isinstance(opened, Model):
        return
    if opened.sight is not None:
        with place:
            _seen(spec)
    if opened.second is None:
        return
    key = f"second-{opened.second}"
    controls.follow(key, spec.second)
    with place:
        st.text_area(
            t(f"explore.second.{opened.second}"), key=key, height=100, max_chars=LONGEST_TEXT,
            help=t(f"explore.second.{opened.second}.help"),
            on_change=lambda: state.change(second=st.session_state[key]),
            placeholder=t(f"explore.second.{opened.second}.hint"),
        )  # fmt: skip


def _seen(spec: Spec) -> None:
    """Which image: none, a drawing, or a person's own."""

    def picked(option: str) -> None:
        st.session_state["seen"] = option
        if option != "upload":
            state.change(picture=option)

    def dropped() -> None:
        if (upload := st.session_state["upload-picture"]) is not None:
            state.change(picture=contents.keep(upload.getvalue(), upload.name))

    own = spec.picture and spec.picture not in DRAWINGS
    shown = "upload" if own or st.session_state.get("seen") == "upload" else spec.picture
    words = {"": t("explore.picture.none")} | {
        one: t(f"source.image.param.sample.{one}") for one in (*DRAWINGS, "upload")
    }
    controls.choose(
        t("explore.picture"), "picture", list(words), shown, words.__getitem__, segments=False,
        help=t("explore.picture.help"), on_choose=picked,
    )  # fmt: skip
    if shown == "upload":
        st.file_uploader(
            t("explore.upload.image"), type=UPLOADS["image"], key="upload-picture",
            on_change=dropped, help=t("explore.upload.image.help"),
        )  # fmt: skip
    try:
        image = picture_of(spec)
    except REFUSED:
        return  # said where the map would be
    if image is not None:
        st.image(image, width="stretch")


def layer(names: Mapping[int, str], chosen: int | None, change: Callable[..., None]) -> None:
    """The model's layer, once it is known what they are called; `change` is called with it."""
    controls.choose(
        t("explore.layer"), "layer", list(names), chosen, names.__getitem__,
        segments=len(names) <= 8 and max(map(len, names.values())) <= SHORT,
        on_choose=lambda layer: change(layer=layer),
    )  # fmt: skip


def read_by(name: str, *, own: bool = False) -> None:
    """Choose a model; `own` as of `model`."""
    with_it: dict[str, Any] = {"trained": "same"}
    if own and (kind := embedded.kind_of(name)) is not None:
        with_it |= {"mechanism": kind.key, "params": embedded.settings(kind)}
    state.change(model=name, layer=None, head=None, query=None, **with_it)


def offered() -> list[str]:
    """The models that come with the project, and those that the server's owner put up."""
    return [embedded.EMBEDDED, *embedded.trained(), *listed()]


def model(*, own: bool = False) -> None:
    """Which model reads: one that comes with the project, a folder or a hub id.

    Args:
        own: with a model that was trained with a mechanism, choose that too.
    """
    chosen = state.spec().model
    names = offered()
    key = f"model.{language()}"
    controls.follow(key, chosen)

    def named() -> None:
        name = (st.session_state[key] or "").strip()[:400] or embedded.EMBEDDED
        read_by(name, own=own)

    st.selectbox(
        t("explore.model"), names if chosen in names else [*names, chosen], key=key,
        format_func=lambda name: model_name(name, "model.zoo.short"),
        help=t("explore.model.help"), on_change=named, accept_new_options=not public(),
    )  # fmt: skip
