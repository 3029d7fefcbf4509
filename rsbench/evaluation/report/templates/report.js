"use strict";
(() => {
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
          const falls = state.down !== (data.metrics[column.metric].dir === "higher");
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
      if (!data.ranked[column.metric]) return found;
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
      all("[data-for]", controls).forEach((node) => { node.hidden = node.dataset.for !== state.view; });
      const metric = data.metrics[+pick("metric").value];
      const what = state.view === "leads" ? `${metric.id}${data.words.by}, ${metric.way}` : `every metric at ${pick("lead").selectedOptions[0].text}`;
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

  // The viewer: any lead, row and layer of any region of a board, over the truth or beside another.
  const viewer = one("#viewer");
  const part = (name) => one(`#viewer-${name}`);
  let boxes = [], layer = "prediction";
  const layers = all('input[name="viewer-layer"]', viewer);
  const options = (select, values, chosen) => {
    select.replaceChildren(...values.map(([value, label]) => {
      const option = element("option", label);
      option.value = value;
      return option;
    }));
    select.value = values.some(([value]) => value === chosen) ? chosen : values[0][0];
  };
  const box = () => boxes[+part("region").value];
  const picture = (kind, model) => one(`tr.kind-${kind}[data-model="${CSS.escape(model)}"] .shot[data-column="${part("lead").value}"] img`, box());
  const layerOf = (kind, model) => kind === "signed"
    ? picture("error", model) && picture("prediction", model)
    : picture(kind, kind === "truth" || kind === "mask" ? "" : model);

  // Pixels of the pictures; the page's pictures are all as large as the truth's.
  const canvas = document.createElement("canvas");
  const pixels = (img) => {
    if (!img || !img.naturalWidth) return null;
    canvas.width = img.naturalWidth;
    canvas.height = img.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(img, 0, 0);
    try {
      return context.getImageData(0, 0, canvas.width, canvas.height);
    } catch { // a linked page opened from disk may not read its pictures
      return null;
    }
  };
  const drawnAs = (data) => {
    canvas.width = data.width;
    canvas.height = data.height;
    canvas.getContext("2d").putImageData(data, 0, 0);
    return canvas.toDataURL();
  };
  // Reflectance of a colour value of display@1; other units keep the colour value, 0 to 1.
  const physical = (value) => {
    const { white, gamma } = box().dataset;
    return white ? white * (value / 255) ** gamma : value / 255;
  };
  const word = new Image();
  const covered = () => {
    const seen = box().dataset.word ? pixels(word) : null;
    return seen && seen.data;
  };
  // Hidden and far pictures are read when the viewer needs their pixels.
  const load = async () => {
    const imgs = all("img", box());
    imgs.forEach((img) => { img.loading = "eager"; });
    if (box().dataset.word) word.src = box().dataset.word;
    await Promise.all([...imgs, ...(box().dataset.word ? [word] : [])].map((img) => img.decode().catch(() => null)));
    look();
  };

  // Each channel from its 2nd to its 98th percentile of this frame.
  function stretched(img) {
    const data = pixels(img);
    if (!data) return img.src;
    for (let channel = 0; channel < 3; channel++) {
      const values = data.data.filter((_, i) => i % 4 === channel).sort();
      const low = values[Math.floor(0.02 * values.length)], high = values[Math.floor(0.98 * (values.length - 1))];
      for (let i = channel; i < data.data.length; i += 4) data.data[i] = high > low ? 255 * (data.data[i] - low) / (high - low) : data.data[i];
    }
    return drawnAs(data);
  }

  // Prediction minus truth, mean over the drawn bands: red too high, blue too low, white equal.
  function signed(model) {
    const truth = pixels(layerOf("truth", "")), guess = pixels(layerOf("prediction", model));
    if (!truth || !guess) return layerOf("truth", "").src;
    const mask = pixels(picture("mask", "")), valid = mask && mask.data, under = covered(), top = +box().dataset.top;
    for (let i = 0; i < truth.data.length; i += 4) {
      let sum = 0;
      for (let c = 0; c < 3; c++) sum += physical(guess.data[i + c]) - physical(truth.data[i + c]);
      const share = Math.max(-1, Math.min(1, sum / 3 / top)), pale = 255 * (1 - Math.abs(share));
      const hidden = (valid && valid[i] < 128) || (under && under[i] > 127);
      const colour = hidden ? [128, 128, 128] : share > 0 ? [255, pale, pale] : [pale, pale, 255];
      truth.data.set(colour, i);
    }
    return drawnAs(truth);
  }

  // Zoom and pan, the same for all pictures of the viewer.
  const view = { x: 0.5, y: 0.5, zoom: 1 };
  function place() {
    const half = 0.5 / view.zoom;
    view.x = Math.min(Math.max(view.x, half), 1 - half);
    view.y = Math.min(Math.max(view.y, half), 1 - half);
    const move = `scale(${view.zoom}) translate(${100 * (0.5 - view.x)}%, ${100 * (0.5 - view.y)}%)`;
    all(".viewer-grid img", viewer).forEach((img) => { img.style.transform = move; });
    part("zoom").value = view.zoom;
    part("zoom-text").textContent = `${view.zoom}×`;
  }
  const zoomTo = (zoom) => { view.zoom = Math.min(12, Math.max(1, Math.round(2 * zoom) / 2)); place(); };
  part("zoom").addEventListener("input", () => zoomTo(+part("zoom").value));
  all(".viewer-grid figure", viewer).forEach((figure) => {
    let from = null;
    figure.addEventListener("wheel", (event) => { event.preventDefault(); zoomTo(view.zoom * (event.deltaY < 0 ? 1.25 : 0.8)); }, { passive: false });
    figure.addEventListener("pointerdown", (event) => { from = { x: event.clientX, y: event.clientY, moved: false }; figure.setPointerCapture(event.pointerId); event.preventDefault(); });
    figure.addEventListener("pointermove", (event) => {
      if (!from) return;
      const size = figure.getBoundingClientRect();
      const dx = event.clientX - from.x, dy = event.clientY - from.y;
      if (!from.moved && Math.hypot(dx, dy) < 4) return;
      view.x -= dx / size.width / view.zoom;
      view.y -= dy / size.height / view.zoom;
      from = { x: event.clientX, y: event.clientY, moved: true };
      place();
    });
    figure.addEventListener("pointerup", (event) => {
      if (from && !from.moved) {
        const size = figure.getBoundingClientRect();
        probe(view.x + ((event.clientX - size.left) / size.width - 0.5) / view.zoom, view.y + ((event.clientY - size.top) / size.height - 0.5) / view.zoom);
      }
      from = null;
    });
  });
  viewer.addEventListener("keydown", (event) => {
    const step = 0.1 / view.zoom, moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.shiftKey && moves) {
      view.x += step * moves[0];
      view.y += step * moves[1];
      place();
    } else if (event.key === "+" || event.key === "-") {
      zoomTo(view.zoom + (event.key === "+" ? 0.5 : -0.5));
    } else if (event.key === "Enter" && event.target.type === "range") {
      probe(view.x, view.y);
    } else return;
    event.preventDefault();
  });

  // The series of a pixel: truth and the chosen entries over lead times, mean of the drawn bands.
  let probed = null;
  function probe(x, y) {
    const img = layerOf("truth", "");
    probed = { column: Math.floor(x * img.naturalWidth), row: Math.floor(y * img.naturalHeight) };
    series();
  }
  function series() {
    part("series").hidden = !probed;
    if (!probed) return;
    const leads = box().dataset.leads.split("|"), width = layerOf("truth", "").naturalWidth;
    const at = 4 * (probed.row * width + probed.column), under = covered();
    const place = `Pixel ${probed.column}, ${probed.row}`;
    const svg = one("svg", part("series"));
    svg.replaceChildren();
    if (under && under[at] > 127) {
      part("series-text").textContent = `${place}: covered by the word on the picture. Choose another.`;
      return;
    }
    const mean = (kind, model, column) => {
      const img = one(`tr.kind-${kind}[data-model="${CSS.escape(model)}"] .shot[data-column="${column}"] img`, box());
      const mask = kind === "truth" && one(`tr.kind-mask .shot[data-column="${column}"] img`, box());
      const seen = pixels(img), hole = mask && pixels(mask);
      if (!seen || (hole && hole.data[at] < 128)) return null;
      const data = seen.data;
      return (physical(data[at]) + physical(data[at + 1]) + physical(data[at + 2])) / 3;
    };
    const lines = [["truth", "truth", ""], ["c0", "prediction", part("row").value]];
    if (part("beside").value) lines.push(["c1", "prediction", part("beside").value]);
    const found = lines.map(([style, kind, model]) => [style, model || "truth", leads.map((_, i) => mean(kind, model, i))]);
    const known = found.flatMap((line) => line[2]).filter((v) => v !== null);
    if (!known.length) {
      part("series-text").textContent = `${place}: no value can be read. It is masked, or this page was opened from disk with its pictures beside it.`;
      return;
    }
    const low = Math.min(...known), high = Math.max(...known, low + 1e-6);
    const make = (name, values) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(values)) node.setAttribute(key, value);
      svg.append(node);
      return node;
    };
    const px = (i) => 10 + 400 * (leads.length > 1 ? i / (leads.length - 1) : 0.5), py = (v) => 110 - 100 * (v - low) / (high - low);
    make("line", { x1: px(+part("lead").value), x2: px(+part("lead").value), y1: 4, y2: 116, class: "now" });
    for (const [style, , values] of found) {
      const points = values.map((v, i) => (v === null ? null : [px(i), py(v)])).filter(Boolean);
      make("path", { d: "M" + points.map((p) => p.join()).join("L"), class: style });
      points.forEach(([cx, cy]) => make("circle", { cx, cy, r: 3, class: style }));
    }
    const now = found.map(([, name, values]) => `${name} ${number(values[+part("lead").value], 3)}`).join(", ");
    part("series-text").textContent = `${place}, mean of the drawn bands from 8-bit pictures, ${number(low, 3)} to ${number(high, 3)}; now ${now}`;
  }

  // Playing goes over the lead times until it is stopped.
  let playing = 0;
  const play = (on) => {
    clearInterval(playing);
    playing = on ? setInterval(() => {
      const lead = part("lead");
      lead.value = +lead.value < +lead.max ? +lead.value + 1 : 0;
      look();
    }, 700) : 0;
    part("play").setAttribute("aria-pressed", String(on));
    part("play").textContent = on ? "Stop" : "Play";
  };
  part("play").addEventListener("click", () => play(!playing));
  viewer.addEventListener("close", () => play(false));
  part("full").addEventListener("click", () => {
    const on = viewer.classList.toggle("full");
    part("full").setAttribute("aria-pressed", String(on));
  });

  function rows(row, beside) {
    const models = all("tr.kind-prediction", box()).map((tr) => tr.dataset.model);
    const values = models.map((model) => [model, model]);
    options(part("row"), values.length ? values : [["", "truth"]], row);
    options(part("beside"), [["", "nothing"], ...values], beside);
    const last = box().dataset.leads.split("|").length - 1;
    part("lead").max = last;
    part("lead").disabled = last === 0;
  }

  function look() {
    const row = part("row").value, beside = part("beside").value;
    for (const radio of layers) radio.disabled = !layerOf(radio.value, row);
    const shown = layerOf(layer, row) ? layer : "truth";
    layers.forEach((radio) => { radio.checked = radio.value === shown; });
    const truth = layerOf("truth", ""), other = layerOf(shown, row);
    const plain = shown === "truth" || shown === "prediction";
    part("truth").src = part("stretch").checked ? stretched(truth) : truth.src;
    part("other").src = shown === "signed" ? signed(row) : plain && part("stretch").checked ? stretched(other) : other.src;
    part("other").alt = shown === "signed" ? `${row}, prediction minus truth` : other.alt;
    const swipe = part("swipe").checked, share = part("mix").value;
    part("other").style.opacity = swipe ? 1 : share / 100;
    part("other").style.clipPath = swipe ? `inset(0 ${100 - share}% 0 0)` : "";
    part("mix").disabled = shown === "truth";
    part("mix-text").textContent = shown === "truth" ? "" : `${share} % ${shown}`;
    const second = beside && layerOf(shown, beside);
    part("second").hidden = !second;
    if (second) {
      part("beside-picture").src = shown === "signed" ? signed(beside) : plain && part("stretch").checked ? stretched(second) : second.src;
      part("beside-picture").alt = second.alt;
    }
    viewer.classList.toggle("double", Boolean(second));
    const lead = box().dataset.leads.split("|")[+part("lead").value];
    part("lead-text").textContent = lead;
    part("lead").setAttribute("aria-valuetext", lead);
    series();
    const who = shown === "truth" || shown === "mask" ? "" : second ? `${row} | ${beside}, ` : `${row}, `;
    const scale = shown === "error" ? `, bright from ${box().dataset.top}` : shown === "signed" ? `, red too high, blue too low, full at ${box().dataset.top}` : "";
    part("name").textContent = `${who}${shown} · ${box().dataset.title} · ${lead}${scale}`;
  }
  layers.forEach((radio) => radio.addEventListener("change", () => { layer = radio.value; look(); }));
  ["lead", "mix", "row", "beside", "swipe", "stretch"].forEach((name) => part(name).addEventListener("input", look));
  part("region").addEventListener("input", () => { rows(part("row").value, part("beside").value); look(); load(); });
  all(".shot").forEach((shot) => shot.addEventListener("click", () => {
    const own = shot.closest(".strip-box");
    boxes = all(".strip-box", shot.closest(".part"));
    options(part("region"), boxes.map((node, i) => [String(i), node.dataset.title]), String(boxes.indexOf(own)));
    layer = shot.dataset.kind;
    rows(shot.closest("tr").dataset.model, "");
    part("lead").value = shot.dataset.column;
    part("mix").value = 100;
    probed = null;
    zoomTo(1);
    look();
    viewer.showModal();
    load();
    part("lead").focus();
  }));
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
})();
