
// The viewer: any lead, row, view and layer of any region of a board, over the truth or beside another.
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
const picture = (kind, model, column = part("lead").value) => one(`tr.kind-${kind}[data-model="${CSS.escape(model)}"] .shot[data-column="${column}"] img`, box());
const layerOf = (kind, model) => kind === "signed"
  ? picture("error", model) && picture("prediction", model)
  : picture(kind, kind === "truth" || kind === "mask" ? "" : model);
const load = async () => {
  await ready(box());
  look();
};
// The difference at the full colours of a signed error.
const full = () => viewOf(box()).kind === "ndvi" ? ramp.dataset.error : box().dataset.top;

// Prediction minus truth, in the view's bands: red too high, blue too low, white equal.
function signed(model) {
  const view = viewOf(box()), img = layerOf("truth", ""), truth = pixels(source(img));
  const values = measured(box(), img, view), guess = measured(box(), layerOf("prediction", model), view);
  if (!values || !guess) return source(img).src;
  const mask = pixels(picture("mask", "")), valid = mask && mask.data, under = covered(box()), top = +full();
  for (let i = 0; i < truth.data.length; i += 4) {
    const share = Math.max(-1, Math.min(1, (guess[i / 4] - values[i / 4]) / top)), pale = 255 * (1 - Math.abs(share));
    const hidden = (valid && valid[i] < 128) || (under && under[i] > 127);
    truth.data.set(hidden ? [128, 128, 128] : share > 0 ? [255, pale, pale] : [pale, pale, 255], i);
  }
  return drawnAs(truth);
}

// Zoom and pan, the same for all pictures of the viewer.
const view = { x: 0.5, y: 0.5, zoom: 1 };
const figures = all(".viewer-grid figure", viewer);
function place() {
  const half = 0.5 / view.zoom;
  view.x = Math.min(Math.max(view.x, half), 1 - half);
  view.y = Math.min(Math.max(view.y, half), 1 - half);
  const move = `scale(${view.zoom}) translate(${100 * (0.5 - view.x)}%, ${100 * (0.5 - view.y)}%)`;
  all(".viewer-grid img", viewer).forEach((img) => { img.style.transform = move; });
  part("zoom").value = view.zoom;
  part("zoom-text").textContent = `${view.zoom}×`;
  outline(boxes.length ? cropOf(box()) : null);
}
// The part that is cropped, as a frame over the pictures.
function outline(crop) {
  all(".crop-frame", viewer).forEach((frame) => {
    frame.hidden = !crop || !part("crop").checked;
    if (!crop) return;
    const at = (value, centre) => 100 * ((value - centre) * view.zoom + 0.5);
    Object.assign(frame.style, { left: `${at(crop.x, view.x)}%`, top: `${at(crop.y, view.y)}%`, width: `${100 * crop.width * view.zoom}%`, height: `${100 * crop.height * view.zoom}%` });
  });
}
function setCrop(crop) {
  chosenCrops.set(box(), { ...crop, column: +part("lead").value, chosen: true });
  outline(crop);
  drawCrops(box(), one(".crops", box()));
  drawCrops(box(), part("crops"), +part("lead").value);
}
const zoomTo = (zoom) => { view.zoom = Math.min(12, Math.max(1, Math.round(2 * zoom) / 2)); place(); };
part("zoom").addEventListener("input", () => zoomTo(+part("zoom").value));
figures.forEach((figure) => {
  let from = null;
  const at = (event) => {
    const size = figure.getBoundingClientRect();
    return [view.x + ((event.clientX - size.left) / size.width - 0.5) / view.zoom, view.y + ((event.clientY - size.top) / size.height - 0.5) / view.zoom].map((v) => Math.min(1, Math.max(0, v)));
  };
  const drag = (event) => {
    const [x0, y0] = from.at, [x1, y1] = at(event);
    return { x: Math.min(x0, x1), y: Math.min(y0, y1), width: Math.max(0.02, Math.abs(x1 - x0)), height: Math.max(0.02, Math.abs(y1 - y0)) };
  };
  figure.addEventListener("wheel", (event) => { event.preventDefault(); zoomTo(view.zoom * (event.deltaY < 0 ? 1.25 : 0.8)); }, { passive: false });
  figure.addEventListener("pointerdown", (event) => { from = { x: event.clientX, y: event.clientY, at: at(event), moved: false }; figure.setPointerCapture(event.pointerId); event.preventDefault(); });
  figure.addEventListener("pointermove", (event) => {
    if (!from) return;
    const size = figure.getBoundingClientRect();
    const dx = event.clientX - from.x, dy = event.clientY - from.y;
    if (!from.moved && Math.hypot(dx, dy) < 4) return;
    from.moved = true;
    if (part("crop").checked) { outline(drag(event)); return; }
    view.x -= dx / size.width / view.zoom;
    view.y -= dy / size.height / view.zoom;
    [from.x, from.y] = [event.clientX, event.clientY];
    place();
  });
  figure.addEventListener("pointerup", (event) => {
    if (from && !from.moved) probe(...at(event));
    else if (from && part("crop").checked) setCrop(drag(event));
    from = null;
  });
});
part("crop").addEventListener("change", place);
part("crop-view").addEventListener("click", () => {
  part("crop").checked = true;
  setCrop({ x: view.x - 0.5 / view.zoom, y: view.y - 0.5 / view.zoom, width: 1 / view.zoom, height: 1 / view.zoom });
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

// The series of a pixel: truth and the chosen entries over lead times, in the view's bands.
let probed = null;
function probe(x, y) {
  const img = source(layerOf("truth", ""));
  probed = { column: Math.min(img.naturalWidth - 1, Math.floor(x * img.naturalWidth)), row: Math.min(img.naturalHeight - 1, Math.floor(y * img.naturalHeight)) };
  series();
}
function series() {
  part("series").hidden = !probed;
  if (!probed) return;
  const leads = box().dataset.leads.split("|"), width = source(layerOf("truth", "")).naturalWidth;
  const at = probed.row * width + probed.column, under = covered(box()), shown = viewOf(box());
  const place = `Pixel ${probed.column}, ${probed.row}`;
  const svg = one("svg", part("series"));
  svg.replaceChildren();
  if (under && under[4 * at] > 127) {
    part("series-text").textContent = `${place}: covered by the word on the picture. Choose another.`;
    return;
  }
  const value = (kind, model, column) => {
    const hole = kind === "truth" && pixels(picture("mask", "", column));
    const values = hole && hole.data[4 * at] < 128 ? null : measured(box(), picture(kind, model, column), shown);
    return values && values[at];
  };
  const lines = [["truth", "truth", ""], ["c0", "prediction", part("row").value]];
  if (part("beside").value) lines.push(["c1", "prediction", part("beside").value]);
  const found = lines.map(([style, kind, model]) => [style, model || "truth", leads.map((_, i) => value(kind, model, i))]);
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
  const what = isDrawn(box(), shown) ? "mean of the drawn bands" : shown.kind === "rgb" ? `mean of ${shown.label}` : shown.label;
  part("series-text").textContent = `${place}, ${what} from 8-bit pictures, ${number(low, 3)} to ${number(high, 3)}; now ${now}`;
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
  options(part("view"), kept(box()).views.map(({ label }) => [label, label]), viewOf(box()).label);
  const last = box().dataset.leads.split("|").length - 1;
  part("lead").max = last;
  part("lead").disabled = last === 0;
}

function look() {
  const row = part("row").value, beside = part("beside").value, spread = part("stretch").checked;
  for (const radio of layers) radio.disabled = !layerOf(radio.value, row);
  const shown = layerOf(layer, row) ? layer : "truth";
  layers.forEach((radio) => { radio.checked = radio.value === shown; });
  const truth = layerOf("truth", ""), other = layerOf(shown, row);
  const plain = shown === "truth" || shown === "prediction";
  const address = (img, model) => (shown === "signed" ? signed(model) : plain ? shownAs(box(), img, spread) : img.src);
  part("truth").src = shownAs(box(), truth, spread);
  part("other").src = address(other, row);
  part("other").alt = shown === "signed" ? `${row}, prediction minus truth` : other.alt;
  const swipe = part("swipe").checked, share = part("mix").value;
  part("other").style.opacity = swipe ? 1 : share / 100;
  part("other").style.clipPath = swipe ? `inset(0 ${100 - share}% 0 0)` : "";
  part("mix").disabled = shown === "truth";
  part("mix-text").textContent = shown === "truth" ? "" : `${share} % ${shown}`;
  const second = beside && layerOf(shown, beside);
  part("second").hidden = !second;
  if (second) {
    part("beside-picture").src = address(second, beside);
    part("beside-picture").alt = second.alt;
  }
  viewer.classList.toggle("double", Boolean(second));
  const lead = box().dataset.leads.split("|")[+part("lead").value];
  part("lead-text").textContent = lead;
  part("lead").setAttribute("aria-valuetext", lead);
  part("ndvi").hidden = viewOf(box()).kind !== "ndvi";
  series();
  outline(cropOf(box()));
  drawCrops(box(), part("crops"), +part("lead").value);
  const who = shown === "truth" || shown === "mask" ? "" : second ? `${row} | ${beside}, ` : `${row}, `;
  const scale = shown === "error" ? `, mean error of all bands, bright from ${box().dataset.top}` : shown === "signed" ? `, red too high, blue too low, full at ${full()}` : "";
  const of = isDrawn(box(), viewOf(box())) || shown === "error" || shown === "mask" ? "" : `, ${viewOf(box()).label}`;
  part("name").textContent = `${who}${shown}${of} · ${box().dataset.title} · ${lead}${scale}`;
}
layers.forEach((radio) => radio.addEventListener("change", () => { layer = radio.value; look(); }));
["lead", "mix", "row", "beside", "swipe", "stretch"].forEach((name) => part(name).addEventListener("input", look));
part("view").addEventListener("input", async () => {
  chosenViews.set(boardOf(box()), part("view").value);
  await load();
  setView(boardOf(box()), part("view").value);
});
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
