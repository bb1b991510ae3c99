"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const svg = $("graph"), scene = $("scene"), find = $("find"), count = $("count");
  const nodes = [...svg.querySelectorAll(".node")];
  for (const el of nodes) {
    el.setAttribute("role", "button");
    el.setAttribute("aria-label", el.querySelector("title").textContent);
  }
  const links = [...svg.querySelectorAll(".link")].map((el) => ({ el, from: +el.dataset.from, to: +el.dataset.to }));
  const details = nodes.map((_, id) => $("d" + id));
  const texts = nodes.map((el, id) => (el.getAttribute("aria-label") + " " + details[id].textContent).toLowerCase());
  const boxes = nodes.map((el) => {
    const at = (name) => +el.querySelector(".box").getAttribute(name);
    return { x: at("x"), y: at("y"), w: at("width"), h: at("height") };
  });
  const size = { w: +svg.dataset.width, h: +svg.dataset.height };
  const users = nodes.map(() => []), inputs = nodes.map(() => []);
  for (const { from, to } of links) { users[from].push(to); inputs[to].push(from); }

  // ---- the view: scene = screen * k + (x, y)
  let x = 0, y = 0, k = 1, picked = null, hits = [];
  const draw = () => scene.setAttribute("transform", `translate(${x} ${y}) scale(${k})`);
  const stage = () => svg.getBoundingClientRect();
  const fit = () => {
    const { width, height } = stage(), room = 28, foot = $("legend").offsetHeight + 14;
    k = Math.min(1.25, Math.max(.05, Math.min((width - 2 * room) / size.w, (height - 2 * room - foot) / size.h)));
    x = (width - size.w * k) / 2;
    y = Math.max(room, (height - foot - size.h * k) / 2);
    draw();
  };
  const zoom = (by, cx, cy) => {
    const { width, height } = stage(), next = Math.min(4, Math.max(.05, k * by));
    cx ??= width / 2; cy ??= height / 2;
    x = cx - (cx - x) * next / k; y = cy - (cy - y) * next / k; k = next;
    draw();
  };
  const show = (id) => {
    const { width, height } = stage(), b = boxes[id];
    if (k < .6) k = .85;
    const left = x + b.x * k, top = y + b.y * k, pad = 40;
    if (left < pad || top < pad || left + b.w * k > width - pad || top + b.h * k > height - 70) {
      x = width / 2 - (b.x + b.w / 2) * k; y = height / 2 - (b.y + b.h / 2) * k;
    }
    draw();
  };

  // ---- what is picked
  const reach = (start, next) => {
    const seen = new Set([start]), todo = [start];
    while (todo.length) for (const id of next[todo.pop()]) if (!seen.has(id)) { seen.add(id); todo.push(id); }
    return seen;
  };
  const paint = () => {
    const up = picked === null ? new Set() : reach(picked, inputs), down = picked === null ? new Set() : reach(picked, users);
    const near = new Set([...up, ...down, ...hits]);
    svg.classList.toggle("dimmed", picked !== null || find.value.trim() !== "");
    nodes.forEach((el, id) => {
      el.classList.toggle("picked", id === picked);
      el.classList.toggle("hit", hits.includes(id));
      el.classList.toggle("near", near.has(id));
      el.tabIndex = id === (picked ?? hits[0] ?? 0) ? 0 : -1;
    });
    for (const { el, from, to } of links) {
      el.classList.toggle("near", (up.has(from) && up.has(to)) || (down.has(from) && down.has(to)));
      el.classList.toggle("tied", from === picked || to === picked);
    }
  };
  const pick = (id, focus) => {
    picked = id;
    details.forEach((el, at) => { el.hidden = at !== id; });
    $("intro").hidden = id !== null;
    $("panel").scrollTop = 0;
    paint();
    try { history.replaceState(null, "", id === null ? "#" : "#n" + id); } catch { /* a page inside of another */ }
    if (id !== null) { show(id); if (focus) nodes[id].focus({ preventScroll: true }); }
  };
  const search = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    hits = words.length ? texts.flatMap((text, id) => words.every((word) => text.includes(word)) ? [id] : []) : [];
    count.textContent = words.length ? `${hits.length} of ${nodes.length}` : "";
    paint();
  };
  // The nearest node in a direction: straight ahead counts more than aside.
  const beside = (id, dx, dy) => {
    const c = (b) => [b.x + b.w / 2, b.y + b.h / 2], [px, py] = c(boxes[id]);
    let best = null, least = Infinity;
    boxes.forEach((b, at) => {
      const [qx, qy] = c(b), ahead = (qx - px) * dx + (qy - py) * dy, aside = Math.abs((qx - px) * dy) + Math.abs((qy - py) * dx);
      if (at !== id && ahead > 1 && aside < 3 * ahead + 60 && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = at; }
    });
    return best;
  };

  // ---- mouse and touch
  const pointers = new Map();
  let moved = false;
  svg.addEventListener("pointerdown", (e) => {
    if (e.button) return;
    pointers.set(e.pointerId, e); moved = false;
  });
  svg.addEventListener("pointermove", (e) => {
    const last = pointers.get(e.pointerId);
    if (!last) return;
    if (!moved && Math.hypot(e.clientX - last.clientX, e.clientY - last.clientY) < 4) return;
    if (!moved) { moved = true; svg.setPointerCapture(e.pointerId); svg.classList.add("moving"); }
    const other = [...pointers.values()].find((p) => p.pointerId !== e.pointerId);
    if (other) {
      const far = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY), { left, top } = stage();
      zoom(far(e) / Math.max(1, far(last)), (e.clientX + other.clientX) / 2 - left, (e.clientY + other.clientY) / 2 - top);
    } else { x += e.clientX - last.clientX; y += e.clientY - last.clientY; draw(); }
    pointers.set(e.pointerId, e);
  });
  const up = (e) => { pointers.delete(e.pointerId); svg.classList.remove("moving"); };
  svg.addEventListener("pointerup", up);
  svg.addEventListener("pointercancel", up);
  svg.addEventListener("click", (e) => {
    if (moved) return;
    const cut = e.target.closest(".cut");
    if (cut) return pick(+cut.dataset.far, true);
    const node = e.target.closest(".node");
    pick(node ? +node.dataset.id : null, true);
  });
  svg.addEventListener("wheel", (e) => {
    e.preventDefault();
    const { left, top } = stage(), step = e.deltaMode ? e.deltaY * 16 : e.deltaY;
    zoom(Math.exp(-step * (e.ctrlKey ? .01 : .0015)), e.clientX - left, e.clientY - top);
  }, { passive: false });
  document.addEventListener("click", (e) => {
    const link = e.target.closest("a[data-node]");
    if (link) { e.preventDefault(); pick(+link.dataset.node, true); }
  });

  // ---- keys
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.target === find) {
      if (e.key === "Escape") { find.value = ""; search(); find.blur(); }
      if (e.key === "Enter" && hits.length) pick(hits[(hits.indexOf(picked) + (e.shiftKey ? hits.length - 1 : 1)) % hits.length]);
      return;
    }
    const node = e.target.closest?.(".node");
    if (ways[e.key] && (node || e.target === document.body)) {
      e.preventDefault();
      const from = node ? +node.dataset.id : picked;
      const to = from === null ? 0 : beside(from, ...ways[e.key]);
      if (to !== null) pick(to, true);
    } else if (node && (e.key === "Enter" || e.key === " ")) { e.preventDefault(); pick(+node.dataset.id, true); }
    else if (e.key === "/") { e.preventDefault(); find.focus(); find.select(); }
    else if (e.key === "Escape") pick(null);
    else if (e.key === "+" || e.key === "=") zoom(1.25);
    else if (e.key === "-") zoom(.8);
    else if (e.key === "0") fit();
  });
  find.addEventListener("input", search);
  $("in").addEventListener("click", () => zoom(1.25));
  $("out").addEventListener("click", () => zoom(.8));
  $("fit").addEventListener("click", fit);
  $("theme").addEventListener("click", () => {
    const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = root.dataset.theme ?? (dark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
  addEventListener("resize", () => { if (picked === null) fit(); });

  fit();
  const asked = /^#n(\d+)$/.exec(location.hash);
  if (asked && +asked[1] < nodes.length) pick(+asked[1]); else paint();
})();
