const $ = id => document.getElementById(id);
const scenes = JSON.parse($("data").textContent);
const darkness = matchMedia("(prefers-color-scheme: dark)");
const START = { yaw: -0.55, pitch: 0.16, zoom: 1 }, FLAT = { yaw: 0, pitch: 0, zoom: 1 };
const VIEWS = { front: { yaw: 0, pitch: 0.05 }, side: { yaw: -Math.PI / 2, pitch: 0.05 }, above: { yaw: 0, pitch: 1.35 } };
const MODES = ["part", "speed", "confidence", "saliency"];
let scene, time = 0, playing = false, last = 0, hovered = null, pinned = null, bodies = [], cameras = [];
const view = { ...START, follow: false };

const ink = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const same = (one, other) => one && other && one.person === other.person && one.number === other.number;
const make = (tag, text, parent) => { const made = document.createElement(tag); made.textContent = text; parent.append(made); return made; };

function penOf(canvas) {
  const density = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  const [wide, high] = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== wide || canvas.height !== high) { canvas.width = wide; canvas.height = high; }
  const pen = canvas.getContext("2d");
  pen.setTransform(density, 0, 0, density, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

function drawSpace() {
  const { pen, width, height } = penOf($("space")), at = between(time * scene.fps, 0, scene.shape[1] - 1);
  const eye = camera(scene, view, at, width, height), dark = darkness.matches, mode = $("color").value;
  bodies = Array.from({ length: scene.shape[0] }, (_, person) => scene.names.map((_, number) => {
    const joint = jointAt(scene, person, number, at);
    return joint && { ...joint, screen: eye.project(joint.place), color: colorOf(scene, joint, mode, dark) };
  }));
  const step = drawGrid(pen, scene, eye, ink("--line")), chosen = hovered || pinned;
  $("grid").textContent = `grid: ${+step.toPrecision(2)} m`;
  if (scene.dims === 3) drawShadow(pen, scene, eye, bodies);
  if (chosen) drawTrail(pen, scene, eye, chosen, at, ink("--accent"));
  drawBodies(pen, scene, eye, bodies, { ground: ink("--card"), ink: ink("--ink"), marked: one => same(one, hovered) || same(one, pinned) });
  if (bodies.length > 1) drawNames(pen, bodies, { ink: ink("--soft") });
  if (!bodies.flat().some(Boolean)) {
    pen.font = "15px system-ui, sans-serif"; pen.textAlign = "center"; pen.fillStyle = ink("--soft");
    pen.fillText("Nobody is seen at this moment", width / 2, height / 2);
  }
  drawTip(chosen, width, height);
}

function drawTip(chosen, width, height) {
  const tip = $("tip"), joint = chosen && bodies[chosen.person][chosen.number];
  tip.hidden = !joint || !joint.screen;
  if (tip.hidden) return;
  const metres = joint.place.map((value, axis) => (value + scene.center[axis]).toFixed(2).replace("-", "−")).join(", ");
  const lines = [scene.names[joint.number] + (bodies.length > 1 ? ` · person ${joint.person + 1}` : ""), `(${metres}) m`];
  if (joint.seen) lines.push(`${joint.speed.toFixed(2)} m/s`, `confidence ${joint.confidence.toFixed(2)}`); else lines.push("not seen now");
  if (joint.seen && scene.matters) lines.push(`saliency ${joint.saliency.toFixed(2)}`);
  tip.textContent = lines.join("\n");
  tip.setAttribute("aria-live", playing ? "off" : "polite");
  const { offsetWidth, offsetHeight } = tip, { x, y } = joint.screen;
  tip.style.left = `${between(x + 18 + offsetWidth > width ? x - 18 - offsetWidth : x + 18, 4, Math.max(width - offsetWidth - 4, 4))}px`;
  tip.style.top = `${$("space").offsetTop + between(y - offsetHeight / 2, 4, Math.max(height - offsetHeight - 4, 4))}px`;
}

// What the current colour means, of all joints together, over time.
function curveOf(mode) {
  scene.curves ||= {};
  if (scene.curves[mode]) return scene.curves[mode];
  const [persons, frames, joints] = scene.shape;
  const value = { confidence: at => scene.seen[at] / 255, saliency: at => scene.matters[at] / 255 }[mode] || (at => scene.speeds[at]);
  const values = Array.from({ length: frames }, (_, frame) => {
    let sum = 0, count = 0;
    for (let person = 0; person < persons; person++) for (let joint = 0; joint < joints; joint++) {
      const at = index(scene, person, frame, joint);
      if (scene.seen[at] || mode === "confidence") { sum += value(at); count++; }
    }
    return count ? sum / count : 0;
  });
  // One jump at the start of a recording must not flatten all the rest.
  const most = mode === "confidence" ? 1 : Math.max(1.2 * percentile([...values], 0.95), 1e-9);
  return scene.curves[mode] = values.map(one => Math.min(one / most, 1));
}

function drawCurve() {
  const { pen, width, height } = penOf($("curve")), mode = $("color").value, curve = curveOf(mode);
  const across = share => 2 + share * (width - 4), accent = ink("--accent");
  pen.beginPath(); pen.moveTo(2, height);
  curve.forEach((value, frame) => pen.lineTo(across(curve.length > 1 ? frame / (curve.length - 1) : 0.5), height - 2 - value * (height - 18)));
  pen.lineTo(width - 2, height); pen.closePath();
  pen.globalAlpha = 0.22; pen.fillStyle = accent; pen.fill();
  pen.globalAlpha = 0.8; pen.fillStyle = ink("--soft");
  for (const moment of cameras[0] || []) pen.fillRect(across(moment.time / (scene.duration || 1)) - 1, height - 6, 2, 6);
  pen.globalAlpha = 1; pen.font = "11px system-ui, sans-serif";
  const what = { confidence: "confidence", saliency: "saliency" }[mode] || "speed";
  pen.fillText(`${what} of all joints${cameras.length ? " · ticks: what the model sees" : ""}`, 8, 13);
}

function nearest(moments) {
  let best = 0;
  moments.forEach((one, k) => { if (Math.abs(one.time - time) < Math.abs(moments[best].time - time)) best = k; });
  return best;
}

function show() {
  drawSpace();
  $("time").value = time;
  $("time").setAttribute("aria-valuetext", `${time.toFixed(2)} seconds`);
  $("clock").textContent = `${time.toFixed(2)} / ${scene.duration.toFixed(2)} s`;
  if (!cameras.length) return;
  const now = nearest(cameras[0]), moment = cameras[0][now];
  cameras.forEach((moments, k) => {
    const picture = $("frames").children[k], source = moments[nearest(moments)].source;
    if (picture.src !== source) picture.src = source;
    picture.alt = `What the model sees at ${moment.time.toFixed(2)} seconds`;
  });
  $("which").textContent = `What the model sees: frame ${now + 1} of ${cameras[0].length}${cameras.length > 1 ? ` by ${cameras.length} cameras` : ""}, at ${moment.time.toFixed(2)} s`;
  const strip = $("strip"), current = strip.children[now];
  if (current.getAttribute("aria-current") === "true") return;
  for (const button of strip.children) button.setAttribute("aria-current", button === current);
  strip.scrollLeft = between(strip.scrollLeft, current.offsetLeft + current.offsetWidth - strip.offsetLeft - strip.clientWidth + 6, current.offsetLeft - strip.offsetLeft - 6);
}

function legend() {
  const box = $("legend"), mode = $("color").value, dark = darkness.matches;
  box.replaceChildren();
  if (mode === "part") {
    for (const [name, color] of Object.entries(PARTS)) {
      const item = make("span", "", box);
      make("i", "", item).style.background = rgb(color.map(value => value * (dark ? 0.94 : 0.84)));
      item.append(name);
    }
    return;
  }
  const [low, high] = { speed: ["0", `${scene.fastest} m/s and more`], confidence: ["0", "1"], saliency: ["none", "most"] }[mode];
  make("span", low, box);
  const bar = make("span", "", box);
  bar.className = "ramp";
  bar.style.background = `linear-gradient(90deg, ${RAMPS[dark ? "dark" : "light"].map(rgb).join()})`;
  make("span", high, box);
}

// The frames of each camera with their times: where times go back, the next camera begins.
function camerasOf() {
  const found = [];
  scene.images.forEach((image, k) => {
    if (k === 0 || scene.times[k] < scene.times[k - 1]) found.push([]);
    found.at(-1).push({ time: scene.times[k], source: `data:image/webp;base64,${image}` });
  });
  return found;
}

function choose(number) {
  scene = scenes[number];
  unpack(scene);
  time = between(time, 0, scene.duration);
  hovered = pinned = null;
  cameras = camerasOf();
  Object.assign(view, scene.dims === 2 ? FLAT : START, { follow: scene.radius > 1.5 * scene.bodyRadius });
  $("follow").checked = view.follow;
  $("time").max = scene.duration || 1e-3;
  $("scene").value = number;
  $("earlier").disabled = number === 0;
  $("later").disabled = number === scenes.length - 1;
  document.title = $("title").textContent = scene.title;
  const [persons, frames, joints] = scene.shape, many = (count, name) => `${count} ${name}${count === 1 ? "" : "s"}`;
  const facts = [scene.topology, many(joints, "joint"), many(persons, "person"), `${many(frames, "frame")} at ${+scene.fps.toFixed(2)} per second`];
  $("facts").textContent = [scene.action && `“${scene.action}”`, scene.dims === 2 ? "2D" : "", facts.join(", ")].filter(Boolean).join(" · ");
  $("note").textContent = scene.note;
  $("color").querySelector("[value=saliency]").disabled = !scene.matters;
  if (!scene.matters && $("color").value === "saliency") $("color").value = "part";
  $("joint").replaceChildren(new Option("none", ""));
  for (let person = 0; person < persons; person++) scene.names.forEach((name, k) => $("joint").append(new Option(persons > 1 ? `${name} · person ${person + 1}` : name, `${person} ${k}`)));
  listFrames();
  recolor();
}

function listFrames() {
  $("seen").hidden = $("strip").hidden = !cameras.length;
  const columns = Math.ceil(Math.sqrt(cameras.length));
  $("frames").style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  $("frames").replaceChildren(...cameras.map(() => new Image()));
  $("strip").style.setProperty("--cameras", cameras.length);
  $("strip").replaceChildren(...(cameras[0] || []).map((moment, k) => {
    const button = document.createElement("button"), pictures = make("span", "", button);
    for (const moments of cameras) if (moments[k]) { const picture = make("img", "", pictures); picture.src = moments[k].source; picture.alt = ""; }
    make("span", `${moment.time.toFixed(2)} s`, button);
    button.setAttribute("aria-label", `Frame ${k + 1}, at ${moment.time.toFixed(2)} seconds`);
    button.onclick = () => seek(moment.time);
    return button;
  }));
}

function recolor() { legend(); drawCurve(); show(); }

function tick(now) {
  if (!playing) return;
  time += Math.min(now - last, 250) / 1000 * Number($("pace").value);
  last = now;
  if (time > scene.duration) {
    time = $("loop").checked && scene.duration ? time % scene.duration : scene.duration;
    if (!$("loop").checked || !scene.duration) play(false);
  }
  show();
  if (playing) requestAnimationFrame(tick);
}

function play(on) {
  if (on && !playing) { if (time >= scene.duration) time = 0; last = performance.now(); requestAnimationFrame(tick); }
  playing = on;
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
  $("sign").setAttribute("d", on ? "M4 3h2.6v10H4zM9.4 3H12v10H9.4z" : "M4 2.5v11l9-5.5z");
  if (!on) keep();
}

function seek(to) { time = between(to, 0, scene.duration); show(); keep(); }
function step(frames) { play(false); seek((Math.round(time * scene.fps) + frames) / scene.fps); }
function leap(moments) { if (cameras.length) { play(false); seek(cameras[0][between(nearest(cameras[0]) + moments, 0, cameras[0].length - 1)].time); } }
function turn(yaw, pitch) { view.yaw += yaw; view.pitch = between(view.pitch + pitch, -1.5, 1.5); drawSpace(); }
function zoom(factor) { view.zoom = between(view.zoom * factor, 0.3, 8); drawSpace(); }
function pin(joint) { pinned = joint && !same(joint, pinned) ? { person: joint.person, number: joint.number } : null; $("joint").value = pinned ? `${pinned.person} ${pinned.number}` : ""; drawSpace(); keep(); }
function switchTo(number) { choose(between(number, 0, scenes.length - 1)); keep(); }

// A link can name a moment: #t=1.2&color=speed&scene=2, and how it is looked at: &joint=7&person=1&yaw=90&pitch=10&zoom=2&follow=0.
function keep() {
  const named = new URLSearchParams({ t: time.toFixed(2), color: $("color").value, scene: scenes.indexOf(scene) });
  if (pinned) { named.set("joint", pinned.number); named.set("person", pinned.person); }
  try { history.replaceState(null, "", `#${named}`); } catch { /* a page inside another one has no address */ }
}

function recall() {
  const named = new URLSearchParams(location.hash.slice(1)), number = (name, otherwise) => named.has(name) && Number.isFinite(+named.get(name)) ? +named.get(name) : otherwise;
  if (MODES.includes(named.get("color"))) $("color").value = named.get("color");
  time = number("t", 0);
  choose(between(Math.trunc(number("scene", 0)), 0, scenes.length - 1));
  const [person, joint] = [number("person", 0), number("joint", -1)];
  if (scene.names[joint] !== undefined && bodies[person]) pin({ person, number: joint });
  const radians = Math.PI / 180;
  Object.assign(view, { yaw: number("yaw", view.yaw / radians) * radians, pitch: between(number("pitch", view.pitch / radians), -86, 86) * radians, zoom: between(number("zoom", view.zoom), 0.3, 8), follow: Boolean(number("follow", view.follow)) });
  $("follow").checked = view.follow;
  show();
}

const KEYS = {
  " ": () => play(!playing), ArrowLeft: () => step(-1), ArrowRight: () => step(1), ",": () => leap(-1), ".": () => leap(1),
  Home: () => seek(0), End: () => seek(scene.duration), "+": () => zoom(1.2), "=": () => zoom(1.2), "-": () => zoom(1 / 1.2), Escape: () => pin(null),
};
const TURNS = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
  if (event.key === " " && event.target.matches("button, input[type=checkbox]")) return;
  const act = event.shiftKey && TURNS[event.key] ? () => turn(...TURNS[event.key]) : KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});

$("play").onclick = () => play(!playing);
$("back").onclick = () => step(-1);
$("on").onclick = () => step(1);
$("time").oninput = event => { time = between(Number(event.target.value), 0, scene.duration); show(); };
$("time").onchange = keep;
$("color").onchange = () => { recolor(); keep(); };
$("scene").onchange = event => switchTo(Number(event.target.value));
$("earlier").onclick = () => switchTo(scenes.indexOf(scene) - 1);
$("later").onclick = () => switchTo(scenes.indexOf(scene) + 1);
$("follow").onchange = event => { view.follow = event.target.checked; drawSpace(); };
$("joint").onchange = event => { const [person, number] = event.target.value.split(" ").map(Number); pinned = null; pin(event.target.value && { person, number }); };
for (const [name, angles] of Object.entries(VIEWS)) $(name).onclick = () => { Object.assign(view, angles, { zoom: 1 }); drawSpace(); };

const space = $("space"), fingers = new Map();
let moved = 0;
const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
function under(event) {
  const box = space.getBoundingClientRect(), away = one => Math.hypot(one.screen.x - event.clientX + box.left, one.screen.y - event.clientY + box.top);
  return bodies.flat().filter(one => one && one.screen && away(one) < 16).sort((a, b) => away(a) - away(b))[0] || null;
}
space.onpointerdown = event => { space.setPointerCapture(event.pointerId); fingers.set(event.pointerId, { x: event.clientX, y: event.clientY }); moved = 0; };
space.onpointerup = event => { fingers.delete(event.pointerId); if (moved < 5 && !fingers.size) pin(under(event)); };
space.onpointercancel = event => fingers.delete(event.pointerId);
space.onpointermove = event => {
  const finger = fingers.get(event.pointerId);
  if (!finger) { hovered = under(event); drawSpace(); return; }
  const apart = fingers.size === 2 ? spread() : 0, [x, y] = [event.clientX - finger.x, event.clientY - finger.y];
  moved += Math.hypot(x, y);
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  hovered = null;
  if (apart) zoom(spread() / apart); else turn(x * 0.01, y * 0.01);
};
space.onpointerleave = () => { hovered = null; drawSpace(); };
space.onwheel = event => { event.preventDefault(); zoom(Math.exp(-between(event.deltaY, -200, 200) * 0.0015)); };
new ResizeObserver(() => { drawSpace(); drawCurve(); }).observe(space);
darkness.onchange = recolor;
addEventListener("hashchange", recall);

scenes.forEach((one, k) => $("scene").append(new Option(one.action ? `${one.title} (${one.action})` : one.title, k)));
$("chooser").hidden = scenes.length < 2;
if (scenes.some(one => one.saliency)) $("color").value = "saliency";
recall();
