"""How dilution goes in theory, live, with draws from the engine on top."""

import streamlit as st

from engine.dilution import laws as known_laws
from engine.dilution import measuring, noisy
from engine.dilution import theory as forms
from engine.dilution.closed_forms import Setting, settled
from engine.dilution.sweep import parameters
from engine.figures.dilution import curves, laws
from engine.figures.dilution.curves import Curve
from engine.mechanisms.adaptive_temperature import sharpening
from engine.mechanisms.entmax import Entmax
from pages.ui.dilution.shared import (
    LAB,
    caption,
    label,
    pick,
    place,
    sentence,
    share,
    slider,
    toggle,
)
from pages.ui.server.waiting import obtain
from pages.ui.shared import frame
from pages.ui.shared.strings import t
from pages.ui.url import linked

METRICS = (
    "needle_mass", "effective_tokens", "entropy", "normalised_entropy", "participation",
    "max_weight", "output_error",
)  # fmt: skip
LONGEST = 2**20
DRAWN = (64, 256, 1024, 4096)  # lengths of the draws
MAPS = (64, 128, 256, 512, 1024)  # lengths of random maps
START = 64  # keys at which mechanisms are matched


def draw() -> None:
    """Controls, the curve, the threshold, the words."""
    with st.sidebar:
        metric = pick("metric", METRICS, "needle_mass", lambda key: t(f"stat.{key}"))
        n = linked.stops(LAB, "length", t("dilution.length"), "{:,}".format)
        gap = slider("gap")
        noise = slider("noise")
        needles = slider("needles")
        matched = toggle("matched")
        drawn = toggle("draws")
    setting = Setting(gap=gap, noise=noise, needles=needles, start=START * matched)
    lines = curves.theoretical(metric, setting, LONGEST, names(setting))
    if drawn:
        lines.append(draws(metric, setting))
    place(
        curves.curves(lines, metric=metric, theme=frame.theme(), t=t, span=(8, LONGEST), at=n),
        "theory",
    )
    mass, doubling = map(share, noisy.needle_mass([n, 2 * n], gap, noise, needles).tolist())
    needed = float(noisy.gap_needed(max(n, needles + 1), 0.5, noise, needles))
    says = "dilution.theory.says" if needles == 1 else "dilution.theory.says.many"
    sentence(t(says, n=n, gap=gap, mass=mass, needed=needed, doubling=doubling))
    by = settled("entmax", setting).scale
    facts = {"n": START, "by": by, "lead": Entmax().holding_gap / by}
    caption(t("dilution.theory.matched" if matched else "dilution.theory.own", **facts), "theory")
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader(t("dilution.threshold.title"), anchor=False)
        place(curves.threshold(setting, LONGEST, n, theme=frame.theme(), t=t), "threshold")
        rank = float(forms.rank_gap(n, noise))
        caption(t("dilution.threshold.caption", n=n, needed=needed, rank=rank), "threshold")
    with right:
        formulas(n, gap, noise, needles)
        with st.container(key="lesson-more-theory"):
            for i in range(1, 7):
                st.text(t(f"dilution.theory.text.{i}", end=sharpening()[1]))
    known()


def known() -> None:
    """Three laws from the literature."""
    theme = frame.theme()
    left, middle = st.columns(2, gap="large")
    with left:
        st.subheader(t("dilution.laws.first.title"), anchor=False)
        place(laws.first_token(theme, t), "first")
        facts = {"n": laws.KEYS, "layer": laws.takes_over(), "window": laws.WINDOW}
        caption(t("dilution.laws.first.caption", **facts), "first")
    with middle:
        st.subheader(t("dilution.laws.phase.title"), anchor=False)
        place(laws.phase(theme, t), "phase")
        critical = 1 / (1 - laws.LIKENESS)
        facts = {"likeness": laws.LIKENESS, "critical": critical}
        caption(t("dilution.laws.phase.caption", **facts), "phase")
    left, _ = st.columns(2, gap="large")
    found = obtain(
        "theory:spectrum", t("gate.source"),
        lambda report: [(n, *known_laws.gap(n, laws.NOISE)) for n in MAPS],
        lambda made: 64 * len(made),
    )  # fmt: skip
    with left:
        st.subheader(t("dilution.laws.spectrum.title"), anchor=False)
        place(laws.spectrum(found, theme, t), "spectrum")
        facts = {"n": found[-1][0], "second": found[-1][2], "least": found[0][0]}
        caption(t("dilution.laws.spectrum.caption", **facts), "spectrum")


def names(setting: Setting) -> dict[str, str]:
    """What each mechanism is called, with what decides how sharp it is."""
    found = {key: settled(key, setting) for key in setting.mechanisms}
    return {
        key: label((key, ()), [(parameters(of.mechanism), of.scale)], t)
        for key, of in found.items()
    }


def formulas(n: int, gap: float, noise: float, needles: int) -> None:
    """Mass and gap to leading order, with their numbers where that is good enough."""
    mass, needed = "", ""
    if forms.leads(n, noise) and n > needles:
        mass = f" = {float(forms.needle_mass(n, gap, noise, needles)):.3g}"
        needed = f" = {float(forms.gap_needed(n, 0.5, noise, needles)):.2f}"
    st.latex(rf"p \approx \frac{{k\,e^{{\Delta}}}}{{k\,e^{{\Delta}} + (n-k)\,e^{{s^2/2}}}}{mass}")
    st.latex(rf"\Delta_{{1/2}} \approx \ln\frac{{n-k}}{{k}} + \frac{{s^2}}{{2}}{needed}")
    st.latex(r"\Delta_{\mathrm{max}} \lesssim s\sqrt{2\ln n}")


def draws(metric: str, setting: Setting) -> Curve:
    """The same metric measured by the engine on planted needles, softmax, two seeds."""
    of = (setting.gap, setting.noise, setting.needles)
    records = obtain(
        f"theory:{of}", t("gate.source"),
        lambda report: measuring.needles([n for n in DRAWN if n > setting.needles], *of),
        lambda made: 1000 * len(made),
    )  # fmt: skip
    (curve,) = curves.measured(records, {"softmax": t("dilution.draws.name")}, metric)
    return Curve(curve.name, curve.n, curve.y, curve.low, curve.high, points=True, pen=-1)
