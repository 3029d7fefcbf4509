
// Regions: one that is chosen has its pictures and figures shown, a group its figures.
all("[data-regions]").forEach((part) => {
  const id = part.dataset.regions, marks = all("button[data-region], circle[data-region]", part), groups = all("button[data-group]:not([data-region])", part);
  const table = one("table", part), said = one("[data-chosen]", part), every = one("[data-all]", part), count = said.textContent;
  function show(region, group) {
    const wanted = (node) => (region === null || node.dataset.region === region) && (group === null || node.dataset.group === group);
    all("tr[data-region]", table).forEach((row) => { row.hidden = !wanted(row); });
    marks.forEach((mark) => {
      mark.setAttribute("aria-pressed", String(region !== null && wanted(mark)));
      mark.classList.toggle("dim", !wanted(mark));
    });
    groups.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.group === group)));
    every.hidden = region === null && group === null;
    if (!every.hidden) one("details", part).open = true;
    const strips = one(`select[data-strips="${id}"]`), box = all(`[data-strip^="${id}-"]`).find((node) => node.dataset.place === region);
    if (box && strips) {
      strips.value = box.dataset.strip.split("-")[1];
      strips.dispatchEvent(new Event("input"));
    }
    const label = groups.find((button) => button.dataset.group === group);
    said.textContent = region !== null ? `${region}${box ? ": its pictures are chosen below" : ": its pictures were not kept"}` : label ? `Group ${label.textContent}` : count;
  }
  const pressed = (node) => node.getAttribute("aria-pressed") === "true";
  marks.forEach((mark) => {
    const choose = () => show(pressed(mark) ? null : mark.dataset.region, null);
    mark.addEventListener("click", choose);
    mark.addEventListener("keydown", (event) => {
      if (mark.tagName === "BUTTON" || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      choose();
    });
  });
  groups.forEach((button) => button.addEventListener("click", () => show(null, pressed(button) ? null : button.dataset.group)));
  every.addEventListener("click", () => show(null, null));
});
