// Boxes with their labels over a picture: laid out once, then drawn as SVG (on the page) or on a canvas (the PNG).

const SVG = "http://www.w3.org/2000/svg";
const FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
const pen = document.createElement("canvas").getContext("2d");

// Letters of that height, in the units of what is drawn on.
function font(letter) {
  return `600 ${letter}px ${FAMILY}`;
}

function shorten(text, width) {
  if (pen.measureText(text).width <= width) return text;
  const letters = Array.from(text);
  while (letters.length && pen.measureText(`${letters.join("")}…`).width > width) letters.pop();
  return letters.length ? `${letters.join("")}…` : "";
}

function shared(a, b) {
  const width = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const height = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  return Math.max(0, width) * Math.max(0, height);
}

// Above, inside or below the box, at its left, right or middle: the first place where the least is covered.
function place(box, width, height, area, taken) {
  let best = null, least = Infinity;
  for (const left of [box.x, box.x + box.width - width, box.x + (box.width - width) / 2]) {
    for (const top of [box.y - height, box.y, box.y + box.height, box.y + box.height - height]) {
      const label = {
        x: Math.max(0, Math.min(left, area.width - width)),
        y: Math.max(0, Math.min(top, area.height - height)),
        width, height,
      };
      const covered = taken.reduce((sum, other) => sum + shared(label, other), 0);
      if (covered < least) [best, least] = [label, covered];
      if (!least) return best;
    }
  }
  return best;
}

// Returns [{index, box, label, text, colour, ink}] in the units of `area`, best first.
//   shown: detections with .box in pixels of the picture, best first
//   size: [width, height] of the picture in pixels; area: {width, height} of what is drawn on
export function layOut(shown, size, area, letter, model) {
  pen.font = font(letter);
  const margin = letter * 0.35, high = letter * 1.5;
  const scale = [area.width / size[0], area.height / size[1]];
  const clip = (value, most) => Math.max(0, Math.min(value, most));
  const taken = [];
  return shown.map((found, index) => {
    const [xmin, ymin, xmax, ymax] = found.box.map((value, i) =>
      clip(value * scale[i % 2], i % 2 ? area.height : area.width));
    const box = { x: xmin, y: ymin, width: Math.max(0, xmax - xmin), height: Math.max(0, ymax - ymin) };
    const text = shorten(`${found.class_name} ${found.score.toFixed(2)}`, area.width - 2 * margin);
    const label = place(box, pen.measureText(text).width + 2 * margin, high, area, taken);
    taken.push(label);
    return {
      index, box, label, text, margin,
      colour: model.colours[found.class_id] || "#e61e3c",
      ink: model.inks[found.class_id] || "#ffffff",
    };
  });
}

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

// Replaces what an <svg> holds; the best detection comes last, on top.
export function drawSvg(svg, laid, area, letter) {
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${area.width} ${area.height}`);
  for (const part of ["box", "label"]) {
    for (const item of [...laid].reverse()) {
      const group = element("g", { class: part, "data-index": item.index }, svg);
      if (part === "box") {
        element("rect", { ...item.box, class: "halo" }, group);
        element("rect", { ...item.box, class: "line", stroke: item.colour }, group);
      } else {
        element("rect", { ...item.label, fill: item.colour, rx: 2 }, group);
        const text = element("text", {
          x: item.label.x + item.margin, y: item.label.y + item.label.height * 0.72,
          "font-size": letter, "font-weight": 600, fill: item.ink,
        }, group);
        text.textContent = item.text;
      }
    }
  }
}

// Draws a picture with its boxes in its own pixels. Returns a Blob, image/png.
export async function drawPng(image, shown, size, model) {
  const [width, height] = size;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const brush = canvas.getContext("2d");
  const middle = Math.sqrt(width * height);
  const letter = Math.max(10, Math.round(0.024 * middle)), line = Math.max(1, Math.round(0.0045 * middle));
  if (brush) {
    brush.drawImage(image, 0, 0, width, height);
    const laid = layOut(shown, size, { width, height }, letter, model).reverse();
    brush.lineWidth = line;
    for (const item of laid) {
      brush.strokeStyle = item.colour;
      brush.strokeRect(item.box.x + line / 2, item.box.y + line / 2,
        Math.max(0, item.box.width - line), Math.max(0, item.box.height - line));
    }
    brush.font = font(letter);
    for (const item of laid) {
      brush.fillStyle = item.colour;
      brush.fillRect(item.label.x, item.label.y, item.label.width, item.label.height);
      brush.fillStyle = item.ink;
      brush.fillText(item.text, item.label.x + item.margin, item.label.y + item.label.height * 0.72);
    }
  }
  const blob = brush && await new Promise((done) => canvas.toBlob(done, "image/png"));
  if (!blob) throw new Error(`This browser cannot draw a picture of ${width} × ${height} pixels.`);
  return blob;
}
