// One cell for each call, and switches for trouble. Nothing but the page's own server is
// asked, and everything it says becomes text, never markup.
"use strict";

const grid = document.getElementById("grid");
const about = document.getElementById("about");
const problem = document.getElementById("problem");
const size = 400;
const calls = new Array(size);
const boxes = Array.from({ length: size }, (_, i) => {
  const box = document.createElement("span");
  box.className = "cell";
  box.addEventListener("pointerenter", () => describe(calls[i]));
  return box;
});
grid.append(...boxes);

function looks(c) {
  const list = ["cell"];
  if (c.code !== "OK") {
    list.push(c.onPurpose ? "purpose" : "failed");
  } else if (c.version) {
    list.push(c.version, c.zone);
  } else {
    list.push("other");
  }
  if (c.ms > 100) list.push("slow");
  return list.join(" ");
}

function describe(c) {
  if (!c) return;
  const by = c.instance ? ` by ${c.instance} (${c.version}, ${c.zone})` : "";
  about.textContent = `#${c.n} ${c.method}${by}: ${c.code} after ${c.ms.toFixed(1)} ms${c.message ? ": " + c.message : ""}`;
}

function quantile(sorted, p) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] : 0;
}

function golden() {
  const known = calls.filter(Boolean);
  const wanted = known.filter((c) => !c.onPurpose);
  const ok = wanted.filter((c) => c.code === "OK").length;
  const took = known.map((c) => c.ms).sort((a, b) => a - b);
  document.getElementById("golden").textContent = wanted.length
    ? `success ${((100 * ok) / wanted.length).toFixed(2)}% (without the doughnut), p50 ${quantile(took, 0.5).toFixed(1)} ms, p99 ${quantile(took, 0.99).toFixed(1)} ms, of the last ${known.length} calls`
    : "waiting for the first call";

  const by = new Map();
  for (const c of known) {
    if (!c.instance) continue;
    if (!by.has(c.instance)) by.set(c.instance, { ...c, took: [] });
    by.get(c.instance).took.push(c.ms);
  }
  const rows = [...by.values()].sort((a, b) => (a.instance < b.instance ? -1 : 1)).map((r) => {
    const row = document.createElement("tr");
    const cells = [r.instance, r.version, r.zone, String(r.took.length), quantile(r.took.sort((a, b) => a - b), 0.5).toFixed(1) + " ms"];
    cells.forEach((text, i) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      if (i > 2) cell.className = "n";
      row.append(cell);
    });
    return row;
  });
  document.querySelector("#shares tbody").replaceChildren(...rows);
}

function happened(lines) {
  if (!lines || !lines.length) return;
  document.getElementById("happened").replaceChildren(...lines.toReversed().map((l) => {
    const item = document.createElement("li");
    const at = document.createElement("time");
    at.textContent = new Date(l.at).toLocaleTimeString();
    item.append(at, l.says);
    return item;
  }));
}

const faults = document.getElementById("faults");
const boxesOf = { slow: "slow", kill: "killed", server: "serverKilled" };
let turning = 0;

function stand(state) {
  if (turning) return; // what was just asked for is not done yet
  if (document.activeElement !== faults) faults.value = state.faults;
  document.getElementById("percent").textContent = `${state.faults}%`;
  for (const [name, key] of Object.entries(boxesOf)) document.querySelector(`[data-switch=${name}]`).checked = state[key];
}

async function turn(name, value) {
  turning++;
  problem.textContent = "";
  try {
    const answer = await fetch(`/switch/${name}/${value}`, { method: "POST" });
    if (!answer.ok) problem.textContent = await answer.text();
  } catch (e) {
    problem.textContent = "the demo does not answer: is it stopped?";
  } finally {
    turning--;
  }
}

faults.addEventListener("input", () => { document.getElementById("percent").textContent = `${faults.value}%`; });
faults.addEventListener("change", () => turn("faults", faults.value));
for (const box of document.querySelectorAll("[data-switch]")) {
  box.addEventListener("change", () => turn(box.dataset.switch, box.checked ? "on" : "off"));
}
document.getElementById("rotate").addEventListener("click", () => turn("rotate", "on"));

const events = new EventSource("/calls");
events.onmessage = (e) => {
  const frame = JSON.parse(e.data);
  for (const c of frame.cells ?? []) {
    const i = c.n % size;
    calls[i] = c;
    boxes[i].className = looks(c);
  }
  golden();
  happened(frame.happened);
  stand(frame.switches);
};
events.onerror = () => { document.getElementById("golden").textContent = "the demo does not answer: is it stopped?"; };
