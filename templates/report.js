"use strict";
// The explorer of the probe texts: a list of one tab stop, filters, and the terms of the chosen text.
(() => {
  const source = document.getElementById("probes");
  if (!source) return;
  const probes = JSON.parse(source.textContent);
  const at = (id) => document.getElementById(id);
  const [list, query, language, kind, length] = ["texts", "query", "language", "kind", "length"].map(at);
  const make = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
  const strongest = Math.max(0, ...probes.flatMap((p) => [p.before, p.after]).flatMap((s) => s.terms.map((t) => t[1])));
  let chosen = 0;

  const options = probes.map((probe, index) => {
    const option = make("li");
    option.id = `text-${index}`;
    option.setAttribute("role", "option");
    const words = make("span", "words", probe.text);
    words.lang = probe.lang;
    const dims = count(probe.after.active_dims, "active dim", "active dims");
    option.append(words, make("span", "note", `${probe.id} · ${count(probe.tokens, "token", "tokens")} · ${dims}`));
    option.addEventListener("click", () => choose(index));
    list.append(option);
    return option;
  });
  const visible = () => options.flatMap((option, index) => (option.hidden ? [] : [index]));

  function terms(side, place) {
    place.replaceChildren(...side.terms.map(([term, weight]) => {
      const row = make("li");
      const name = make("span", "term", term.trim() === "" ? "␣" : term);
      const bar = make("span", "bar");
      bar.style.width = `${strongest ? (100 * weight) / strongest : 0}%`;
      bar.setAttribute("aria-hidden", "true");
      const track = make("span", "track");
      track.append(bar);
      row.append(name, track, make("span", "weight", weight.toFixed(2)));
      return row;
    }));
  }

  function choose(index) {
    chosen = index;
    const probe = probes[index];
    options.forEach((option, n) => option.setAttribute("aria-selected", String(n === index)));
    list.setAttribute("aria-activedescendant", options[index].id);
    const box = list.getBoundingClientRect();
    const row = options[index].getBoundingClientRect();
    if (row.top < box.top) list.scrollTop -= box.top - row.top;
    if (row.bottom > box.bottom) list.scrollTop += row.bottom - box.bottom;
    at("words").textContent = probe.text;
    at("words").lang = probe.lang;
    const named = [...language.options].find((option) => option.value === probe.language);
    at("facts").textContent = [probe.id, named ? named.text : probe.language, probe.kind,
      count(probe.tokens, "token", "tokens")].filter(Boolean).join(" · ");
    for (const [side, name] of [["before", "base"], ["after", "patched"]]) {
      at(`${name}-dims`).textContent = count(probe[side].active_dims, "active dim", "active dims");
      at(`${name}-terms`).lang = probe.lang;
      terms(probe[side], at(`${name}-terms`));
    }
    at("text").hidden = false;
  }

  function filter() {
    const wanted = query.value.trim().toLocaleLowerCase();
    const [from, to] = length.value.split("-").map(Number);
    probes.forEach((probe, index) => {
      options[index].hidden = !(
        (!wanted || `${probe.id} ${probe.text}`.toLocaleLowerCase().includes(wanted)) &&
        (!language.value || probe.language === language.value) &&
        (!kind || !kind.value || probe.kind === kind.value) &&
        (!length.value || (probe.tokens >= from && (!to || probe.tokens <= to))));
    });
    const left = visible();
    at("count").textContent = `${left.length} of ${count(probes.length, "text", "texts")}`;
    if (left.length && !left.includes(chosen)) choose(left[0]);
    at("text").hidden = !left.length;
    if (!left.length) list.removeAttribute("aria-activedescendant");
    else list.setAttribute("aria-activedescendant", options[chosen].id);
  }

  list.addEventListener("keydown", (event) => {
    const left = visible();
    const here = left.indexOf(chosen);
    const places = { ArrowDown: here + 1, ArrowUp: here - 1, PageDown: here + 8, PageUp: here - 8, Home: 0, End: left.length - 1 };
    if (!(event.key in places) || !left.length) return;
    event.preventDefault();
    choose(left[Math.max(0, Math.min(left.length - 1, places[event.key]))]);
  });
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const control of [query, language, kind, length]) if (control) control.addEventListener("input", filter);
  filter();
  choose(chosen);
})();
