// The detection that is pointed at, in the table or on the picture, stands out in both.

const get = (id) => document.getElementById(id);

// index: of the detection among those shown, null for none; reveal: whether the table moves to its row.
export function light(index, reveal = false) {
  get("boxes").classList.toggle("some-lit", index !== null);
  for (const part of document.querySelectorAll("#boxes g, #rows tr")) {
    part.classList.toggle("lit", index !== null && Number(part.dataset.index) === index);
  }
  if (reveal && index !== null) scrollTo(get("rows").children[index]);
}

// Within the table alone: the page stays where it is.
function scrollTo(line) {
  const table = get("table"), top = line.offsetTop - line.offsetHeight; // below the head, which stays
  const bottom = line.offsetTop + line.offsetHeight - table.clientHeight;
  if (top < table.scrollTop) table.scrollTop = top;
  else if (bottom > table.scrollTop) table.scrollTop = bottom;
}

// The smallest box under the pointer, since larger ones may cover it; null where there is none.
export function pointed(event, shown, size) {
  const area = get("boxes").getBoundingClientRect();
  const x = ((event.clientX - area.left) / area.width) * size[0];
  const y = ((event.clientY - area.top) / area.height) * size[1];
  let best = null, least = Infinity;
  shown.forEach(({ box: [xmin, ymin, xmax, ymax] }, index) => {
    const covered = (xmax - xmin) * (ymax - ymin);
    if (x >= xmin && x <= xmax && y >= ymin && y <= ymax && covered < least) [best, least] = [index, covered];
  });
  return best;
}
