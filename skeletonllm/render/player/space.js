// A recording's numbers, and how its joints look in 3D. Places are metres from the scene's middle, +y up.
const HELD_S = 0.5, TRAIL_S = 1.5;

const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const percentile = (values, share) => values.length ? values.sort((a, b) => a - b)[Math.min(Math.floor(share * values.length), values.length - 1)] : 0;
const between = (value, low, high) => Math.min(Math.max(value, low), high);

function unpack(scene) {
  if (scene.places) return;
  scene.places = Float32Array.from(new Int16Array(bytes(scene.positions).buffer), whole => whole / 32767 * scene.reach);
  scene.seen = bytes(scene.confidence);
  scene.matters = scene.saliency && bytes(scene.saliency);
  scene.duration = (scene.shape[1] - 1) / scene.fps;
  scene.held = nearestSeen(scene);
  scene.speeds = speeds(scene);
  const moving = scene.speeds.filter((_, k) => scene.seen[k]);
  scene.fastest = nice(Math.max(percentile(moving, 0.98), 0.2));
  measure(scene);
}

function index(scene, person, frame, joint) { return (person * scene.shape[1] + frame) * scene.shape[2] + joint; }
function place(scene, at) { return [scene.places[3 * at], scene.places[3 * at + 1], scene.places[3 * at + 2]]; }
function nice(value) { const unit = 10 ** Math.floor(Math.log10(value)); return unit * [1, 2, 5, 10].find(step => step * unit >= value * 0.999); }

// For each joint of each frame the nearest frame in which it is seen; -1 where that is too long ago and too far ahead.
function nearestSeen(scene) {
  const [persons, frames, joints] = scene.shape, reach = HELD_S * scene.fps, held = new Int32Array(persons * frames * joints).fill(-1);
  for (let person = 0; person < persons; person++) for (let joint = 0; joint < joints; joint++) {
    for (const [first, end, step] of [[0, frames, 1], [frames - 1, -1, -1]]) {
      let last = -1;
      for (let frame = first; frame !== end; frame += step) {
        const at = index(scene, person, frame, joint);
        if (scene.seen[at]) last = frame;
        const away = Math.abs(frame - last);
        if (last >= 0 && away <= reach && (held[at] < 0 || away < Math.abs(frame - held[at]))) held[at] = last;
      }
    }
  }
  return held;
}

// Metres per second, over about a tenth of a second.
function speeds(scene) {
  const [persons, frames, joints] = scene.shape, reach = Math.max(1, Math.round(0.05 * scene.fps)), found = new Float32Array(persons * frames * joints);
  for (let person = 0; person < persons; person++) for (let frame = 0; frame < frames; frame++) for (let joint = 0; joint < joints; joint++) {
    const at = index(scene, person, frame, joint);
    const [before, after] = [Math.max(frame - reach, 0), Math.min(frame + reach, frames - 1)].map(other => scene.seen[index(scene, person, other, joint)] ? other : frame);
    if (!scene.seen[at] || after === before) continue;
    const a = place(scene, index(scene, person, before, joint)), b = place(scene, index(scene, person, after, joint));
    found[at] = Math.hypot(b[0] - a[0], b[1] - a[1], b[2] - a[2]) * scene.fps / (after - before);
  }
  return found;
}

// The floor, how large the bodies and the whole clip are, and where the bodies are in each frame.
function measure(scene) {
  const [persons, frames, joints] = scene.shape, heights = [], far = [], sizes = [], middles = [];
  for (let frame = 0; frame < frames; frame++) {
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    for (let person = 0; person < persons; person++) for (let joint = 0; joint < joints; joint++) {
      const at = index(scene, person, frame, joint);
      if (!scene.seen[at]) continue;
      const here = place(scene, at);
      heights.push(here[1]); far.push(Math.hypot(...here));
      here.forEach((value, axis) => { low[axis] = Math.min(low[axis], value); high[axis] = Math.max(high[axis], value); });
    }
    const found = low[0] <= high[0];
    middles.push(found ? low.map((value, axis) => (value + high[axis]) / 2) : middles.at(-1) || [0, 0, 0]);
    if (found) sizes.push(Math.hypot(...low.map((value, axis) => high[axis] - value)) / 2);
  }
  scene.floor = percentile(Float32Array.from(heights), 0.005);
  scene.radius = Math.max(percentile(Float32Array.from(far), 0.995), 1e-3);
  scene.bodyRadius = Math.max(percentile(Float32Array.from(sizes), 0.95), 1e-3);
  const reach = Math.round(0.4 * scene.fps);
  let sums = [[0, 0, 0]];
  for (const middle of middles) sums.push(sums.at(-1).map((sum, axis) => sum + middle[axis]));
  scene.middles = middles.map((_, frame) => {
    const first = Math.max(frame - reach, 0), end = Math.min(frame + reach + 1, frames);
    return sums[end].map((sum, axis) => (sum - sums[first][axis]) / (end - first));
  });
}

// A joint at a time between two recorded frames; null where it is not seen for long.
function jointAt(scene, person, number, at) {
  const end = scene.shape[1] - 1, before = Math.min(Math.floor(at), end), after = Math.min(before + 1, end), share = at - before;
  const nearest = share < 0.5 ? before : after, there = index(scene, person, nearest, number);
  if (scene.held[there] < 0) return null;
  const a = index(scene, person, before, number), b = index(scene, person, after, number);
  const both = scene.seen[a] && scene.seen[b], from = place(scene, a), to = place(scene, b);
  return {
    person, number,
    place: both ? from.map((value, axis) => value * (1 - share) + to[axis] * share) : place(scene, index(scene, person, scene.held[there], number)),
    seen: scene.seen[there] > 0,
    confidence: scene.seen[there] / 255,
    speed: scene.speeds[there],
    saliency: scene.matters ? scene.matters[there] / 255 : 0,
  };
}

// Colours. The parts have those that the renderer starts from; ramps begin near the ground and end far from it.
const PARTS = {
  "left arm": [255, 166, 26], "left leg": [255, 64, 140], trunk: [89, 217, 102], "right arm": [26, 178, 255], "right leg": [140, 115, 255],
};
const RAMPS = {
  light: [[207, 214, 223], [230, 178, 92], [214, 92, 28], [122, 22, 32]],
  dark: [[96, 106, 122], [150, 62, 118], [236, 104, 62], [255, 222, 128]],
};
const rgb = color => `rgb(${color.map(Math.round).join()})`;

function partColor(part, side, dark) {
  const limb = ["hip", "knee", "ankle", "foot"].includes(part) ? "leg" : "arm";
  const centered = side === "center" || ["neck", "head", "face"].includes(part);
  return PARTS[centered ? "trunk" : `${side} ${limb}`].map(value => value * (dark ? 0.94 : 0.84));
}

function rampColor(share, dark) {
  const ramp = RAMPS[dark ? "dark" : "light"], at = between(share, 0, 1) * (ramp.length - 1), low = Math.min(Math.floor(at), ramp.length - 2);
  return ramp[low].map((value, k) => value + (ramp[low + 1][k] - value) * (at - low));
}

function colorOf(scene, joint, mode, dark) {
  if (mode === "speed") return rampColor(joint.speed / scene.fastest, dark);
  if (mode === "confidence") return rampColor(joint.confidence, dark);
  if (mode === "saliency") return rampColor(joint.saliency, dark);
  const color = partColor(scene.parts[joint.number], scene.sides[joint.number], dark);
  return joint.person ? color.map(value => 0.55 * value + 0.45 * 140) : color;
}

// A camera: places to pixels, with their distance and their scale; null behind it.
function camera(scene, view, at, width, height) {
  const frame = between(Math.round(at), 0, scene.shape[1] - 1), radius = view.follow ? scene.bodyRadius : scene.radius;
  const target = view.follow ? [scene.middles[frame][0], scene.middles[frame][1], scene.middles[frame][2]] : [0, 0, 0];
  const away = radius * 4, scale = 0.45 * Math.min(width, height * 0.98) / radius * view.zoom;
  const yaw = scene.facing + view.yaw, [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  const project = ([px, py, pz]) => {
    const x = px - target[0], y = py - target[1], z = pz - target[2];
    const deep = -x * sy + z * cy, near = y * sp + deep * cp, distance = away - near;
    if (distance < 0.1 * away) return null;
    const pixels = scale * away / distance;
    return { x: width / 2 + (x * cy + z * sy) * pixels, y: height / 2 - (y * cp - deep * sp) * pixels, distance, pixels };
  };
  return { project, target, radius };
}

// Lines of whole steps on the floor, or on the wall behind a 2D recording, fading out; returns the step in metres.
function drawGrid(pen, scene, eye, ink) {
  const wall = scene.dims === 2, up = wall ? 1 : 2, extent = eye.radius * 2, step = nice(extent / 7), half = Math.ceil(extent / step);
  const start = [0, up].map(axis => Math.round((eye.target[axis] + scene.center[axis]) / step) * step - scene.center[axis]);
  const corner = (i, j) => wall ? [start[0] + i * step, start[1] + j * step, 0] : [start[0] + i * step, scene.floor, start[1] + j * step];
  const points = [];
  for (let i = -half; i <= half; i++) for (let j = -half; j <= half; j++) points.push({ screen: eye.project(corner(i, j)), away: Math.hypot(corner(i, j)[0] - eye.target[0], corner(i, j)[up] - eye.target[up]) / extent });
  const line = (a, b) => {
    const fade = 1 - (a.away + b.away) / 2;
    if (fade <= 0 || !a.screen || !b.screen) return;
    pen.globalAlpha = Math.min(1, 1.6 * fade);
    pen.beginPath(); pen.moveTo(a.screen.x, a.screen.y); pen.lineTo(b.screen.x, b.screen.y); pen.stroke();
  };
  pen.strokeStyle = ink; pen.lineWidth = 1;
  const row = 2 * half + 1;
  points.forEach((point, k) => { if (k % row < row - 1) line(point, points[k + 1]); if (k + row < points.length) line(point, points[k + row]); });
  pen.globalAlpha = 1;
  return step;
}

function drawShadow(pen, scene, eye, bodies) {
  pen.strokeStyle = "#000"; pen.globalAlpha = 0.13; pen.lineCap = pen.lineJoin = "round";
  for (const joints of bodies) {
    pen.beginPath();
    for (const joint of joints) {
      const parent = joint && joints[scene.parents[joint.number]];
      if (!parent || !joint.seen || !parent.seen) continue;
      const [a, b] = [parent, joint].map(one => eye.project([one.place[0], scene.floor, one.place[2]]));
      if (a && b) { pen.moveTo(a.x, a.y); pen.lineTo(b.x, b.y); pen.lineWidth = eye.radius * 0.07 * a.pixels; }
    }
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

// The way of one joint, a little before and after now.
function drawTrail(pen, scene, eye, { person, number }, at, ink) {
  const reach = TRAIL_S * scene.fps, first = Math.max(0, Math.ceil(at - reach)), end = Math.min(scene.shape[1] - 1, Math.floor(at + reach));
  const step = Math.max(1, Math.round(scene.fps / 60));
  pen.strokeStyle = ink; pen.lineWidth = 2; pen.lineCap = "round";
  for (let frame = first; frame + step <= end; frame += step) {
    const [a, b] = [frame, frame + step].map(one => index(scene, person, one, number));
    if (!scene.seen[a] || !scene.seen[b]) continue;
    const [from, to] = [a, b].map(one => eye.project(place(scene, one)));
    if (!from || !to) continue;
    pen.globalAlpha = 0.9 * (1 - Math.abs(frame - at) / reach) ** 0.7;
    pen.beginPath(); pen.moveTo(from.x, from.y); pen.lineTo(to.x, to.y); pen.stroke();
  }
  pen.globalAlpha = 1;
}

function drawBodies(pen, scene, eye, bodies, look) {
  const shapes = [], thick = eye.radius < scene.radius ? eye.radius * 0.05 : scene.bodyRadius * 0.05;
  for (const joints of bodies) for (const joint of joints) {
    if (!joint || !joint.screen) continue;
    const parent = joints[scene.parents[joint.number]];
    joint.front = Math.min(joint.front ?? Infinity, joint.screen.distance);
    let length = thick * 3;
    if (parent && parent.screen) {
      length = Math.hypot(...parent.place.map((value, axis) => value - joint.place[axis]));
      const distance = (joint.screen.distance + parent.screen.distance) / 2;
      shapes.push({ distance, bone: [parent, joint], width: between(0.45 * length, thick * 0.3, thick) });
      joint.front = Math.min(joint.front, distance); parent.front = Math.min(parent.front ?? Infinity, distance);
    }
    joint.width = between(0.3 * length, thick * 0.3, thick * 0.62);
  }
  // A joint lies on all its bones.
  for (const joint of bodies.flat()) if (joint && joint.screen) shapes.push({ distance: joint.front - 1e-6, joint, width: joint.width });
  shapes.sort((a, b) => b.distance - a.distance);
  pen.lineCap = "round";
  for (const { joint, bone, width } of shapes) {
    if (bone) drawBone(pen, bone, Math.max(2, width * (bone[0].screen.pixels + bone[1].screen.pixels) / 2), look);
    else drawJoint(pen, joint, Math.max(2, width * joint.screen.pixels), look);
  }
  pen.globalAlpha = 1;
}

function drawBone(pen, [a, b], width, look) {
  const line = () => { pen.beginPath(); pen.moveTo(a.screen.x, a.screen.y); pen.lineTo(b.screen.x, b.screen.y); pen.stroke(); };
  const fade = pen.createLinearGradient(a.screen.x, a.screen.y, b.screen.x + 1e-3, b.screen.y);
  fade.addColorStop(0, rgb(a.color)); fade.addColorStop(1, rgb(b.color));
  if (!a.seen || !b.seen) {
    pen.globalAlpha = 0.6; pen.strokeStyle = fade; pen.lineWidth = 1.5; pen.setLineDash([3, 5]); line(); pen.setLineDash([]);
    return;
  }
  pen.globalAlpha = 1; pen.strokeStyle = look.ground; pen.lineWidth = width + 3; line();
  pen.globalAlpha = 0.3 + 0.7 * Math.min(a.confidence, b.confidence); pen.strokeStyle = fade; pen.lineWidth = width; line();
}

function drawJoint(pen, joint, radius, look) {
  const color = joint.color, { x, y } = joint.screen;
  const circle = size => { pen.beginPath(); pen.arc(x, y, size, 0, 7); };
  pen.globalAlpha = 1;
  if (joint.seen) {
    pen.fillStyle = look.ground; circle(radius + 1.2); pen.fill();
    pen.fillStyle = rgb(color); pen.globalAlpha = 0.3 + 0.7 * joint.confidence; circle(radius); pen.fill();
  } else {
    pen.fillStyle = look.ground; circle(radius); pen.fill();
    pen.strokeStyle = rgb(color); pen.lineWidth = 1.5; circle(radius); pen.stroke();
  }
  pen.globalAlpha = 1;
  if (look.marked(joint)) { pen.strokeStyle = look.ink; pen.lineWidth = 2.5; circle(radius + 3); pen.stroke(); }
}

function drawNames(pen, bodies, look) {
  pen.font = "600 13px system-ui, sans-serif"; pen.textAlign = "center"; pen.fillStyle = look.ink;
  const taken = [];
  bodies.forEach((joints, person) => {
    const top = joints.filter(one => one && one.seen && one.screen).sort((a, b) => a.screen.y - b.screen.y)[0];
    if (!top) return;
    let { x, y } = top.screen;
    y -= 16;
    while (taken.some(other => Math.abs(other.x - x) < 64 && Math.abs(other.y - y) < 14)) y -= 4;
    taken.push({ x, y });
    pen.fillText(`person ${person + 1}`, x, y);
  });
}
