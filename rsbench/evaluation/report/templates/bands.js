
// Pictures: views of their bands. A strip holds the drawn bands in its pictures, which need no
// script, and the other bands as pictures of their own.
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

const plain = new WeakMap(); // picture of a strip → the same as it was drawn at first
const source = (img) => plain.get(img) || img;
const bands = new WeakMap(); // strip → its views and the pictures of its other bands
const kept = (box) => {
  if (!bands.has(box)) {
    const own = JSON.parse(box.dataset.views), node = one("script[data-bands]", box);
    const views = own.views.map(([label, kind, of]) => ({ label, kind, of }));
    bands.set(box, { ...own, views: views.length ? views : [{ label: "as drawn", kind: "rgb", of: [0, 1, 2] }], node, images: null, word: Object.assign(new Image(), box.dataset.word ? { src: box.dataset.word } : {}) });
  }
  return bands.get(box);
};
// Pictures of the other bands, by key and column; made when a view first needs them.
const others = (box) => {
  const own = kept(box);
  if (!own.images) {
    const links = own.node ? JSON.parse(own.node.textContent) : {};
    own.images = new Map(Object.entries(links).map(([key, columns]) => [key, columns.map((column) => column.map((link) => Object.assign(new Image(), { src: link })))]));
  }
  return own.images;
};
const chosenViews = new Map(); // board → label of its view
const boardOf = (box) => box.closest(".board").dataset.id;
const viewOf = (box) => kept(box).views.find((view) => view.label === chosenViews.get(boardOf(box))) || kept(box).views[0];
const isDrawn = (box, view) => view === kept(box).views[0];
const needsOthers = (box, view) => view.of.some((band) => band >= kept(box).drawn);

const ramp = one("#ndvi-ramp");
// Where a word covers the pictures of a strip.
const covered = (box) => {
  const seen = pixels(kept(box).word);
  return seen && seen.data;
};
// Hidden and far pictures are read when their pixels are needed.
async function ready(box) {
  const imgs = all("img", box), extra = needsOthers(box, viewOf(box)) ? [...others(box).values()].flat(2) : [];
  imgs.forEach((img) => { img.loading = "eager"; });
  await Promise.all([...imgs.map(source), ...extra, kept(box).word, ramp].map((img) => img.decode().catch(() => null)));
}

// The bands of a view as 8-bit brightness: [data, channel] each; null where one is not there.
function parts(box, img, view) {
  const base = pixels(source(img)), { drawn } = kept(box);
  if (!base) return null;
  const columns = needsOthers(box, view) ? others(box).get(img.dataset.key) || [] : [];
  const found = view.of.map((band) => {
    if (band < drawn) return { data: base.data, channel: band };
    const other = pixels((columns[img.dataset.column] || [])[band - drawn]);
    return other && { data: other.data, channel: 0 };
  });
  return found.includes(null) ? null : { width: base.width, height: base.height, found };
}

// Reflectance of a brightness of display@1; other units keep the brightness, 0 to 1.
const physical = (box) => {
  const { white, gamma } = box.dataset;
  return Float32Array.from({ length: 256 }, (_, v) => (white ? white * (v / 255) ** gamma : v / 255));
};

// What a view measures, for each pixel: NDVI, or the mean of its bands.
function measured(box, img, view) {
  const own = img && parts(box, img, view);
  if (!own) return null;
  const value = physical(box), out = new Float32Array(own.width * own.height);
  const at = (part, i) => value[part.data[4 * i + part.channel]];
  const [a, b] = own.found;
  for (let i = 0; i < out.length; i++) {
    if (view.kind === "ndvi") {
      const sum = at(a, i) + at(b, i);
      out[i] = sum > 0 ? (at(a, i) - at(b, i)) / sum : 0;
    } else {
      for (const part of own.found) out[i] += at(part, i) / own.found.length;
    }
  }
  return out;
}

// The pixels of a picture in a view; null where a band is not there.
function composed(box, img, view) {
  const own = parts(box, img, view);
  if (!own) return null;
  const out = new ImageData(own.width, own.height), under = covered(box);
  if (view.kind === "ndvi") {
    const scale = pixels(ramp), values = measured(box, img, view), [low, high] = JSON.parse(ramp.dataset.range);
    const mask = img.dataset.key === "truth/" && pixels(one(`tr.kind-mask img[data-column="${img.dataset.column}"]`, box));
    values.forEach((value, i) => {
      const at = 4 * Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
      const colour = under && under[4 * i] > 127 ? [255, 255, 255] : mask && mask.data[4 * i] < 128 ? [128, 128, 128] : scale.data.slice(at, at + 3);
      out.data.set([...colour, 255], 4 * i);
    });
    return out;
  }
  for (let i = 0; i < out.data.length; i += 4) {
    for (let c = 0; c < 3; c++) {
      const part = own.found[Math.min(c, own.found.length - 1)];
      out.data[i + c] = part.data[i + part.channel];
    }
    out.data[i + 3] = 255;
  }
  return out;
}

// Each channel from its 2nd to its 98th percentile of this frame.
function stretched(data) {
  for (let channel = 0; channel < 3; channel++) {
    const values = data.data.filter((_, i) => i % 4 === channel).sort();
    const low = values[Math.floor(0.02 * values.length)], high = values[Math.floor(0.98 * (values.length - 1))];
    for (let i = channel; i < data.data.length; i += 4) data.data[i] = high > low ? 255 * (data.data[i] - low) / (high - low) : data.data[i];
  }
  return data;
}

// The address of a picture in the view of its board; as drawn until its bands are read.
function shownAs(box, img, stretch = false) {
  const view = viewOf(box), spread = stretch && view.kind !== "ndvi";
  if (isDrawn(box, view) && !spread) return source(img).src;
  const data = composed(box, img, view);
  return data ? drawnAs(spread ? stretched(data) : data) : source(img).src;
}

// A view of all pictures of a strip.
const IMAGED = 'img[data-key="truth/"], img[data-key^="prediction/"], img[data-key="context/"], img[data-key="inputs/"]';
async function showView(box) {
  const view = viewOf(box);
  if (box.dataset.view === view.label || (!box.dataset.view && isDrawn(box, view))) return;
  box.dataset.view = view.label;
  await ready(box);
  for (const img of all(IMAGED, box)) {
    if (!plain.has(img)) plain.set(img, Object.assign(new Image(), { src: img.src }));
    await source(img).decode().catch(() => null);
    const lacks = !isDrawn(box, view) && !parts(box, img, view);
    img.classList.toggle("lacks", lacks);
    img.title = lacks ? `shown as drawn: ${view.label} is not kept of it` : "";
    img.src = shownAs(box, img);
  }
  one(".ndvi-scale", box).hidden = view.kind !== "ndvi";
}

// Crops: the same part of every picture of a strip.
const chosenCrops = new WeakMap();
const cropOf = (box) => chosenCrops.get(box) || (box.dataset.crop ? JSON.parse(box.dataset.crop) : null);
function drawCrops(box, place, column) {
  const crop = cropOf(box);
  place.hidden = !crop;
  if (!crop) return;
  const at = column === undefined ? crop.column : column;
  const shot = `[data-column="${at}"]`;
  const imgs = all(`img[data-key="inputs/"], img[data-key="context/"], img[data-key="truth/"]${shot}, img[data-key^="prediction/"]${shot}`, box);
  const size = source(one(`img[data-key="truth/"]`, box));
  const [x, y, w, h] = [crop.x * size.naturalWidth, crop.y * size.naturalHeight, crop.width * size.naturalWidth, crop.height * size.naturalHeight].map(Math.round);
  const why = crop.chosen ? "as chosen" : `the largest error of ${box.dataset.first}`;
  const lead = box.dataset.leads.split("|")[at];
  one(".crop-text", place).textContent = `Crops of ${w} × ${h} pixels at column ${x}, row ${y}, ${lead}: ${why}. ${viewOf(box).label}.`;
  one(".crop-tiles", place).replaceChildren(...imgs.map((img) => {
    const figure = element("figure"), tile = document.createElement("canvas"), view = viewOf(box);
    const data = isDrawn(box, view) ? null : composed(box, img, view), from = source(img);
    tile.width = tile.height = 264;
    tile.setAttribute("role", "img");
    tile.setAttribute("aria-label", `crop of ${img.alt}`);
    let picture = from;
    if (data) {
      picture = document.createElement("canvas");
      [picture.width, picture.height] = [data.width, data.height];
      picture.getContext("2d").putImageData(data, 0, 0);
    }
    const context = tile.getContext("2d"), [wide, high] = [from.naturalWidth, from.naturalHeight];
    context.imageSmoothingEnabled = false;
    if (wide) context.drawImage(picture, crop.x * wide, crop.y * high, crop.width * wide, crop.height * high, 0, 0, 264, 264);
    const name = img.dataset.name + (data || isDrawn(box, view) ? "" : " (as drawn)");
    figure.append(tile, element("figcaption", name));
    return figure;
  }));
}
const watch = new IntersectionObserver((seen) => seen.filter((entry) => entry.isIntersecting).forEach(async ({ target }) => {
  watch.unobserve(target);
  await ready(target);
  drawCrops(target, one(".crops", target));
}));
all(".strip-box").forEach((box) => watch.observe(box));

// One view for all strips of a board.
async function setView(id, label) {
  chosenViews.set(id, label);
  for (const box of all(`[data-strip^="${id}-"]`)) {
    if (box.hidden) continue;
    await showView(box);
    await ready(box);
    drawCrops(box, one(".crops", box));
  }
  const select = one(`[data-view="${id}"]`);
  if (select) select.value = label;
}
all("select[data-view]").forEach((select) => {
  const id = select.dataset.view, boxes = all(`[data-strip^="${id}-"]`);
  const labels = new Set(boxes.flatMap((box) => kept(box).views.map((view) => view.label)));
  select.replaceChildren(...[...labels].map((label) => element("option", label)));
  select.addEventListener("input", () => setView(id, select.value));
  const region = one(`[data-strips="${id}"]`);
  region.addEventListener("input", () => { if (chosenViews.has(id)) setView(id, chosenViews.get(id)); });
});
