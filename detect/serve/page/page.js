// The page: pictures that were dropped, the one that is looked at, and what is shown of it.

import { drawPng, drawSvg, layOut } from "./boxes.js";
import { Choice } from "./choice.js";
import { cocoResults, entry, everything, json, save, stem } from "./downloads.js";
import { light, pointed } from "./highlight.js";
import { detect, getModel, getPicture, getScene } from "./server.js";

const LETTER = 12; // height in CSS pixels, whatever the size of the picture
const get = (id) => document.getElementById(id);

const pictures = []; // {name, file, url, answer, problem, seconds, ready, item}
let model, choice, current = null, shown = [], working = false, pasted = 0, scenes = 0;

function make(tag, className, text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

function alertOf(error) {
  get("alert").textContent = error ? error.message : "";
  get("alert").hidden = !error;
}

// Pictures come in, and are looked at one after the other.

function add(files) {
  if (!model) return;
  alertOf(null);
  const added = Array.from(files, ({ file, name }) => {
    const picture = { name, file, url: URL.createObjectURL(file), answer: null, problem: "", ready: false };
    picture.item = thumbnail(picture);
    pictures.push(picture);
    return picture;
  });
  if (!added.length) return;
  get("pictures").append(...added.map((picture) => picture.item));
  choose(added[0]);
  work();
}

const named = (files) => Array.from(files, (file) => ({ file, name: file.name || "picture" }));

async function work() {
  if (working) return;
  working = true;
  for (let next; (next = pictures.find((one) => !one.ready));) {
    await look(next);
    next.ready = true;
    tell(next);
    if (next === current) show();
  }
  working = false;
}

async function look(picture) {
  const began = performance.now();
  try {
    const answer = await detect(picture.file, picture.name, model.max_upload_bytes);
    picture.seconds = (performance.now() - began) / 1000;
    if (!answer.as_browsers_show || !(await fits(picture.url, answer.size))) {
      const upright = await getPicture(picture.file, picture.name, model.max_upload_bytes);
      URL.revokeObjectURL(picture.url);
      picture.url = URL.createObjectURL(upright);
      picture.item.querySelector("img").src = picture.url;
    }
    picture.answer = answer;
  } catch (error) {
    picture.problem = error.message;
  }
}

// Whether the browser can show a picture, at the size at which it was looked at.
async function fits(url, size) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return false;
  }
  return image.naturalWidth === size[0] && image.naturalHeight === size[1];
}

// The list of pictures.

function thumbnail(picture) {
  const item = make("li", ""), button = make("button", "thumbnail"), image = make("img", "");
  Object.assign(image, { src: picture.url, alt: "" });
  image.addEventListener("error", () => image.classList.add("void")); // the browser's sign for "broken" helps nobody
  image.addEventListener("load", () => image.classList.remove("void"));
  button.type = "button";
  button.title = picture.name;
  button.append(image, make("span", "name", picture.name), make("span", "state", "…"));
  button.addEventListener("click", () => choose(picture));
  item.append(button);
  return item;
}

function tell(picture) {
  const state = picture.item.querySelector(".state");
  state.textContent = picture.problem ? "!" : picture.answer ? choice.shown(picture.answer.detections).length : "…";
  picture.item.classList.toggle("failed", Boolean(picture.problem));
}

function choose(picture) {
  current = picture;
  for (const one of pictures) {
    const button = one.item.firstChild;
    if (one === picture) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  if (picture) picture.item.scrollIntoView({ block: "nearest", inline: "nearest" });
  show();
}

function move(step) {
  const next = pictures[pictures.indexOf(current) + step];
  if (!next) return;
  choose(next);
  next.item.firstChild.focus();
}

function remove() {
  const place = pictures.indexOf(current);
  if (place < 0) return;
  pictures.splice(place, 1);
  current.item.remove();
  URL.revokeObjectURL(current.url);
  choose(pictures[Math.min(place, pictures.length - 1)] || null);
}

// The picture that is looked at.

function show() {
  const answer = current?.answer;
  document.body.classList.toggle("empty", !pictures.length);
  get("welcome").hidden = pictures.length > 0;
  get("stage").hidden = get("pictures").hidden = !pictures.length;
  (pictures.length ? get("bar-actions") : get("welcome-actions")).append(get("file").parentElement, get("draw-scene"));
  get("canvas").hidden = !current || Boolean(current.problem);
  get("busy").hidden = !current || current.ready;
  get("busy-words").textContent = current ? `Looking at ${current.name} …` : "";
  get("problem").hidden = !current?.problem;
  get("problem").textContent = current?.problem || "";
  if (current && get("picture").src !== current.url) get("picture").src = current.url;
  if (!current) get("picture").removeAttribute("src");
  get("picture").alt = current?.name || "";
  get("facts").textContent = answer ? facts(current) : "";
  choice.order(answer?.detections || []);
  update();
}

function facts({ name, answer, seconds }) {
  const time = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(2)} s`);
  const { decode, detect: network, wait } = answer.seconds;
  const parts = [name, `${answer.size[0]} × ${answer.size[1]} pixels`, `decoding ${time(decode)}`,
    `network ${time(network)}`];
  if (wait > 0.01) parts.push(`waiting ${time(wait)}`);
  return [...parts, `in all ${time(seconds)}`].join(" · ");
}

// An SVG file may state no size, and is no picture for the detector anyway.
function fit(width, height) {
  get("canvas").style.setProperty("--width", width || 300);
  get("canvas").style.setProperty("--ratio", (width || 300) / (height || 300));
  draw();
}

// What is shown of it: at every move of the slider.

function update() {
  const detections = current?.answer?.detections || [];
  shown = choice.shown(detections);
  choice.count(detections);
  get("rows").replaceChildren(...shown.map(row));
  get("count").textContent = current?.answer ? `${shown.length} of ${detections.length}` : "";
  get("nothing").hidden = !current?.answer || shown.length > 0;
  get("nothing").textContent = detections.length
    ? "Nothing is shown: lower the threshold or tick more classes." : "The detector found nothing in this picture.";
  for (const id of ["save-json", "save-png"]) get(id).disabled = !current?.answer;
  get("save-all").hidden = pictures.length < 2;
  pictures.forEach(tell);
  draw();
}

function draw() {
  const image = get("picture"), svg = get("boxes"), answer = current?.answer;
  const { width, height } = image.getBoundingClientRect(), area = { width, height };
  if (!answer || !area.width || !area.height) return svg.replaceChildren();
  drawSvg(svg, layOut(shown, answer.size, area, LETTER, model), area, LETTER);
  svg.setAttribute("aria-label", `${shown.length} boxes over ${current.name}`);
}

function row(found, index) {
  const line = make("tr", ""), name = make("td", "name"), swatch = make("span", "swatch");
  swatch.style.backgroundColor = model.colours[found.class_id];
  name.title = found.class_name;
  name.append(swatch, make("span", "", found.class_name));
  line.append(name, make("td", "number", found.score.toFixed(3)),
    make("td", "number box", found.box.map((value) => Math.round(value)).join(", ")));
  line.tabIndex = 0;
  line.dataset.index = index;
  for (const event of ["mouseenter", "focus"]) line.addEventListener(event, () => light(index));
  for (const event of ["mouseleave", "blur"]) line.addEventListener(event, () => light(null));
  return line;
}

// Wiring.

function listenForPictures() {
  const carries = (event) => Array.from(event.dataTransfer?.types || []).includes("Files");
  get("file").addEventListener("change", (event) => {
    add(named(event.target.files));
    event.target.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    const files = Array.from(event.clipboardData?.files || []);
    add(files.map((file) => ({ file, name: file.name && file.name !== "image.png" ? file.name : `pasted-${++pasted}.png` })));
  });
  document.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    get("drop-here").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) get("drop-here").hidden = true;
  });
  document.addEventListener("drop", (event) => {
    get("drop-here").hidden = true;
    if (!carries(event)) return;
    event.preventDefault();
    add(named(event.dataTransfer.files));
  });
}

function listenForChoices() {
  const all = (detections) => choice.shown(detections);
  get("save-json").addEventListener("click", () =>
    save(json(entry(current, shown)), `${stem(current.name)}.json`));
  get("save-png").addEventListener("click", () =>
    drawPng(get("picture"), shown, current.answer.size, model)
      .then((blob) => save(blob, `${stem(current.name)}-seen.png`), alertOf));
  get("save-all-json").addEventListener("click", () =>
    save(json(everything(model, choice.threshold, pictures, all)), "detections.json"));
  get("save-all-coco").addEventListener("click", () =>
    save(json(cocoResults(pictures, all)), "coco-results.json"));
  get("remove").addEventListener("click", remove);
  get("actual").addEventListener("click", () => {
    const actual = get("frame").classList.toggle("actual");
    get("actual").setAttribute("aria-pressed", String(actual));
  });
  get("draw-scene").addEventListener("click", async () => {
    const seed = ++scenes;
    try {
      add([{ file: await getScene(seed), name: `scene-${seed}.png` }]);
    } catch (error) {
      alertOf(error);
    }
  });
}

function listenForLooks() {
  get("canvas").addEventListener("pointermove", (event) =>
    light(current?.answer ? pointed(event, shown, current.answer.size) : null, true));
  get("canvas").addEventListener("pointerleave", () => light(null));
  get("pictures").addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") move(event.key === "ArrowRight" ? 1 : -1);
    else if (event.key === "Delete") remove();
    else return;
    event.preventDefault();
  });
  get("picture").addEventListener("load", (event) => fit(event.target.naturalWidth, event.target.naturalHeight));
  new ResizeObserver(draw).observe(get("picture"));
}

async function start() {
  get("where").textContent = location.host;
  try {
    model = await getModel();
  } catch (error) {
    return alertOf(error);
  }
  const epoch = model.epoch === null ? "" : `epoch ${model.epoch} · `;
  const classes = model.class_names.length === 1 ? "1 class" : `${model.class_names.length} classes`;
  document.title = `${model.name} · SSD detector`;
  get("model-name").textContent = model.name;
  get("model-facts").textContent =
    `${model.network ? `${model.network} · ` : ""}${epoch}${classes} · input ${model.input_size.join(" × ")} pixels`;
  get("draw-scene").hidden = !model.draws_scenes;
  choice = new Choice(model, update);
  listenForPictures();
  listenForChoices();
  listenForLooks();
  show();
}

start();
