"""The table of `make bench` as one picture: how much of each goal is used up."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from tests.bench.table import Row, in_digits

_DPI = 100
_WIDTH_IN = 12.0
_NUMBER_IN = 0.2
_NAME_IN = 0.5
_BARS_IN = 6.2
_AXIS_ENDS_IN = 10.15
_VERDICT_IN = 10.25
_HEAD_IN = 1.3
_ROW_IN = 0.44
_AXIS_IN = 0.9
_LINE_IN = 0.21
_FOOT_IN = 0.2
_MOST_CHARACTERS = 170

# A missed one is hatched too, so that it is told apart without its colour.
_MET, _MISSED, _INK, _QUIET, _RULE = "#2b6ca3", "#d1552c", "#1d1d1d", "#5c5c5c", "#d8d8d8"
_HATCH = "////"
# What the axis shows at least; and its ends, as a logarithm has neither zero nor infinity.
_SHOWN = (0.1, 3.0)
_ENDS = (1e-4, 1e4)


def write_chart(path: Path, rows: Sequence[Row], caption: str) -> None:
    """Draw `rows` to a PNG at `path`, with `caption` below."""
    rows = sorted(rows, key=lambda row: row.number)
    judged = [row for row in rows if row.share_of_goal is not None]
    others = [row for row in rows if row.share_of_goal is None]
    below = [*_without_goal(others), *textwrap.wrap(caption, _MOST_CHARACTERS)]

    sheet = _Sheet(_HEAD_IN + _ROW_IN * len(judged) + (_AXIS_IN if judged else 0) + _LINE_IN * len(below) + _FOOT_IN)
    missed = sum(not row.is_met for row in judged)
    sheet.write(_NUMBER_IN, 0.35, "Solarshed's benchmarks: how much of each goal is used up", size=17, weight="bold")
    sheet.write(_NUMBER_IN, 0.7, _summary(len(judged), missed), size=11, color=_MISSED if missed else _QUIET)
    for place, row in enumerate(judged):
        _write_row(sheet, place, row, is_first=place == 0 or row.number != judged[place - 1].number)
    if judged:
        _draw_bars(sheet.axes(_BARS_IN, _HEAD_IN, _AXIS_ENDS_IN, _ROW_IN * len(judged)), judged)
    first_in = sheet.height_in - _FOOT_IN - _LINE_IN * len(below)
    for place, line in enumerate(below):
        sheet.write(_NUMBER_IN, first_in + (place + 0.5) * _LINE_IN, line, size=9, color=_QUIET)
    sheet.figure.savefig(path, format="png")


class _Sheet:
    """A figure that is measured in inches from its upper left corner."""

    def __init__(self, height_in: float) -> None:
        self.height_in = height_in
        self.figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(self.figure)

    def write(
        self, left_in: float, top_in: float, text: str, *, size: float, color: str = _INK, weight: str = "normal"
    ) -> None:
        # A "$" would begin a formula.
        self.figure.text(
            left_in / _WIDTH_IN,
            1 - top_in / self.height_in,
            text.replace("$", r"\$"),
            fontsize=size,
            color=color,
            weight=weight,
            verticalalignment="center",
        )

    def axes(self, left_in: float, top_in: float, right_in: float, height_in: float) -> Axes:
        return self.figure.add_axes(
            (
                left_in / _WIDTH_IN,
                1 - (top_in + height_in) / self.height_in,
                (right_in - left_in) / _WIDTH_IN,
                height_in / self.height_in,
            )
        )


def _write_row(sheet: _Sheet, place: int, row: Row, *, is_first: bool) -> None:
    """What stands on both sides of a bar; a number only where it is the first row of it."""
    upper_in = _HEAD_IN + (place + 0.5) * _ROW_IN - 0.08
    lower_in = upper_in + 0.18
    if is_first:
        sheet.write(_NUMBER_IN, upper_in, str(row.number), size=10, weight="bold")
    sheet.write(_NAME_IN, upper_in, row.what, size=10)
    sheet.write(_NAME_IN, lower_in, _in_words(row), size=8, color=_QUIET)
    verdict = f"{in_digits(row.share_of_goal or 0.0)}  {row.verdict}"
    if row.is_met:
        sheet.write(_VERDICT_IN, upper_in, verdict, size=10, color=_MET)
    else:
        sheet.write(_VERDICT_IN, upper_in, verdict, size=10, color=_MISSED, weight="bold")
    sheet.write(_VERDICT_IN, lower_in, f"goal: {row.goal_in_words}", size=8, color=_QUIET)


def _draw_bars(axes: Axes, rows: Sequence[Row]) -> None:
    shares = [min(max(row.share_of_goal or 0.0, _ENDS[0]), _ENDS[1]) for row in rows]
    low, high = min(*shares, _SHOWN[0]) / 3, max(*shares, _SHOWN[1]) * 1.2
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for place, (row, share) in enumerate(zip(rows, shares, strict=True)):
        colour = _MET if row.is_met else _MISSED
        axes.barh(
            place,
            share - low,
            left=low,
            height=0.5,
            color=colour if row.is_met else "white",
            edgecolor=colour,
            hatch=None if row.is_met else _HATCH,
            zorder=2,
        )
    axes.axvline(1.0, color=_INK, linewidth=1.5, zorder=3)
    axes.annotate(
        "the goal",
        (1.0, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 4),
        textcoords="offset points",
        horizontalalignment="center",
        fontsize=10,
        weight="bold",
        color=_INK,
    )
    axes.grid(axis="x", color=_RULE, zorder=0)
    axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlabel(
        "share of the goal used, less is better\n(logarithmic: each line is ten times the one before)", color=_INK
    )
    axes.tick_params(axis="x", which="both", colors=_QUIET)
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _summary(judged: int, missed: int) -> str:
    if not judged:
        return "No row here has a goal."
    told_apart = "missed ones are hatched and have the word MISSED"
    return f"{judged - missed} of {judged} goals met; {told_apart}" if missed else f"{judged} of {judged} goals met"


def _without_goal(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    said = [f"{row.number}  {row.what}: {_in_words(row)}" for row in rows]
    wrapped = [line for text in said for line in textwrap.wrap(text, _MOST_CHARACTERS, subsequent_indent="     ")]
    return ["Without a goal:", *wrapped, ""]


def _in_words(row: Row) -> str:
    """Ours, the other one, and the ratio to it."""
    if row.other is None:
        return f"ours {in_digits(row.ours)} {row.unit}"
    ratio = "" if row.ratio is None else f"; ratio {in_digits(row.ratio)}"
    return f"ours {in_digits(row.ours)} {row.unit}; {row.other_is}: {in_digits(row.other)} {row.unit}{ratio}"
