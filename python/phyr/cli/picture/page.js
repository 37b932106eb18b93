// The script of the page: `told` describes the picture, `cells` holds a column of numbers for each
// field of the cells, in the order of addresses.
const told = JSON.parse(document.getElementById("told").textContent);
const byId = (name) => document.getElementById(name);
const canvas = byId("map");
const pen = canvas.getContext("2d");
const cellBytes = 2 ** told.cell_lg2;
const NONE = 255;

function spell(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(bytes) ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}

// Addresses may need 64 bits: cells start at multiples of 4096, so numbers hold them exactly.
const hex = (number) => `0x${BigInt(number).toString(16)}`;

async function columns() {
  const packed = Uint8Array.from(atob(byId("cells").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = await new Response(stream).arrayBuffer();
  const count = told.nr_cells;
  let at = 0;
  const take = (Kind) => {
    const column = new Kind(bytes, at, count);
    at += count * Kind.BYTES_PER_ELEMENT;
    return column;
  };
  // Wide numbers come first, to be aligned.
  return {
    vma: take(Uint32Array),
    order: take(Uint8Array),
    share: take(Uint8Array),
    layers: told.paintings.map(() => take(Uint8Array)),
  };
}

// The same curve as in curve.py: from the lowest digit of the number up.
function place(number) {
  if (told.layout === "rows") {
    return [number % told.side, Math.floor(number / told.side)];
  }
  let x = 0;
  let y = 0;
  for (let half = 1; half < told.side; half *= 2) {
    const quarter = number % 4;
    number = Math.floor(number / 4);
    if (quarter === 0) {
      [x, y] = [y, x];
    } else if (quarter === 1) {
      y += half;
    } else if (quarter === 2) {
      x += half;
      y += half;
    } else {
      [x, y] = [2 * half - 1 - y, half - 1 - x];
    }
  }
  return [x, y];
}

const ink = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

function start(cells) {
  let width = 0;
  let height = 0;
  const xs = new Uint16Array(told.nr_cells);
  const ys = new Uint16Array(told.nr_cells);
  for (let number = 0; number < told.nr_cells; number += 1) {
    const [x, y] = place(number);
    xs[number] = x;
    ys[number] = y;
    width = Math.max(width, x + 1);
    height = Math.max(height, y + 1);
  }
  const numbers = new Int32Array(width * height).fill(-1);
  const back = new Uint8Array(told.nr_cells).fill(told.ram ? 1 : 0);
  for (const [first, last] of told.ram ?? []) {
    back.fill(0, first, last + 1);
  }
  for (let number = 0; number < told.nr_cells; number += 1) {
    numbers[ys[number] * width + xs[number]] = number;
  }
  const sheet = new OffscreenCanvas(width, height);
  const sheetPen = sheet.getContext("2d");
  const view = { x: 0, y: 0, scale: 1 };
  let painting = 0;
  let only = null;

  function paint() {
    const { layers, quiet } = told.paintings[painting];
    const layer = cells.layers[painting];
    const inks = layers.map((one) => ink(one.colour));
    const image = sheetPen.createImageData(width, height);
    const ground = [ink(told.colours.ram), ink(told.colours.outside)];
    image.data.fill(255);
    for (let number = 0; number < told.nr_cells; number += 1) {
      const at = 4 * (ys[number] * width + xs[number]);
      const under = ground[back[number]];
      const hidden = layer[number] === NONE || (only !== null && only !== layer[number]);
      const over = hidden ? under : inks[layer[number]];
      const strength = told.palest + (1 - told.palest) * Math.sqrt(cells.share[number] / 255);
      for (let part = 0; part < 3; part += 1) {
        image.data[at + part] = over[part] * strength + under[part] * (1 - strength);
      }
    }
    sheetPen.putImageData(image, 0, 0);
    show();
  }

  // The scale at which all is seen: pixels of the canvas for a cell.
  const fit = () => canvas.width / width;

  function show() {
    view.scale = Math.min(Math.max(view.scale, 1), 64);
    const seen = { x: width / view.scale, y: height / view.scale };
    view.x = Math.min(Math.max(view.x, 0), width - seen.x);
    view.y = Math.min(Math.max(view.y, 0), height - seen.y);
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = told.colours.outside;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(sheet, view.x, view.y, seen.x, seen.y, 0, 0, canvas.width, canvas.height);
    canvas.dataset.view = JSON.stringify(view);
  }

  function size() {
    const pixels = Math.round(canvas.clientWidth * devicePixelRatio) || 1000;
    canvas.width = Math.max(Math.round(pixels / width), 1) * width;
    canvas.height = (canvas.width * height) / width;
    canvas.style.aspectRatio = `${width} / ${height}`;
    show();
  }

  // Column and row of the cell under the pointer, with fractions.
  function under(event) {
    const box = canvas.getBoundingClientRect();
    return {
      x: view.x + (((event.clientX - box.left) / box.width) * width) / view.scale,
      y: view.y + (((event.clientY - box.top) / box.height) * height) / view.scale,
    };
  }

  function zoom(factor, at) {
    const before = view.scale;
    view.scale = Math.min(Math.max(view.scale * factor, 1), 64);
    view.x = at.x - ((at.x - view.x) * before) / view.scale;
    view.y = at.y - ((at.y - view.y) * before) / view.scale;
    show();
  }

  function describe(number) {
    const low = told.start + number * cellBytes;
    const lines = [`${hex(low)}+${hex(cellBytes)} (at ${spell(low)})`];
    const layer = cells.layers[painting][number];
    if (layer === NONE) {
      lines.push(back[number] ? "no memory here" : "memory of others, or free");
      return lines.join("\n");
    }
    const vma = told.vmas[cells.vma[number]];
    lines.push(vma);
    const covered = Math.round((cells.share[number] / 255) * cellBytes);
    lines.push(`some ${spell(Math.max(Math.round(covered / 4096), 1) * 4096)} of ${spell(cellBytes)}`);
    const order = cells.order[number];
    lines.push(`largest block: ${spell(4096 * 2 ** order)} (order ${order})`);
    lines.push(`${told.paintings[painting].title}: ${told.paintings[painting].layers[layer].name}`);
    return lines.join("\n");
  }

  const tip = byId("tip");
  let held = null;

  canvas.addEventListener("pointermove", (event) => {
    const at = under(event);
    if (held) {
      view.x += held.x - at.x;
      view.y += held.y - at.y;
      show();
      return;
    }
    const number = numbers[Math.floor(at.y) * width + Math.floor(at.x)];
    tip.hidden = !(number >= 0);
    if (!tip.hidden) {
      tip.textContent = describe(number);
      tip.style.left = `${Math.min(event.clientX + 16, innerWidth - tip.offsetWidth - 8)}px`;
      tip.style.top = `${Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8)}px`;
    }
  });
  canvas.addEventListener("pointerdown", (event) => {
    held = under(event);
    tip.hidden = true;
  });
  addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, under(event));
  }, { passive: false });
  const reset = () => { Object.assign(view, { x: 0, y: 0, scale: 1 }); show(); };
  canvas.addEventListener("dblclick", reset);
  canvas.addEventListener("keydown", (event) => {
    const seen = { x: width / view.scale, y: height / view.scale };
    const middle = { x: view.x + seen.x / 2, y: view.y + seen.y / 2 };
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "+" || event.key === "=") {
      zoom(1.25, middle);
    } else if (event.key === "-") {
      zoom(0.8, middle);
    } else if (event.key === "0") {
      reset();
    } else if (moves[event.key]) {
      view.x += (moves[event.key][0] * seen.x) / 8;
      view.y += (moves[event.key][1] * seen.y) / 8;
      show();
    } else {
      return;
    }
    event.preventDefault();
  });

  function legend() {
    const { layers } = told.paintings[painting];
    byId("legend").replaceChildren(...layers.flatMap((layer, number) => {
      if (!layer.bytes) {
        return [];
      }
      const item = document.createElement("li");
      const button = document.createElement("button");
      const patch = document.createElement("span");
      const name = document.createElement("span");
      const bytes = document.createElement("span");
      patch.className = "ink";
      patch.style.background = layer.colour;
      name.textContent = layer.name;
      bytes.className = "bytes";
      bytes.textContent = spell(layer.bytes);
      button.append(patch, name, bytes);
      button.title = "show only this";
      button.setAttribute("aria-pressed", only === number);
      button.addEventListener("click", () => {
        only = only === number ? null : number;
        legend();
        paint();
      });
      item.append(button);
      return [item];
    }));
  }

  function sizes() {
    const { layers } = told.paintings[painting];
    const svg = byId("sizes");
    const make = (name, attributes, text = "") => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) {
        made.setAttribute(key, value);
      }
      made.textContent = text;
      return made;
    };
    const sums = told.bins.map((_, bin) => layers.reduce((sum, layer) => sum + layer.sizes[bin], 0));
    const most = Math.max(...sums);
    const tall = 24;
    svg.setAttribute("height", tall * told.bins.length);
    svg.replaceChildren();
    told.bins.forEach((lg2, bin) => {
      const top = tall * (told.bins.length - 1 - bin);
      let left = 70;
      svg.append(make("text", { x: 62, y: top + 16, "text-anchor": "end" }, spell(2 ** lg2)));
      for (const layer of layers) {
        const wide = (220 * layer.sizes[bin]) / most;
        if (wide) {
          const bar = { x: left, y: top + 2, width: wide, height: tall - 4, fill: layer.colour };
          svg.append(make("rect", bar));
          left += wide;
        }
      }
      if (sums[bin]) {
        svg.append(make("text", { x: left + 6, y: top + 16 }, spell(sums[bin])));
      }
    });
  }

  byId("by").append(...told.paintings.map((one, number) => new Option(one.title, number)));
  byId("by").addEventListener("change", (event) => {
    painting = Number(event.target.value);
    only = null;
    legend();
    sizes();
    paint();
  });
  addEventListener("resize", size);
  legend();
  sizes();
  paint();
  size();
  document.body.dataset.ready = "true";
}

byId("title").textContent = told.title;
byId("caption").textContent = told.caption;
byId("scale").textContent = told.explained;
canvas.setAttribute("aria-label", `physical memory of ${told.title}`);
columns().then(start).catch((error) => { byId("help").textContent = `No picture: ${error}`; });
