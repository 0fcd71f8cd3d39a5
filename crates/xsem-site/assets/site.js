"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const up = document.body.dataset.up;
  const search = $("search"), results = $("results"), menu = $("menu");

  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("xsem-theme", root.dataset.theme); } catch { /* not kept */ }
  });

  const open = (on) => {
    document.body.classList.toggle("menu", on);
    menu.setAttribute("aria-expanded", String(on));
  };
  menu.addEventListener("click", () => open(!document.body.classList.contains("menu")));
  document.querySelector("nav").addEventListener("click", (e) => { if (e.target.closest("a")) open(false); });
  const here = document.querySelector("nav .here");
  if (here) {
    const nav = document.querySelector("nav");
    if (here.offsetTop > nav.clientHeight / 2) nav.scrollTop = here.offsetTop - 120;
  }

  // Every word must be somewhere in an entry; where it is decides the order.
  const score = (entry, words) => {
    let sum = 0;
    for (const w of words) {
      const title = entry.title.toLowerCase(), page = entry.page.toLowerCase(), at = entry.lower.indexOf(w);
      const here = (title.includes(w) ? 8 : 0) + (page.includes(w) ? 6 : 0) + (page.split(" ").includes(w) ? 10 : 0) + (at >= 0 ? 2 : 0);
      if (!here) return 0;
      sum += here;
    }
    return entry.url.includes("#") ? sum : sum + 3;
  };
  const excerpt = (entry, words) => {
    const at = Math.max(0, Math.min(...words.map((w) => entry.lower.indexOf(w)).filter((i) => i >= 0), entry.text.length) - 40);
    return (at > 0 ? "… " : "") + entry.text.slice(at, at + 150);
  };
  const marked = (text, words) => {
    const parts = document.createDocumentFragment();
    const lower = text.toLowerCase();
    for (let i = 0; i < text.length;) {
      const hit = words.map((w) => [lower.indexOf(w, i), w]).filter(([at]) => at >= 0).sort((a, b) => a[0] - b[0])[0];
      if (!hit) { parts.append(text.slice(i)); break; }
      const mark = document.createElement("mark");
      mark.textContent = text.slice(hit[0], hit[0] + hit[1].length);
      parts.append(text.slice(i, hit[0]), mark);
      i = hit[0] + hit[1].length;
    }
    return parts;
  };

  let chosen = -1;
  const find = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    results.replaceChildren();
    results.hidden = words.length === 0;
    chosen = -1;
    if (!words.length) return;
    for (const e of SEARCH_INDEX) e.lower ??= e.text.toLowerCase();
    // The best three of a page, so that one page does not hide the others.
    const of = {};
    const found = SEARCH_INDEX.map((e) => [score(e, words), e]).filter(([s]) => s > 0).sort((a, b) => b[0] - a[0])
      .filter(([, e]) => (of[e.page] = (of[e.page] ?? 0) + 1) <= 3).slice(0, 20);
    if (!found.length) results.textContent = "Nothing has all of these words.";
    for (const [, e] of found) {
      const a = document.createElement("a");
      a.href = up + e.url;
      const head = document.createElement("strong");
      head.append(marked(e.url.includes("#") ? `${e.page} › ${e.title}` : e.page, words));
      const text = document.createElement("span");
      text.append(marked(excerpt(e, words), words));
      a.append(head, text);
      results.append(a);
    }
  };
  search.addEventListener("input", find);
  search.addEventListener("keydown", (e) => {
    const links = [...results.querySelectorAll("a")];
    if (e.key === "Escape") { search.value = ""; find(); search.blur(); }
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      e.preventDefault();
      chosen = Math.max(0, Math.min(links.length - 1, chosen + (e.key === "ArrowDown" ? 1 : -1)));
      links.forEach((l, i) => l.classList.toggle("chosen", i === chosen));
      links[chosen]?.scrollIntoView({ block: "nearest" });
    }
    if (e.key === "Enter" && links.length) location.href = links[Math.max(0, chosen)].href;
  });
  document.addEventListener("keydown", (e) => {
    if (e.key === "/" && document.activeElement !== search) { e.preventDefault(); search.focus(); }
  });
  document.addEventListener("click", (e) => {
    if (!results.contains(e.target) && e.target !== search) results.hidden = true;
    else if (e.target === search) find();
    if (results.contains(e.target) && e.target.closest("a")) results.hidden = true;
  });
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) { search.value = asked; addEventListener("load", find); }
})();
