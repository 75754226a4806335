// What the page asks of the server. Every failure is an Error whose message can be shown as it is.

const GONE = "The server does not answer. Is demo.py --serve still running?";

async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    throw new Error(GONE, { cause: error });
  }
  if (response.ok) return response;
  let words = `The server answered ${response.status} ${response.statusText}.`;
  try {
    words = (await response.json()).error || words;
  } catch {
    // Not the application's own answer: its status has to do.
  }
  throw new Error(words);
}

// A file that cannot be read (a folder, a file gone since) fails here and not as if the server were gone.
async function form(file, name, limit) {
  if (file.size > limit) {
    throw new Error(`${name}: the file has ${megabytes(file.size)}, the limit is ${megabytes(limit)}: ` +
      "make the picture smaller");
  }
  let data;
  try {
    data = await file.arrayBuffer();
  } catch (error) {
    throw new Error(`${name}: cannot be read; is it a folder?`, { cause: error });
  }
  const body = new FormData();
  body.append("image", new Blob([data]), name);
  return body;
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toPrecision(3)} MB`;
}

export async function getModel() {
  return (await ask("model")).json();
}

export async function getScene(seed) {
  return (await ask(`scene?seed=${seed}`)).blob();
}

export async function detect(file, name, limit) {
  return (await ask("detect", { method: "POST", body: await form(file, name, limit) })).json();
}

// The picture upright as PNG, for those that a browser does not show, or shows otherwise.
export async function getPicture(file, name, limit) {
  return (await ask("picture", { method: "POST", body: await form(file, name, limit) })).blob();
}
