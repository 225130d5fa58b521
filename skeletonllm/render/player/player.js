"use strict";
const scenes = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const SIDES = { left: "#ef7d1a", center: "#7f8a99", right: "#2f86e6" };
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const FASTEST = 3;
let scene, time = 0, playing = false, last = 0, yaw = 0.5, pitch = 0.15, zoom = 1, dragged = null, hovered = null, placed = [];

for (const one of scenes) {
  const raw = bytes(one.positions);
  one.places = new Int16Array(raw.buffer);
  one.seen = bytes(one.confidence);
  one.matters = one.saliency && bytes(one.saliency);
  one.duration = Math.max((one.shape[1] - 1) / one.fps, 1e-3);
  let low = Infinity;
  for (let k = 1; k < one.places.length; k += 3) if (one.seen[(k - 1) / 3] && one.places[k] < low) low = one.places[k];
  one.floor = Number.isFinite(low) ? low / 32767 : -0.5;
}

function index(person, frame, joint) { return (person * scene.shape[1] + frame) * scene.shape[2] + joint; }

// A joint between two recorded frames: metres from the scene's centre, in units of its reach.
function joint(person, at, number) {
  const end = scene.shape[1] - 1, before = Math.min(Math.floor(at), end), after = Math.min(before + 1, end), share = at - before;
  const a = index(person, before, number), b = index(person, after, number);
  const nearest = share < 0.5 ? a : b;
  const both = scene.seen[a] && scene.seen[b];
  const place = [0, 1, 2].map(axis => (both ? scene.places[3 * a + axis] * (1 - share) + scene.places[3 * b + axis] * share : scene.places[3 * nearest + axis]) / 32767);
  return { place, confidence: scene.seen[nearest] / 255, saliency: scene.matters ? scene.matters[nearest] / 255 : 0 };
}

function speedOf(person, at, number) {
  const end = scene.shape[1] - 1, reach = Math.max(1, Math.round(0.07 * scene.fps));
  const before = Math.max(0, Math.round(at) - reach), after = Math.min(end, Math.round(at) + reach);
  const a = index(person, before, number), b = index(person, after, number);
  if (after === before || !scene.seen[a] || !scene.seen[b]) return 0;
  let sum = 0;
  for (let axis = 0; axis < 3; axis++) sum += ((scene.places[3 * b + axis] - scene.places[3 * a + axis]) / 32767) ** 2;
  return Math.sqrt(sum) * scene.reach * scene.fps / (after - before);
}

function ramp(share) {
  const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1), low = Math.min(Math.floor(at), RAMP.length - 2), part = at - low;
  return `rgb(${RAMP[low].map((value, k) => Math.round(value + (RAMP[low + 1][k] - value) * part)).join()})`;
}

function colorOf(one) {
  const mode = $("color").value;
  if (mode === "speed") return ramp(Math.sqrt(one.speed / FASTEST));
  if (mode === "confidence") return ramp(one.confidence);
  if (mode === "saliency") return ramp(one.saliency);
  return SIDES[scene.sides[one.number]];
}

function project([x, y, z], size) {
  const turned = x * Math.cos(yaw) + z * Math.sin(yaw), away = -x * Math.sin(yaw) + z * Math.cos(yaw);
  const up = y * Math.cos(pitch) - away * Math.sin(pitch), near = y * Math.sin(pitch) + away * Math.cos(pitch);
  const scale = size * 0.78 * zoom / (1 - 0.25 * Math.max(near, -1.5));
  return [size / 2 + turned * scale, size / 2 - up * scale, near];
}

function draw() {
  const canvas = $("space"), size = canvas.clientWidth, density = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(size * density)) canvas.width = canvas.height = Math.round(size * density);
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  pen.setTransform(density, 0, 0, density, 0, 0);
  pen.clearRect(0, 0, size, size);
  pen.strokeStyle = style.getPropertyValue("--line");
  pen.lineWidth = 1;
  for (let k = -4; k <= 4; k++) for (const [from, to] of [[[k / 4, -1], [k / 4, 1]], [[-1, k / 4], [1, k / 4]]]) {
    const [a, b] = [from, to].map(([x, z]) => project([x, scene.floor, z], size));
    pen.beginPath(); pen.moveTo(a[0], a[1]); pen.lineTo(b[0], b[1]); pen.stroke();
  }
  const at = Math.min(time * scene.fps, scene.shape[1] - 1), shapes = [];
  placed = [];
  for (let person = 0; person < scene.shape[0]; person++) {
    const joints = scene.names.map((_, number) => {
      const one = { person, number, ...joint(person, at, number), speed: speedOf(person, at, number) };
      one.screen = project(one.place, size);
      return one;
    });
    for (const one of joints) {
      if (one.confidence > 0) { placed.push(one); shapes.push({ depth: one.screen[2] + 0.01, joint: one }); }
      const parent = joints[scene.parents[one.number]];
      if (parent && parent.confidence > 0 && one.confidence > 0) shapes.push({ depth: (one.screen[2] + parent.screen[2]) / 2, bone: [parent, one] });
    }
  }
  shapes.sort((a, b) => a.depth - b.depth);
  pen.lineCap = "round";
  for (const { joint: one, bone } of shapes) {
    pen.globalAlpha = 1;
    if (bone) {
      const [a, b] = bone, fade = pen.createLinearGradient(a.screen[0], a.screen[1], b.screen[0] + 1e-3, b.screen[1]);
      fade.addColorStop(0, colorOf(a)); fade.addColorStop(1, colorOf(b));
      pen.strokeStyle = fade; pen.lineWidth = Math.max(2, size * 0.012 * zoom);
      pen.globalAlpha = 0.35 + 0.65 * Math.min(a.confidence, b.confidence);
      pen.beginPath(); pen.moveTo(a.screen[0], a.screen[1]); pen.lineTo(b.screen[0], b.screen[1]); pen.stroke();
    } else {
      const marked = hovered && hovered.person === one.person && hovered.number === one.number;
      pen.beginPath(); pen.arc(one.screen[0], one.screen[1], Math.max(2.5, size * (marked ? 0.014 : 0.009) * zoom), 0, 7);
      pen.fillStyle = colorOf(one);
      pen.fill();
      if (marked) { pen.strokeStyle = style.getPropertyValue("--ink"); pen.lineWidth = 2; pen.stroke(); }
    }
  }
  pen.globalAlpha = 1;
}

function nearestFrame() {
  let best = 0;
  scene.times.forEach((one, k) => { if (Math.abs(one - time) < Math.abs(scene.times[best] - time)) best = k; });
  return best;
}

let shown = null;
function show() {
  draw();
  $("time").value = 1000 * time / scene.duration;
  $("clock").textContent = `${time.toFixed(2)} of ${scene.duration.toFixed(2)} s`;
  const now = nearestFrame();
  if (scene.images.length && shown !== scene.images[now]) {
    shown = scene.images[now];
    $("frame").src = "data:image/png;base64," + shown;
    $("which").textContent = `What the model sees: frame ${now + 1} of ${scene.images.length}, at ${scene.times[now].toFixed(2)} s`;
    [...$("strip").children].forEach((button, k) => button.setAttribute("aria-current", k === now));
  }
}

function legend() {
  const place = $("legend"), mode = $("color").value;
  place.replaceChildren();
  const words = text => place.append(document.createTextNode(text));
  if (mode === "side") for (const [name, color] of Object.entries(SIDES)) {
    const item = document.createElement("span"), dot = document.createElement("i");
    dot.style.background = color; item.append(dot, name === "center" ? "middle" : name); place.append(item);
  } else {
    const [low, high] = { speed: ["0", `${FASTEST} m/s`], confidence: ["0", "1"], saliency: ["none", "most"] }[mode];
    const bar = document.createElement("span");
    bar.className = "ramp";
    bar.style.background = `linear-gradient(90deg, ${RAMP.map(rgb => `rgb(${rgb})`).join()})`;
    words(low); place.append(bar); words(high);
  }
}

function choose(number) {
  scene = scenes[number];
  time = Math.min(time, scene.duration);
  shown = null;
  $("scene").value = number;
  $("title").textContent = scene.title;
  const people = scene.shape[0] === 1 ? "1 person" : `${scene.shape[0]} persons`;
  $("note").textContent = [scene.action && `“${scene.action}”`, `${scene.topology}, ${scene.shape[2]} joints, ${people}, ${scene.shape[1]} frames at ${+scene.fps.toFixed(2)}/s`, scene.note].filter(Boolean).join(" · ");
  $("color").querySelector("[value=saliency]").disabled = !scene.matters;
  if (!scene.matters && $("color").value === "saliency") $("color").value = "side";
  $("strip").replaceChildren(...scene.images.map((image, k) => {
    const button = document.createElement("button"), picture = new Image();
    picture.src = "data:image/png;base64," + image; picture.alt = `Frame ${k + 1}`;
    button.append(picture); button.onclick = () => { time = Math.min(scene.times[k], scene.duration); show(); };
    return button;
  }));
  legend();
  show();
}

function tick(now) {
  if (playing) {
    time += (now - last) / 1000 * Number($("pace").value);
    if (time > scene.duration) { if ($("loop").checked) time = 0; else { time = scene.duration; play(false); } }
    show();
  }
  last = now;
  requestAnimationFrame(tick);
}

function play(on) { playing = on; $("play").textContent = on ? "Pause" : "Play"; if (on && time >= scene.duration) time = 0; }
function step(frames) { play(false); time = Math.min(Math.max(time + frames / scene.fps, 0), scene.duration); show(); }

$("play").onclick = () => play(!playing);
$("time").oninput = event => { time = event.target.value / 1000 * scene.duration; show(); };
$("color").onchange = () => { legend(); draw(); };
$("scene").onchange = event => choose(Number(event.target.value));
$("front").onclick = () => { yaw = pitch = 0; zoom = 1; draw(); };
addEventListener("keydown", event => {
  if (event.target.matches("select, input, button")) return;
  if (event.key === " ") { event.preventDefault(); play(!playing); }
  if (event.key === "ArrowRight") step(1);
  if (event.key === "ArrowLeft") step(-1);
});
const space = $("space");
space.onpointerdown = event => { dragged = [event.clientX, event.clientY]; space.setPointerCapture(event.pointerId); };
space.onpointerup = space.onpointercancel = () => { dragged = null; };
space.onpointermove = event => {
  if (dragged) {
    yaw += (event.clientX - dragged[0]) * 0.01;
    pitch = Math.min(Math.max(pitch + (event.clientY - dragged[1]) * 0.01, -1.5), 1.5);
    dragged = [event.clientX, event.clientY];
  }
  const box = space.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  const distance = one => Math.hypot(one.screen[0] - x, one.screen[1] - y);
  hovered = placed.reduce((best, one) => distance(one) < 14 && (!best || distance(one) < distance(best)) ? one : best, null);
  const tip = $("tip");
  tip.hidden = !hovered || Boolean(dragged);
  if (hovered) {
    const metres = hovered.place.map((value, axis) => (value * scene.reach + scene.center[axis]).toFixed(2)).join(", ");
    tip.textContent = `${scene.names[hovered.number]}${scene.shape[0] > 1 ? `, person ${hovered.person + 1}` : ""}\n(${metres}) m\n${hovered.speed.toFixed(2)} m/s, confidence ${hovered.confidence.toFixed(2)}${scene.matters ? `\nsaliency ${hovered.saliency.toFixed(2)}` : ""}`;
    tip.style.left = `${Math.min(x + 14, box.width - 190)}px`; tip.style.top = `${Math.max(y - 70, 4)}px`;
  }
  draw();
};
space.onpointerleave = () => { hovered = null; $("tip").hidden = true; draw(); };
space.onwheel = event => { event.preventDefault(); zoom = Math.min(Math.max(zoom * Math.exp(-event.deltaY * 0.001), 0.3), 6); draw(); };
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").onchange = draw;

scenes.forEach((one, k) => $("scene").append(new Option(one.action ? `${one.title} (${one.action})` : one.title, k)));
$("chooser").hidden = scenes.length < 2;
// A link can name a moment: #t=1.2&color=speed&scene=2
const named = new URLSearchParams(location.hash.slice(1));
time = Math.max(Number(named.get("t")) || 0, 0);
if (scenes.some(one => one.matters)) $("color").value = "saliency";
if (named.get("color")) $("color").value = named.get("color");
if (!$("color").value) $("color").value = "side";
choose(Math.min(Math.max(Math.trunc(Number(named.get("scene")) || 0), 0), scenes.length - 1));
requestAnimationFrame(tick);
