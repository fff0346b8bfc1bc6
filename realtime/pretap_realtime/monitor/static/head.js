// The head map: a view from above, with an electrode for each channel whose position is known.

const SVG = "http://www.w3.org/2000/svg";

function shape(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

export class Head {
  constructor(svg, summary) {
    this.svg = svg;
    this.summary = summary;
    this.reset({ channels: [], places: [], electrodes: [] });
  }

  reset({ channels, places, electrodes }) {
    this.channels = channels;
    this.electrodes = electrodes;
    this.shapes = [];
    this.svg.replaceChildren();
    shape(this.svg, "circle", { class: "outline", cx: 0, cy: 0, r: 1 });
    shape(this.svg, "path", { class: "outline", d: "M-.13 -.99 L0 -1.15 L.13 -.99" });
    shape(this.svg, "path", { class: "outline", d: "M-.99 -.16 C-1.12 -.2 -1.12 .2 -.99 .16 M.99 -.16 C1.12 -.2 1.12 .2 .99 .16" });
    const placed = places.filter(Boolean).length;
    const r = placed > 80 ? 0.05 : placed > 40 ? 0.07 : 0.088;
    this.nameless = channels.filter((_, k) => !places[k]);
    places.forEach((place, k) => {
      if (!place) return;
      const [x, y] = place;
      const circle = shape(this.svg, "circle", { class: "electrode", cx: x, cy: -y, r });
      shape(circle, "title", {}, channels[k]);
      const text = r > 0.06 ? shape(this.svg, "text", { x, y: -y }, channels[k].slice(0, 5)) : null;
      this.shapes.push({ k, circle, text });
    });
  }

  // Show the bad channels and return their numbers; `known` is false if no service is checking them.
  show(bad, known, why) {
    const names = new Set(bad.map((each) => each.toUpperCase()));
    const isBad = (k) => names.has(this.channels[k].toUpperCase()) || names.has(this.electrodes[k]);
    for (const { k, circle, text } of this.shapes) {
      circle.setAttribute("class", `electrode ${known ? (isBad(k) ? "bad" : "good") : ""}`);
      text?.setAttribute("class", known && isBad(k) ? "bad" : "");
    }
    const n = this.channels.length;
    let message = "Not known: no service is checking them.";
    if (known && !bad.length) message = n ? `All ${n} are good.` : "No channels yet.";
    if (known && bad.length) message = `Not good: ${bad.join(", ")}.`;
    if (known && why && why !== message) message += ` ${why}`;
    if (this.nameless.length) message += ` Not on the map: ${this.nameless.slice(0, 12).join(", ")}.`;
    if (this.summary.textContent !== message) this.summary.textContent = message;
    return new Set(known ? this.channels.map((_, k) => k).filter(isBad) : []);
  }
}
