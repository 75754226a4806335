// Files made of what is shown.

// A picture's entry in detections.json, as demo.py writes it (which also names the annotated picture).
export function entry(picture, shown) {
  return { file: picture.name, size: picture.answer.size, detections: shown };
}

// The whole of detections.json.
export function everything(model, threshold, pictures, choose) {
  return {
    model: model.name,
    epoch: model.epoch,
    threshold,
    class_names: model.class_names,
    images: pictures.filter((one) => one.answer).map((one) => entry(one, choose(one.answer.detections))),
    failed: pictures.filter((one) => one.problem).map((one) => ({ file: one.name, error: one.problem })),
  };
}

// COCO's results, with the image ids of demo.py --save-results: the number that a file is named after, else its name;
// of several pictures with one id the later ones go by their names, with a number where those are the same too.
export function cocoResults(pictures, choose) {
  const taken = new Set();
  return pictures.filter((one) => one.answer).flatMap((one) => {
    const id = imageId(one.name, taken);
    return choose(one.answer.detections).map(({ class_id: classId, score, box }) => ({
      image_id: id,
      category_id: classId + 1,
      bbox: [box[0], box[1], box[2] - box[0], box[3] - box[1]].map((value) => Number(value.toFixed(4))),
      score,
    }));
  });
}

function imageId(name, taken) {
  const base = stem(name), numbered = /^(?:COCO_[a-z]+[0-9]{4}_)?([0-9]{1,15})$/.exec(base);
  let id = numbered ? Number(numbered[1]) : base;
  for (let number = 1; taken.has(id); number += 1) id = number === 1 ? base : `${base}-${number}`;
  taken.add(id);
  return id;
}

export function stem(name) {
  return name.replace(/(.)\.[^.]+$/, "$1");
}

export function json(values) {
  return new Blob([`${JSON.stringify(values, null, 1)}\n`], { type: "application/json" });
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000); // the browser reads it after the click
}
