"use strict";
(() => {
  const story = JSON.parse(document.getElementById("story").textContent);
  const { actors, moments } = story;
  const byId = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const rows = all("#rows li");
  const colour = (actor) => `var(--${actors[actor].kind})`;
  const shape = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const isFault = (it) => it.fault === true || (it.what === "signalled" && it.by === null);
  const isDecided = (it) => (it.choices ?? []).some((choice) => choice.answer !== 0);
  const isBad = (it) => isFault(it) || it.what === "left";

  // Whom a moment is about besides its own actor: pids may be used again, so the time counts.
  const actorAt = (pid, at) =>
    actors.findIndex((it) => it.pid === pid && it.from <= at && at <= it.to);
  const partner = (it, at) => {
    const pid = it.what === "born" ? it.parent : it.by;
    return pid === undefined || pid === null ? -1 : actorAt(pid, at);
  };

  // From where to where somebody waits, as pairs of moments.
  const waits = [];
  const ended = new Map();
  const open = new Map();
  moments.forEach((it, at) => {
    if (it.what === "ended") ended.set(it.actor, at);
    if (it.what === "waits") open.set(it.actor, at);
    else if (open.has(it.actor) && ["calls", "doomed", "left"].includes(it.what)) {
      waits.push({ actor: it.actor, from: open.get(it.actor), to: at, forever: it.what === "left" });
      open.delete(it.actor);
    }
  });

  // ---- what is shown ------------------------------------------------------------------------

  const hidden = new Set();
  const shows = moments.map(() => true);
  const filter = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const call = byId("calls").value;
    const errors = byId("errors").checked;
    let count = 0;
    moments.forEach((it, at) => {
      const text = words.length > 0 ? rows[at].textContent.toLowerCase() : "";
      shows[at] = !hidden.has(it.actor) && (!call || it.call === call) &&
        (!errors || it.errno !== undefined || isBad(it)) &&
        words.every((word) => text.includes(word));
      rows[at].classList.toggle("gone", !shows[at]);
      count += shows[at] ? 1 : 0;
    });
    byId("shown").textContent = `${count} of ${moments.length} events`;
    drawLanes();
  };

  // ---- lanes beside the rows ----------------------------------------------------------------

  const drawLanes = () => {
    const step = Math.max(5, Math.min(16, Math.floor((innerWidth < 760 ? 110 : 330) / actors.length)));
    const width = step * actors.length + 8;
    document.documentElement.style.setProperty("--lanes", `${width}px`);
    const svg = byId("lanes");
    const top = byId("rows").offsetTop;
    const y = [];
    let last = top;
    rows.forEach((row, at) => {
      if (!row.classList.contains("gone")) last = row.offsetTop + Math.min(row.offsetHeight, 20) / 2;
      y[at] = last;
    });
    const end = last + 10;
    svg.setAttribute("width", width);
    svg.setAttribute("height", end + 4);
    const x = (actor) => 6 + actor * step;
    const parts = [];
    const line = (attributes) => parts.push(shape("line", attributes));
    // Between its end and the moment when its parent asks how, somebody is hardly there.
    actors.forEach((it, place) => {
      const over = ended.get(place) ?? it.to;
      const opacity = hidden.has(place) ? 0.2 : 0.75;
      const stroke = colour(place);
      line({ x1: x(place), x2: x(place), y1: y[it.from], y2: y[over], stroke, "stroke-width": 2, opacity });
      line({ x1: x(place), x2: x(place), y1: y[over], y2: y[it.to], stroke, "stroke-width": 1, opacity: opacity / 2 });
    });
    for (const it of waits) {
      line({ x1: x(it.actor), x2: x(it.actor), y1: y[it.from], y2: y[it.to],
        stroke: "var(--back)", "stroke-width": 3 });
      line({ x1: x(it.actor), x2: x(it.actor), y1: y[it.from], y2: y[it.to],
        stroke: it.forever ? "var(--red)" : colour(it.actor),
        "stroke-width": it.forever ? 2 : 1.5, "stroke-dasharray": "2 4" });
    }
    moments.forEach((it, at) => {
      if (!shows[at]) return;
      const [cx, cy] = [x(it.actor), y[at]];
      const other = partner(it, at);
      if (other >= 0 && other !== it.actor) {
        line({ x1: x(other), x2: cx, y1: cy, y2: cy, stroke: colour(other), "stroke-width": 1,
          "stroke-dasharray": it.what === "signalled" ? "1 2" : "none" });
      }
      const fill = isBad(it) ? "var(--red)" : colour(it.actor);
      if (it.what === "born") {
        parts.push(shape("circle", { cx, cy, r: 4, fill: "var(--back)", stroke: fill, "stroke-width": 2 }));
      } else if (["doomed", "ended", "left"].includes(it.what)) {
        for (const slope of [1, -1]) {
          line({ x1: cx - 4, x2: cx + 4, y1: cy - 4 * slope, y2: cy + 4 * slope, stroke: fill, "stroke-width": 2 });
        }
      } else if (it.what === "signalled") {
        const side = other > it.actor ? 1 : -1;
        parts.push(shape("path", { d: `M${cx} ${cy}l${6 * side} -4v8z`, fill }));
      } else if (it.what !== "waits") {
        parts.push(shape("circle", { cx, cy, r: isBad(it) ? 5 : 2.6, fill }));
      }
    });
    svg.replaceChildren(...parts);
  };

  // ---- the map ------------------------------------------------------------------------------

  const LANE = 16;
  let zoom = 1;
  let scale = 1;
  const drawMap = () => {
    const chart = byId("chart");
    const width = Math.max(50, (chart.clientWidth - 2) * zoom);
    const height = LANE * actors.length;
    scale = (width - 12) / Math.max(1, moments.length);
    const x = (at) => 2 + at * scale;
    const y = (actor) => actor * LANE + LANE / 2;
    const svg = byId("lines");
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    const parts = [shape("rect", { id: "view", y: 0, height, fill: "var(--mark)", opacity: 0.6 })];
    const bar = (actor, from, to, thick, attributes) => parts.push(shape("rect", {
      x: x(from), width: Math.max(1.5, (to - from) * scale), y: y(actor) - thick / 2, height: thick,
      fill: colour(actor), ...attributes,
    }));
    actors.forEach((it, place) => {
      if (it.parent !== null) {
        parts.push(shape("line", { x1: x(it.from), x2: x(it.from), y1: y(it.parent), y2: y(place),
          stroke: colour(place), "stroke-width": 1, opacity: 0.45 }));
      }
      bar(place, it.from, it.to + 1, 2, { opacity: 0.55 });
    });
    // Neighbouring moments of one actor are one bar.
    let from = 0;
    moments.forEach((it, at) => {
      if (at + 1 === moments.length || moments[at + 1].actor !== it.actor) {
        bar(it.actor, from, at + 1, 9, {});
        from = at + 1;
      }
    });
    for (const it of waits.filter((wait) => wait.forever)) {
      bar(it.actor, it.from, it.to + 1, 4, { fill: "var(--red)" });
    }
    moments.forEach((it, at) => {
      if (isDecided(it)) {
        parts.push(shape("rect", { x: x(at), y: y(it.actor) + 5, width: Math.max(1.5, Math.min(scale, 3)),
          height: 3, fill: "var(--decided)" }));
      }
      if (isBad(it)) {
        const dot = shape("circle", { cx: x(at + 0.5), cy: y(it.actor), r: 5, fill: "var(--red)",
          stroke: "var(--back)" });
        dot.append(shape("title", {}));
        dot.firstChild.textContent = rows[at].querySelector(".x").textContent;
        parts.push(dot);
      }
    });
    if (story.failure) {
      parts.push(shape("line", { x1: x(moments.length) + 3, x2: x(moments.length) + 3, y1: 0, y2: height,
        stroke: "var(--red)", "stroke-width": 3 }));
    }
    svg.replaceChildren(...parts);
    showView();
  };

  // Which part of the rows is on the screen.
  const showView = () => {
    const view = byId("view");
    if (!view) return;
    const seen = [];
    const inSight = (at) => {
      const box = rows[at].getBoundingClientRect();
      return box.height > 0 && box.bottom > 0 && box.top < innerHeight;
    };
    // Rows are in order: halves find one in sight, its neighbours follow.
    const shown = moments.map((_, at) => at).filter((at) => shows[at]);
    let [low, high] = [0, shown.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[shown[middle]].getBoundingClientRect().bottom <= 0) low = middle + 1;
      else high = middle;
    }
    for (let at = low; at < shown.length && inSight(shown[at]); at += 1) seen.push(shown[at]);
    const [first, last] = [seen[0] ?? 0, seen[seen.length - 1] ?? 0];
    view.setAttribute("x", 2 + first * scale);
    view.setAttribute("width", seen.length > 0 ? Math.max(2, (last - first + 1) * scale) : 0);
  };

  // ---- one moment ---------------------------------------------------------------------------

  let chosen = -1;
  const choose = (at, scroll = true) => {
    if (at < 0 || at >= rows.length) return;
    if (chosen >= 0) rows[chosen].classList.remove("chosen");
    chosen = at;
    rows[at].classList.add("chosen");
    if (scroll) rows[at].scrollIntoView({ block: "center" });
    if (at < moments.length) showDetails(at);
    else byId("details").hidden = true;
    drawLanes();
  };
  const named = (pid, at) => {
    const place = actorAt(pid, at);
    return place < 0 ? String(pid) : `${pid} ${actors[place].name}`;
  };
  const choiceText = (choice, at) => {
    if (choice.question !== "turn") return `${choice.answer} of ${choice.answers}`;
    const names = choice.among.map((pid) => named(pid, at)).concat(choice.time ? ["time"] : []);
    return names.map((name, place) => (place === choice.answer ? `▸${name}◂` : name)).join(", ");
  };
  const showDetails = (at) => {
    const it = moments[at];
    const actor = actors[it.actor];
    const details = byId("details");
    const list = document.createElement("dl");
    const fact = (name, value) => {
      const [term, text] = [document.createElement("dt"), document.createElement("dd")];
      [term.textContent, text.textContent] = [name, value];
      list.append(term, text);
    };
    fact("event", `${at}, at ${(it.clock / 1e6).toFixed(3)} ms`);
    fact("process", `${actor.pid} ${actor.name} (${actor.kind})`);
    fact("argv", actor.argv.join(" "));
    if (it.arguments) fact("arguments", it.arguments);
    if (it.result) fact("result", it.result);
    if (it.errno) fact("error", it.errno + (it.fault ? ", as planned" : ""));
    if (it.wanted) fact("waits for", it.wanted);
    if (it.since !== undefined) {
      const spent = (it.clock - moments[it.since].clock) / 1e6;
      fact("waited", `since event ${it.since}, ${spent.toFixed(3)} ms`);
    }
    (it.choices ?? []).forEach((choice, place) =>
      fact(`answer ${it.place + place}`, choiceText(choice, at)));
    const head = document.createElement("h2");
    head.textContent = rows[at].querySelector(".x b").textContent;
    const close = document.createElement("button");
    close.className = "close";
    close.textContent = "✕";
    close.setAttribute("aria-label", "Close");
    close.onclick = () => { details.hidden = true; };
    details.replaceChildren(close, head, list);
    details.hidden = false;
  };

  const wanted = {
    fault: (at) => isFault(moments[at]),
    decided: (at) => isDecided(moments[at]),
    any: () => true,
  };
  const jump = (what, direction) => {
    if (what === "failure") return choose(moments.length);
    for (let at = chosen < 0 && direction < 0 ? moments.length - 1 : chosen + direction;
      at >= 0 && at < moments.length; at += direction) {
      if (shows[at] && wanted[what](at)) return choose(at);
    }
    return undefined;
  };

  // ---- hands --------------------------------------------------------------------------------

  const used = [...new Set(moments.map((it) => it.call).filter(Boolean))].sort();
  byId("calls").append(...used.map((call) => new Option(call, call)));
  for (const button of all("[data-jump]")) {
    const what = button.dataset.jump;
    const count = what === "failure" ? (story.failure ? 1 : 0)
      : moments.filter((_, at) => wanted[what](at)).length;
    button.disabled = count === 0;
    if (what !== "failure") button.textContent += ` ${count}`;
    button.onclick = (event) => {
      if (what !== "failure" && !moments.some((_, at) => at > chosen && shows[at] && wanted[what](at))) chosen = -1;
      all("#rows .chosen").forEach((row) => row.classList.remove("chosen"));
      jump(what, event.shiftKey ? -1 : 1);
    };
  }
  const press = (button, places) => {
    const on = button.getAttribute("aria-pressed") !== "true";
    places.forEach((place) => (on ? hidden.delete(place) : hidden.add(place)));
    all("[data-actor]").forEach((it) =>
      it.setAttribute("aria-pressed", String(!hidden.has(Number(it.dataset.actor)))));
    button.setAttribute("aria-pressed", String(on));
    filter();
  };
  for (const button of all("[data-actor]")) {
    button.onclick = () => press(button, [Number(button.dataset.actor)]);
  }
  for (const button of all("[data-kind]")) {
    button.onclick = () =>
      press(button, actors.flatMap((it, place) => (it.kind === button.dataset.kind ? [place] : [])));
  }
  byId("search").oninput = filter;
  byId("calls").onchange = filter;
  byId("errors").onchange = filter;
  const zoomBy = (factor) => {
    zoom = Math.min(40, Math.max(1, zoom * factor));
    drawMap();
  };
  byId("in").onclick = () => zoomBy(1.5);
  byId("out").onclick = () => zoomBy(1 / 1.5);
  byId("theme").onclick = () => {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  };
  byId("rows").onclick = (event) => {
    const row = event.target.closest("li");
    if (row && !event.target.closest("a")) choose(rows.indexOf(row), false);
  };
  byId("lines").onclick = (event) => {
    const at = Math.round((event.clientX - byId("lines").getBoundingClientRect().left - 2) / scale);
    const place = Math.floor((event.clientY - byId("lines").getBoundingClientRect().top) / LANE);
    // The nearest one that is shown, in the lane that was hit if there is one near.
    const far = (it) => Math.abs(it - at) + (moments[it].actor === place ? 0 : 12 / scale);
    const shown = moments.map((_, it) => it).filter((it) => shows[it]);
    if (shown.length > 0) choose(shown.reduce((best, it) => (far(it) < far(best) ? it : best)));
  };
  const keys = {
    n: () => jump("fault", 1), p: () => jump("fault", -1),
    d: () => jump("decided", 1), D: () => jump("decided", -1),
    j: () => jump("any", 1), k: () => jump("any", -1),
    f: () => story.failure && jump("failure", 1),
    "/": () => byId("search").focus(), "+": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5),
    Escape: () => { byId("details").hidden = true; document.activeElement.blur(); },
  };
  addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT"].includes(document.activeElement.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== "Escape")) return;
    const act = keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
  let due = false;
  addEventListener("scroll", () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; showView(); });
  }, { passive: true });
  const draw = () => { drawLanes(); drawMap(); };
  addEventListener("resize", draw);
  matchMedia("print").addEventListener("change", draw);
  const follow = () => {
    const at = rows.findIndex((row) => `#${row.id}` === location.hash);
    if (at >= 0) choose(at);
  };
  addEventListener("hashchange", follow);
  filter();
  drawMap();
  follow();
})();
