"""What the machine offers that this copy of the app runs on."""

import os

import streamlit as st
import torch

from engine.models import embedded
from engine.models.facts import free_memory, in_cache
from engine.runtime.devices import pick
from engine.text import quantities
from pages.ui.shared.strings import t


def draw() -> None:
    """A line: what computes, its memory, and the models that are here."""
    device = pick()
    words = [
        t("home.machine.cuda", name=torch.cuda.get_device_name(device))
        if device.type == "cuda"
        else t(f"home.machine.{device.type}", cores=os.cpu_count() or 1)
    ]
    if (free := free_memory()) is not None:
        words.append(t("home.machine.memory", free=quantities.memory(free)))
    words.append(t("home.machine.models", count=1 + len(embedded.trained())))
    if cached := in_cache():
        words.append(t("home.machine.cached", count=len(cached)))
    st.subheader(t("home.machine"), anchor=False)
    st.text(" ".join(words))
