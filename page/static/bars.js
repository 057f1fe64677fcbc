// A panel of kind "bars": a bar a day; what several sources have made of it stands on top of each other.

import { colour, fill } from "./dom.js";
import { FONT, RIGHT_PX, extent, timeAxis, valueAxis } from "./chart.js";
import { SeriesChart } from "./series.js";
import { DAY_MS, valueText } from "./words.js";

// Of a day's width, left free at each side.
const FREE = 0.1;
const NAME_FROM_PX = 44;

export class BarsPanel extends SeriesChart {
  options() {
    const { panel } = this;
    return {
      padding: [18, RIGHT_PX, 0, 0],
      scales: { x: { time: true, range: () => this.span }, y: { range: () => extent(panel, 0, this.highest()) } },
      axes: [timeAxis(), valueAxis(panel)],
      series: [{}, ...this.series.map(() => ({ paths: () => null, points: { show: false } }))],
    };
  }

  totals() {
    const [times, ...columns] = this.plot?.data ?? this.first;
    return times.map((_, i) => columns.reduce((sum, values) => sum + (values[i] ?? 0), 0));
  }

  highest() {
    return Math.max(0, ...this.totals());
  }

  makePlot(data) {
    this.first = data;
    return super.makePlot(data);
  }

  drawOver(plot) {
    this.drawBars(plot);
    super.drawOver(plot);
  }

  drawBars(plot) {
    const { ctx, bbox } = plot;
    const [times, ...columns] = plot.data;
    const ratio = uPlot.pxRatio;
    const x = (ms) => plot.valToPos(ms, "x", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, 0, bbox.width, bbox.top + bbox.height);
    ctx.clip();
    times.forEach((ms, i) => {
      const left = Math.round(x(ms + FREE * DAY_MS));
      const width = Math.max(ratio, Math.round(x(ms + (1 - FREE) * DAY_MS)) - left);
      let below = 0;
      columns.forEach((values, at) => {
        if (!values[i]) return;
        const top = plot.valToPos(below + values[i], "y", true);
        ctx.fillStyle = fill(this.series[at].tone);
        // A line of the card's colour between the parts tells them apart without their colours.
        ctx.fillRect(left, top, width, Math.max(ratio, plot.valToPos(below, "y", true) - top - (below ? ratio : 0)));
        below += values[i];
      });
      if (width >= NAME_FROM_PX * ratio && below) this.nameTotal(plot, left + width / 2, below);
    });
    ctx.restore();
  }

  nameTotal({ ctx, valToPos }, x, total) {
    const ratio = uPlot.pxRatio;
    ctx.font = `600 ${11 * ratio}px ${FONT}`;
    ctx.textAlign = "center";
    ctx.textBaseline = "bottom";
    ctx.fillStyle = colour("ink");
    ctx.fillText(valueText(this.panel, total), x, valToPos(total, "y", true) - 2 * ratio);
  }

  // The bar under the cursor; a key stands at a day's beginning.
  indexAt(ms) {
    const times = this.plot.data[0];
    const index = times.findLastIndex((from) => from <= ms && ms < from + DAY_MS);
    return index < 0 ? undefined : index;
  }

  readAt(ms) {
    const found = super.readAt(ms);
    const total = this.totals()[this.indexAt(ms)];
    if (this.series.length > 1 && total !== undefined) {
      found.lines.push({ title: "together", text: valueText(this.panel, total), tone: "quiet" });
    }
    return found;
  }

  // A day that began before the range has its bar at the left edge.
  points() {
    return super.points().map((ms) => Math.max(ms, this.span[0]));
  }
}
