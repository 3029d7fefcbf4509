const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);
const element = (name, text, className) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
};
const breakable = (name) => name.split(/(?<=_)/).flatMap((piece, i) => (i ? [document.createElement("wbr"), piece] : [piece]));
all(".js").forEach((node) => { node.hidden = false; });

// Theme: the system's, until the reader chooses.
const theme = one("#theme");
const root = document.documentElement;
theme.hidden = false;
const wanted = new URLSearchParams(location.search).get("theme");
if (wanted === "dark" || wanted === "light") root.dataset.theme = wanted;
theme.addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// Numbers as the table writes them.
const number = (value, digits = 4) => {
  if (value === null) return "–";
  if (value === 0) return "0";
  const places = Math.max(digits - 1 - Math.floor(Math.log10(Math.abs(value))), 0);
  const text = places <= 7 ? value.toFixed(places) : value.toExponential(digits - 1);
  return text.replace("-", "−");
};
const span = (lo, hi) => {
  const largest = Math.max(Math.abs(lo), Math.abs(hi));
  const places = largest > 0 ? 2 - Math.floor(Math.log10(largest)) : 0;
  if (places > 7) return `${number(lo, 3)} to ${number(hi, 3)}`;
  return [lo, hi].map((v) => v.toFixed(Math.max(places, 0))).join(" to ").replaceAll("-", "−");
};
// Costs of an entry: what a column holds, and how its numbers are written.
const large = (value, unit) => {
  const steps = ["", "k", "M", "G", "T"], at = Math.min(steps.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(value, 1)) / 3)));
  return `${+(value / 1000 ** at).toPrecision(3)}${unit || steps[at] ? ` ${steps[at]}${unit}` : ""}`;
};
const lasting = (seconds) => {
  if (seconds < 1) return `${+(1000 * seconds).toPrecision(2)} ms`;
  if (seconds < 120) return `${+seconds.toPrecision(3)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${+(seconds / 3600).toPrecision(3)} h`;
};
const COSTS = [
  { cost: "parameters", title: "Parameters", text: (v) => large(v, "") },
  { cost: "training_seconds", title: "Training", text: lasting },
  { cost: "prediction_seconds", title: "Prediction per window", text: lasting },
  { cost: "peak_bytes", title: "Peak memory", text: (v) => large(v, "B") },
  { cost: "device", title: "Device", text: (v) => v },
];
const turned = (metric, value) => metric.dir === "zero" ? Math.abs(value) : metric.dir === "higher" ? -value : value;

function leaderboard(id, data) {
  const controls = one(`[data-controls="${id}"]`);
  const table = one(`[data-table="${id}"]`);
  const pick = (name) => one(`[data-pick="${name}"]`, controls);
  const cells = new Map();
  for (const [model, metric, band, stratum, lead, ...rest] of data.rows) {
    cells.set([model, metric, band, stratum, lead].join(), rest);
  }
  const swatches = new Map(all("tbody tr", table).map((row, i) => [i, one(".swatch", row).className]));
  const state = { view: "leads", sort: null, down: false };

  const fill = (select, values, label) => values.forEach((value, i) => {
    const option = element("option", label(value));
    option.value = i;
    select.append(option);
  });
  fill(pick("metric"), data.metrics, (m) => m.id + (m.unit ? ` (${m.unit})` : ""));
  fill(pick("lead"), data.words.leads, (lead) => lead);
  fill(pick("band"), data.bands, (band) => (band === "all" ? "all bands" : band));
  const names = data.words.sets;
  fill(pick("stratum"), data.strata, (s) => names[s] || s.replace("=", ": "));
  const start = data.metrics.findIndex((m) => m.id === table.dataset.metric);
  pick("metric").value = Math.max(start, 0);

  const columns = () => {
    const band = +pick("band").value, stratum = +pick("stratum").value;
    if (state.view === "leads") {
      const metric = +pick("metric").value;
      return data.leads.map((lead, i) => ({ metric, band, stratum, lead, title: data.words.leads[i] }));
    }
    const lead = data.leads[+pick("lead").value];
    if (state.view === "cost") {
      const metric = +pick("metric").value;
      return [{ metric, band, stratum, lead, title: data.metrics[metric].id, way: data.metrics[metric].arrow }, ...COSTS];
    }
    return data.metrics.map((m, metric) => ({ metric, band, stratum, lead, title: m.id, way: m.arrow }));
  };
  const cell = (model, c) => cells.get([model, c.metric, c.band, c.stratum, c.lead].join());

  function head(shown) {
    const row = element("tr");
    const corner = element("th", "Entry");
    corner.scope = "col";
    row.append(corner);
    shown.forEach((column, i) => {
      const th = element("th", undefined, "num");
      th.scope = "col";
      const button = element("button", column.title, "sort");
      button.type = "button";
      if (column.way) button.append(element("span", ` ${column.way}`, "way"));
      button.addEventListener("click", () => {
        state.down = state.sort === i ? !state.down : false;
        state.sort = i;
        draw();
        all(".sort", table)[i].focus();
      });
      if (state.sort === i) {
        const falls = state.down !== (!column.cost && data.metrics[column.metric].dir === "higher");
        th.setAttribute("aria-sort", falls ? "descending" : "ascending");
      }
      th.append(button);
      row.append(th);
    });
    return row;
  }

  // First and second value of a column among models and reference models; equal values share a place.
  function places(column) {
    const found = new Map();
    if (column.cost || !data.ranked[column.metric]) return found;
    const losses = data.models.map((info, i) => {
      const own = cell(i, column);
      return ["model", "trivial"].includes(info.role) && own && own[0] !== null ? turned(data.metrics[column.metric], own[0]) : null;
    });
    const known = losses.filter((value) => value !== null);
    if (known.length < 2) return found;
    const order = [...new Set(known)].sort((a, b) => a - b);
    losses.forEach((value, i) => { if (value !== null && order.indexOf(value) < 2) found.set(i, ["first", "second"][order.indexOf(value)]); });
    return found;
  }

  function line(model, shown, placed) {
    const info = data.models[model];
    const row = element("tr", undefined, `role-${info.role}`);
    const th = element("th");
    th.scope = "row";
    const swatch = element("span", undefined, swatches.get(model) || "swatch");
    swatch.setAttribute("aria-hidden", "true");
    th.append(swatch, ...breakable(info.model), " ", element("span", info.preset, "preset"));
    if (info.role !== "model") th.append(element("span", (info.role === "trivial" ? "reference model" : info.role) + (info.reference ? ", reference of skill" : ""), "role"));
    row.append(th);
    for (const column of shown) {
      if (column.cost) {
        const own = data.costs[model], value = own[column.cost], td = element("td", undefined, "num");
        td.append(element("span", value === undefined ? "–" : column.text(value), "value"));
        const peak = column.cost === "peak_bytes" && value !== undefined && String(own.device).startsWith("cpu");
        td.title = value === undefined ? own.why[column.cost] || "it is not known" : peak ? "resident memory of the whole process" : "";
        row.append(td);
        continue;
      }
      const found = cell(model, column);
      const td = element("td", undefined, "num");
      const place = placed.get(column).get(model);
      if (place) td.classList.add(place);
      if (!found || found[0] === null) {
        td.append(element("span", "–", "value"));
      } else {
        const [value, lo, hi, regions, samples, missing, best] = found;
        if (best) td.classList.add("best");
        td.append(element("span", number(value), "value"));
        if (lo !== null) td.append(element("span", span(lo, hi), "span"));
        td.title = `${regions} regions, ${samples} images` + (missing ? `, ${missing} missing` : "") + (best ? "; significantly better than all others (paired 95 % interval)" : "");
      }
      row.append(td);
    }
    return row;
  }

  function draw() {
    const shown = columns();
    const placed = new Map(shown.map((column) => [column, places(column)]));
    const text = pick("filter").value.trim().toLowerCase();
    let order = data.models.map((_, i) => i).filter((i) => {
      const info = data.models[i];
      return `${info.model} ${info.preset} ${info.role}`.toLowerCase().includes(text);
    });
    if (state.sort !== null && shown[state.sort]) {
      const column = shown[state.sort];
      const rank = (i) => {
        if (column.cost) {
          const value = data.costs[i][column.cost];
          return column.cost === "device" ? (value === undefined ? Infinity : 0) : value ?? Infinity;
        }
        const found = cell(i, column);
        return found && found[0] !== null ? turned(data.metrics[column.metric], found[0]) : Infinity;
      };
      order = order.map((i) => [rank(i), i]).sort((a, b) => {
        if (a[0] === Infinity || b[0] === Infinity) return a[0] === b[0] ? a[1] - b[1] : a[0] === Infinity ? 1 : -1;
        return state.down ? b[0] - a[0] : a[0] - b[0];
      }).map((pair) => pair[1]);
    }
    one("thead", table).replaceChildren(head(shown));
    one("tbody", table).replaceChildren(...order.map((i) => line(i, shown, placed)));
    all("[data-for]", controls).forEach((node) => { node.hidden = ![node.dataset.for, "cost"].includes(state.view); });
    const metric = data.metrics[+pick("metric").value];
    const what = state.view === "cost" ? `${metric.id} at ${pick("lead").selectedOptions[0].text}, and costs` : state.view === "leads" ? `${metric.id}${data.words.by}, ${metric.way}` : `every metric at ${pick("lead").selectedOptions[0].text}`;
    one(`[data-caption="${id}"]`).textContent = `${what}, ${pick("band").selectedOptions[0].text}, ${pick("stratum").selectedOptions[0].text}`;
  }
  all('input[type="radio"]', controls).forEach((radio) => radio.addEventListener("change", () => {
    state.view = radio.value;
    state.sort = null;
    draw();
  }));
  all("[data-pick]", controls).forEach((node) => node.addEventListener("input", draw));
  draw();
}
all("[data-scores]").forEach((node) => leaderboard(node.dataset.scores, JSON.parse(node.textContent)));

// Panels and strips: one at a time.
const choose = (select, selector, id) => {
  const show = () => all(selector).forEach((node) => { node.hidden = node.dataset[id] !== `${select.dataset[id + "s"]}-${select.value}`; });
  select.addEventListener("input", show);
  return show;
};
all("[data-panels]").forEach((select) => choose(select, `[data-panel^="${select.dataset.panels}-"]`, "panel")());
all("[data-strips]").forEach((select) => choose(select, `[data-strip^="${select.dataset.strips}-"]`, "strip")());

// Legends hide and show a row in every chart of the board.
all("[data-toggle]").forEach((button) => button.addEventListener("click", () => {
  const board = button.closest(".board");
  const off = button.getAttribute("aria-pressed") === "true";
  all("[data-toggle]", board).filter((b) => b.dataset.toggle === button.dataset.toggle).forEach((b) => b.setAttribute("aria-pressed", String(!off)));
  all("[data-row]", board).filter((n) => n.dataset.row === button.dataset.toggle).forEach((n) => n.classList.toggle("off", off));
}));

// Charts are saved as SVG files with the colours of the page.
const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family", "font-weight", "text-anchor"];
all("figure > svg.chart, figure > svg.map").forEach((svg) => {
  const button = element("button", "save figure", "save");
  button.type = "button";
  button.addEventListener("click", () => {
    const copy = svg.cloneNode(true), ours = all("*", svg);
    all("*", copy).forEach((node, i) => {
      const style = getComputedStyle(ours[i]);
      if (style.display === "none") { node.setAttribute("display", "none"); return; }
      STYLES.forEach((name) => node.setAttribute(name, style.getPropertyValue(name)));
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.style.background = getComputedStyle(document.body).backgroundColor;
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([copy.outerHTML], { type: "image/svg+xml" }));
    link.download = `${(svg.getAttribute("aria-label") || "figure").replace(/[^\w.@-]+/g, "-")}.svg`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  svg.closest("figure").append(button);
});

// Texts for papers select themselves.
all(".copy").forEach((node) => node.addEventListener("click", () => {
  if (String(getSelection())) return;
  getSelection().selectAllChildren(node);
}));

// Points say their value when pointed at or focused.
const tip = one("#tip");
const showTip = (node) => {
  const box = node.getBoundingClientRect();
  tip.textContent = node.dataset.tip;
  tip.hidden = false;
  const size = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(Math.max(box.left + box.width / 2 - size.width / 2, 8), innerWidth - size.width - 8)}px`;
  tip.style.top = `${box.top - size.height - 8 < 4 ? box.bottom + 8 : box.top - size.height - 8}px`;
};
for (const name of ["mouseover", "focusin"]) document.addEventListener(name, (event) => {
  const node = event.target.closest && event.target.closest("[data-tip]");
  if (node) showTip(node); else tip.hidden = true;
});
document.addEventListener("focusout", () => { tip.hidden = true; });
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
