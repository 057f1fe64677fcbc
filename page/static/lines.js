// A panel of kind "lines": measured values, and dashed lines that they are compared with.

import { colour } from "./dom.js";
import { FONT, RIGHT_PX, extent, nearest, timeAxis, valueAxis } from "./chart.js";
import { SeriesChart } from "./series.js";

const NEAR_PX = 24;
const NAME_PX = 13;

export class LinesPanel extends SeriesChart {
  options() {
    const { panel } = this;
    return {
      padding: [14, RIGHT_PX, 0, 0],
      scales: { x: { time: true, range: () => this.span }, y: { range: (u, low, high) => extent(panel, low, high) } },
      axes: [timeAxis(), valueAxis(panel)],
      series: [{}, ...this.series.map((series) => this.line(series))],
    };
  }

  line({ tone, isLimit }) {
    return {
      stroke: () => colour(tone),
      width: isLimit ? 1.5 : 2,
      dash: isLimit ? [7, 5] : undefined,
      // A value between two gaps has no line: it is drawn as a point.
      points: { show: () => false, size: 5, fill: () => colour(tone), filter: (plot, at) => lonely(plot.data[at]) },
    };
  }

  drawOver(plot) {
    super.drawOver(plot);
    this.nameLines(plot);
  }

  // A name stands on its line, so that the lines are told apart without their colours: of a limit at the left, of what
  // is measured at the right.
  nameLines(plot) {
    if (this.series.length < 2) return;
    const { ctx, bbox } = plot;
    const ratio = uPlot.pxRatio;
    ctx.save();
    ctx.font = `600 ${11 * ratio}px ${FONT}`;
    ctx.textBaseline = "alphabetic";
    ctx.lineWidth = 4 * ratio;
    ctx.lineJoin = "round";
    ctx.strokeStyle = colour("card");
    for (const isLimit of [true, false]) {
      ctx.textAlign = isLimit ? "left" : "right";
      const x = isLimit ? bbox.left + 8 * ratio : bbox.left + bbox.width - 6 * ratio;
      const names = this.series
        .map((one, i) => ({ ...one, value: plot.data[i + 1].findLast((known) => known !== null) }))
        .filter((one) => one.isLimit === isLimit && one.value !== undefined)
        .map((one) => ({ ...one, y: plot.valToPos(one.value, "y", true) - 5 * ratio }))
        .sort((a, b) => b.y - a.y);
      let below = bbox.top + bbox.height + NAME_PX * ratio;
      for (const { title, tone, y } of names) {
        below = Math.min(y, below - NAME_PX * ratio);
        ctx.fillStyle = colour(tone);
        ctx.strokeText(title, x, below);
        ctx.fillText(title, x, below);
      }
    }
    ctx.restore();
  }

  indexAt(ms) {
    const times = this.plot.data[0];
    if (!times.length) return undefined;
    const index = nearest(times, ms);
    const distance = Math.abs(this.plot.valToPos(times[index], "x") - this.plot.valToPos(ms, "x"));
    return distance <= NEAR_PX ? index : undefined;
  }
}

function lonely(values) {
  const isGap = (value) => value === null || value === undefined;
  const found = [];
  values.forEach((value, i) => {
    if (!isGap(value) && isGap(values[i - 1]) && isGap(values[i + 1])) found.push(i);
  });
  return found;
}
