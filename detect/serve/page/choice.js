// Which detections are shown: the threshold, or one for each class, and the classes that are ticked.

const MANY = 12; // classes, from which a search field helps

export class Choice {
  constructor(model, changed) {
    this.model = model;
    this.changed = changed;
    this.given = Array.isArray(model.threshold) ? model.threshold : null;
    this.score = this.given ? null : model.threshold; // null: each class its own
    this.hidden = new Set();
    this.found = () => [];
    this.get = (id) => document.getElementById(id);
    this.#makeThreshold();
    this.#makeClasses();
  }

  // The detector found nothing at or below its own threshold, so a lower one means that.
  thresholdOf(classId) {
    return Math.max(this.score ?? this.given[classId] ?? 0, this.model.score_threshold);
  }

  // As demo.py's detections.json has it: a number, or one for each class.
  get threshold() {
    return this.score === null ? this.model.class_names.map((_, i) => this.thresholdOf(i)) : this.thresholdOf(0);
  }

  above(detections) {
    return detections.filter((found) => found.score > this.thresholdOf(found.class_id));
  }

  shown(detections) {
    return this.above(detections).filter((found) => !this.hidden.has(found.class_id));
  }

  #makeThreshold() {
    const slider = this.get("threshold"), own = this.get("own");
    slider.min = Math.floor(Math.min(this.model.score_threshold, 0.99) * 100) / 100;
    slider.max = 0.99;
    slider.value = this.score ?? 0.5;
    slider.addEventListener("input", () => {
      this.score = Number(slider.value);
      this.#tellThreshold();
      this.changed();
    });
    this.get("own-choice").hidden = !this.given;
    own.addEventListener("change", () => {
      this.score = own.checked ? null : Number(slider.value);
      this.#tellThreshold();
      this.changed();
    });
    this.#tellThreshold();
  }

  #tellThreshold() {
    this.get("own").checked = this.score === null;
    this.get("threshold").classList.toggle("idle", this.score === null);
    this.get("threshold-value").textContent =
      this.score === null ? "by class" : String(Number(this.thresholdOf(0).toFixed(3)));
    for (const [classId, item] of (this.items || []).entries()) {
      item.own.textContent = this.score === null ? `> ${Number(this.thresholdOf(classId).toFixed(3))}` : "";
    }
  }

  #makeClasses() {
    this.items = this.model.class_names.map((name, classId) => this.#makeClass(name, classId));
    this.get("classes").append(...this.items.map((item) => item.line));
    const all = this.get("all"), filter = this.get("filter");
    all.addEventListener("change", () => {
      this.hidden = new Set(all.checked ? [] : this.items.keys());
      this.#tellHidden();
    });
    filter.hidden = this.items.length <= MANY;
    filter.addEventListener("input", () => {
      const part = filter.value.trim().toLowerCase();
      for (const item of this.items) item.line.hidden = !item.name.toLowerCase().includes(part);
    });
    this.#tellThreshold();
  }

  #makeClass(name, classId) {
    const make = (tag, kind) => Object.assign(document.createElement(tag), { className: kind });
    const line = make("li", "class"), label = make("label", "line"), box = make("input", "");
    const swatch = make("span", "swatch"), words = make("span", "name"), own = make("span", "own quiet");
    const count = make("span", "number");
    Object.assign(box, { type: "checkbox", checked: true });
    swatch.style.backgroundColor = this.model.colours[classId];
    words.textContent = words.title = name;
    box.addEventListener("change", () => {
      if (box.checked) this.hidden.delete(classId);
      else this.hidden.add(classId);
      this.#tellHidden();
    });
    label.append(box, swatch, words, own, count);
    line.append(label);
    return { name, line, box, own, count };
  }

  #tellHidden() {
    for (const [classId, item] of this.items.entries()) item.box.checked = !this.hidden.has(classId);
    const all = this.get("all");
    all.checked = this.hidden.size === 0;
    all.indeterminate = this.hidden.size > 0 && this.hidden.size < this.items.length;
    this.changed();
  }

  // Counts of a picture's detections, those of unticked classes too.
  count(detections) {
    const counts = new Map();
    for (const found of this.above(detections)) counts.set(found.class_id, (counts.get(found.class_id) || 0) + 1);
    for (const [classId, item] of this.items.entries()) {
      const number = counts.get(classId) || 0;
      item.count.textContent = number;
      item.line.classList.toggle("none", number === 0);
    }
  }

  // Where there are many, the classes of a picture come first; not at every move of the slider, or they would jump.
  order(detections) {
    if (this.items.length <= MANY) return;
    const there = new Set(detections.map((found) => found.class_id));
    const ids = [...this.items.keys()];
    const ordered = [...ids.filter((id) => there.has(id)), ...ids.filter((id) => !there.has(id))];
    this.get("classes").append(...ordered.map((id) => this.items[id].line));
  }
}
