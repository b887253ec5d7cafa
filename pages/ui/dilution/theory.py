"""The closed forms of dilution, live, with draws from the engine on top."""

import streamlit as st

from engine.dilution import measuring
from engine.dilution import theory as forms
from engine.figures.dilution import curves
from engine.figures.dilution.curves import Curve, Setting
from engine.spec import sweep
from pages.ui.dilution.shared import LAB, caption, pick, place, sentence, slider, toggle
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


def draw() -> None:
    """Controls, the curve, the threshold, the words."""
    with st.sidebar:
        metric = pick("metric", METRICS, "needle_mass", lambda key: t(f"stat.{key}"))
        n = linked.stops(LAB, "length", t("dilution.length"), "{:,}".format)
        gap = slider("gap")
        noise = slider("noise")
        needles = slider("needles")
        drawn = toggle("draws")
    setting = Setting(gap=gap, noise=noise, needles=needles)
    names = {key: t(f"mechanism.{key}.name") for key in setting.mechanisms}
    lines = curves.theoretical(metric, setting, LONGEST, names)
    if drawn:
        lines.append(draws(metric, setting))
    place(
        curves.curves(lines, metric=metric, look=frame.look(), t=t, span=(8, LONGEST), at=n),
        "theory",
    )
    mass = float(forms.needle_mass(n, gap, noise, needles))
    needed = float(forms.gap_needed(n, 0.5, noise, needles))
    sentence(
        t("dilution.theory.says", n=n, gap=gap, mass=mass, needed=needed,
          doubling=float(forms.needle_mass(2 * n, gap, noise, needles)))
    )  # fmt: skip
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader(t("dilution.threshold.title"), anchor=False)
        place(curves.threshold(setting, LONGEST, n, look=frame.look(), t=t), "threshold")
        rank = float(forms.rank_gap(n, noise))
        caption(t("dilution.threshold.caption", n=n, needed=needed, rank=rank), "threshold")
    with right:
        st.latex(
            rf"p = \frac{{k\,e^{{\Delta}}}}{{k\,e^{{\Delta}} + (n-k)\,e^{{s^2/2}}}} = {mass:.3g}"
        )
        st.latex(
            r"\Delta_{1/2} = \ln\frac{n-k}{k} + \frac{s^2}{2}" + rf" = {needed:.2f},"
            rf"\qquad \Delta_{{\mathrm{{max}}}} = s\sqrt{{2\ln n}} = {rank:.2f}"
        )
        with st.container(key="lesson-more-theory"):
            for i in range(1, 5):
                st.text(t(f"dilution.theory.text.{i}"))


def draws(metric: str, setting: Setting) -> Curve:
    """The same metric measured by the engine on planted needles, softmax, two seeds."""
    params = (
        ("gap", setting.gap), ("heads", 2), ("needles", setting.needles), ("noise", setting.noise),
    )  # fmt: skip
    lengths = tuple(n for n in DRAWN if n > setting.needles)
    plan = sweep.Lab(
        mechanisms=(("softmax", ()),), lengths=lengths, source_params=params, match="none",
        rows=128,
    ).plan()  # fmt: skip
    records = obtain(
        f"theory:{params}", t("gate.source"), lambda report: measuring.gathered(plan, report),
        lambda made: 1000 * len(made),
    )  # fmt: skip
    (curve,) = curves.measured(records, {"softmax": t("dilution.draws.name")}, metric)
    return Curve(curve.name, curve.n, curve.y, curve.low, curve.high, points=True, pen=-1)
