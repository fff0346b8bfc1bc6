// The newest decision: the share of each class, and its probability in words.

import { classColour } from "./axis.js";

export class Bar {
  constructor({ bar, list }) {
    this.bar = bar;
    this.list = list;
    this.told_ms = -Infinity;
    this.reset([]);
  }

  reset(classes) {
    this.classes = classes;
    this.parts = classes.map((name, k) => {
      const part = document.createElement("span");
      part.className = `class-${classColour(k)}`;
      const item = document.createElement("li");
      const box = document.createElement("i");
      box.className = part.className;
      const label = document.createElement("span");
      label.textContent = name;
      const value = document.createElement("b");
      value.textContent = "–";
      item.append(box, label, value);
      return { part, item, value };
    });
    this.bar.replaceChildren(...this.parts.map(({ part }) => part));
    this.list.replaceChildren(...this.parts.map(({ item }) => item));
  }

  // Show the probabilities; all are zero without a valid window.
  show(p) {
    if (p.length !== this.classes.length) return;
    const sum = p.reduce((a, b) => a + b, 0);
    const likeliest = sum ? p.indexOf(Math.max(...p)) : -1;
    this.bar.classList.toggle("held", !sum);
    this.parts.forEach(({ part, item, value }, k) => {
      part.style.width = `${100 * (sum ? p[k] / sum : 1 / p.length)}%`;
      value.textContent = sum ? p[k].toFixed(2) : "–";
      item.classList.toggle("likeliest", k === likeliest);
    });
    if (performance.now() - this.told_ms < 1000) return;
    this.told_ms = performance.now();
    const words = p.map((each, k) => `${this.classes[k]} ${each.toFixed(2)}`).join(", ");
    this.bar.setAttribute("aria-label", sum ? words : "No valid window");
  }
}
