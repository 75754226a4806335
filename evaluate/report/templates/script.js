"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const one = (selector, root = document) => root.querySelector(selector);

  // Tables: a click on a heading sorts; what has no value stays at the end.
  const collator = new Intl.Collator(undefined, { numeric: true });
  function sortBy(table, column, heading) {
    const down = heading.getAttribute("aria-sort") !== "descending" && !heading.hasAttribute("data-text")
      || heading.getAttribute("aria-sort") === "ascending";
    all("thead th", table).forEach((cell) => cell.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const keyed = all("tr", body).map((row) => {
      const cell = row.children[column];
      const text = cell.hasAttribute("data-v") ? cell.dataset.v : null;
      return { row, name: cell.textContent, value: text === null ? null : text === "" ? NaN : Number(text) };
    });
    keyed.sort((a, b) => {
      if (a.value === null) return (down ? -1 : 1) * collator.compare(a.name, b.name);
      if (Number.isNaN(a.value) || Number.isNaN(b.value)) return Number.isNaN(a.value) - Number.isNaN(b.value);
      return (down ? -1 : 1) * (a.value - b.value);
    });
    keyed.forEach((item) => body.append(item.row));
  }
  all("table.sortable").forEach((table) => {
    all("thead th", table).forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sortBy(table, column, heading));
    });
  });

  // Curves: classes are picked by chips, the nearest line is named under the pointer.
  const charts = one(".charts");
  if (charts) {
    const slots = Number(charts.dataset.slots);
    const chips = all(".chips button");
    const names = new Map(chips.map((chip) => [chip.dataset.c, chip.firstChild.textContent.trim()]));
    const used = new Map(chips.filter((chip) => chip.getAttribute("aria-pressed") === "true")
      .map((chip, index) => [chip.dataset.c, Number((chip.className.match(/s(\d)/) || [0, index])[1])]));
    const paint = () => {
      chips.forEach((chip) => {
        const slot = used.get(chip.dataset.c);
        chip.setAttribute("aria-pressed", String(slot !== undefined));
        chip.className = slot === undefined ? "" : `s${slot}`;
      });
      all(".line").forEach((line) => {
        const slot = used.get(line.dataset.c);
        line.setAttribute("class", slot === undefined ? "line" : `line on s${slot}`);
        if (slot !== undefined) line.parentNode.append(line);
      });
    };
    const pick = (id) => {
      const taken = new Set(used.values());
      let slot = 0;
      while (taken.has(slot) && slot < slots) slot += 1;
      used.set(id, slot < slots ? slot : used.size % slots);
    };
    const warm = (id) => {
      all(".hot", charts).forEach((line) => line.classList.remove("hot"));
      chips.forEach((chip) => chip.classList.toggle("hot", chip.dataset.c === id));
      if (id !== null) all(`.line[data-c="${id}"]`, charts).forEach((line) => line.classList.add("hot"));
    };
    chips.forEach((chip) => {
      chip.addEventListener("click", () => {
        if (!used.delete(chip.dataset.c)) pick(chip.dataset.c);
        paint();
      });
      chip.addEventListener("pointerenter", () => warm(chip.dataset.c));
      chip.addEventListener("pointerleave", () => warm(null));
    });
    all("[data-pick]").forEach((button) => button.addEventListener("click", () => {
      const key = button.dataset.pick === "most" ? "n" : "ap";
      const order = chips.slice().sort((a, b) => a.dataset[key] - b.dataset[key]);
      if (button.dataset.pick !== "worst") order.reverse();
      used.clear();
      if (button.dataset.pick !== "none") order.slice(0, 4).forEach((chip) => pick(chip.dataset.c));
      paint();
    }));
    const finder = one(".picker input[type=search]");
    if (finder) finder.addEventListener("input", () => {
      const wanted = finder.value.toLowerCase();
      chips.forEach((chip) => { chip.hidden = !chip.textContent.toLowerCase().includes(wanted); });
    });
    all(".chart").forEach((figure) => follow(figure, names, warm));
  }

  // Return the points of path data made of M and L with pairs of whole numbers.
  function pointsOf(path) {
    const numbers = (path.getAttribute("d").match(/-?\d+/g) || []).map(Number);
    const points = [];
    for (let i = 0; i + 1 < numbers.length; i += 2) points.push([numbers[i], numbers[i + 1]]);
    return points;
  }
  // Return the height of a line of points at x, of upright steps the end nearest to y; null where the line is not.
  function heightAt(x, y, points) {
    let found = null;
    for (let i = 1; i < points.length; i += 1) {
      const [ax, ay] = points[i - 1];
      const [bx, by] = points[i];
      if (x < Math.min(ax, bx) || x > Math.max(ax, bx)) continue;
      const heights = ax === bx ? [ay, by] : [ay + (by - ay) * (x - ax) / (bx - ax)];
      heights.forEach((height) => {
        if (found === null || Math.abs(height - y) < Math.abs(found - y)) found = height;
      });
    }
    return found;
  }
  // Return the squared distance of a point from a line of points.
  function distance(x, y, points) {
    let best = Infinity;
    for (let i = 0; i < points.length; i += 1) {
      const [ax, ay] = points[Math.max(0, i - 1)];
      const [bx, by] = points[i];
      const length = (bx - ax) ** 2 + (by - ay) ** 2;
      const t = length ? Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length)) : 0;
      best = Math.min(best, (x - ax - t * (bx - ax)) ** 2 + (y - ay - t * (by - ay)) ** 2);
    }
    return best;
  }
  function follow(figure, names, warm) {
    const svg = one("svg", figure), catcher = one(".catch", figure), cross = one(".cross", figure);
    const readout = one(".readout", figure), quiet = readout.textContent;
    const width = Number(catcher.getAttribute("width")), height = Number(catcher.getAttribute("height"));
    const labels = all(".axis", figure).map((label) => label.textContent);
    let lines = null, mean = null;
    const leave = () => { warm(null); readout.textContent = quiet; cross.setAttribute("d", ""); };
    svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(catcher.getScreenCTM().inverse());
      if (at.x < 0 || at.y < 0 || at.x > width || at.y > height) return leave();
      lines = lines || all(".line", figure).map((line) => [line.dataset.c, pointsOf(one(".main", line)), line]);
      mean = mean || all(".meanline", figure).map(pointsOf);
      let id = null, nearest = 55 ** 2;
      lines.forEach(([other, points]) => {
        const gap = distance(at.x, at.y, points);
        if (gap < nearest) { nearest = gap; id = other; }
      });
      warm(id);
      cross.setAttribute("d", `M${at.x} 0V${height}`);
      const value = (points) => {
        const y = heightAt(at.x, at.y, points);
        return y === null ? "–" : (1 - y / height).toFixed(2);
      };
      const parts = [`${labels[1]} at ${labels[0]} ${(at.x / width).toFixed(2)}: `];
      const add = (text, tag) => {
        const name = document.createElement(tag);
        name.textContent = text;
        parts.push(parts.length > 1 ? " · " : "", name);
      };
      lines.filter(([other, , line]) => other === id || line.classList.contains("on"))
        .forEach(([other, points]) => add(`${names.get(other)} ${value(points)}`, other === id ? "b" : "span"));
      mean.forEach((points) => add(`mean ${value(points)}`, "span"));
      readout.replaceChildren(...parts);
    });
    svg.addEventListener("pointerleave", leave);
  }

  // Confusion matrix: the cell under the pointer in words.
  const heat = one(".heat.cells"), cell = one("#cell");
  if (heat && cell) {
    const { names, counts } = JSON.parse(one("#matrix").textContent);
    const [left, top, side] = ["left", "top", "cell"].map((key) => Number(heat.dataset[key]));
    const cursor = one(".cursor", heat), labels = [...all(".label", heat), ...all(".names .label")], idle = cell.textContent, last = names.length;
    const sums = counts.map((row) => row.reduce((sum, count) => sum + count, 0));
    const say = (row, column) => {
      const count = counts[row][column];
      const share = sums[row] ? ` (${(100 * count / sums[row]).toFixed(1)} % of ${sums[row]})` : "";
      if (row === last && column === last) return "nothing there and nothing found: not counted";
      if (row === last) return `${names[column]} left without an object: ${count}${share}`;
      if (column === last) return `${names[row]} missed: ${count}${share}`;
      if (row === column) return `${names[row]} found as such: ${count}${share}`;
      return `${names[row]} taken for ${names[column]}: ${count}${share}`;
    };
    const point = (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(heat.getScreenCTM().inverse());
      const column = Math.floor((at.x - left) / side), row = Math.floor((at.y - top) / side);
      const inside = row >= 0 && column >= 0 && row <= last && column <= last;
      cell.textContent = inside ? say(row, column) : idle;
      cursor.setAttribute("visibility", inside ? "visible" : "hidden");
      cursor.setAttribute("x", left + column * side);
      cursor.setAttribute("y", top + row * side);
      labels.forEach((label, i) => label.classList.toggle("hot", inside && (i <= last ? i === column : i - last - 1 === row)));
    };
    heat.addEventListener("pointermove", point);
    heat.addEventListener("pointerdown", point);
  }

  // Gallery: what is shown, and enlarging.
  const gallery = one(".gallery");
  const slider = one(".controls input[type=range]"), suggested = one("#suggested");
  all("[data-toggle]").forEach((box) => box.addEventListener("change", () => {
    gallery.classList.toggle(`no-${box.dataset.toggle}`, !box.checked);
  }));
  function fade() {
    const custom = gallery.classList.contains("custom");
    one(".controls output").textContent = custom ? Number(slider.value).toFixed(2) : "suggested";
    suggested.disabled = !custom;
    all("[data-s]", gallery).forEach((part) => {
      part.classList.toggle("faded", custom && Number(part.dataset.s) < Number(slider.value));
    });
  }
  if (slider) {
    slider.addEventListener("input", () => { gallery.classList.add("custom"); fade(); });
    suggested.addEventListener("click", () => { gallery.classList.remove("custom"); fade(); });
  }
  const dialog = one("dialog");
  if (dialog) {
    const pictures = all(".shot .pic[role=button]"), stage = one(".stage", dialog);
    let current = 0;
    const show = (index) => {
      current = (index + pictures.length) % pictures.length;
      const copy = pictures[current].cloneNode(true);
      ["role", "tabindex", "aria-label"].forEach((name) => copy.removeAttribute(name));
      stage.replaceChildren(copy);
      one(".turn span", dialog).textContent = one("b", pictures[current].parentNode).textContent;
      if (!dialog.open) dialog.showModal();
    };
    pictures.forEach((picture, index) => {
      picture.addEventListener("click", () => show(index));
      picture.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(index); }
      });
    });
    dialog.addEventListener("click", (event) => {
      const step = event.target.dataset.step;
      if (step === undefined || step === "0") dialog.close();
      else show(current + Number(step));
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") show(current + 1);
      if (event.key === "ArrowLeft") show(current - 1);
    });
  }

  // The command, and the section that is in view.
  const copy = one("#copy");
  copy.addEventListener("click", () => {
    const range = document.createRange();
    range.selectNodeContents(one("#command"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    let done = false;
    try { done = document.execCommand("copy"); } catch (error) { done = false; }
    copy.textContent = done ? "Copied" : "Selected";
  });
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    links.forEach((link) => link.classList.remove("here"));
    links.get(entry.target.id).classList.add("here");
  }), { rootMargin: "-20% 0px -70% 0px" });
  links.forEach((link, id) => seen.observe(document.getElementById(id)));
})();
