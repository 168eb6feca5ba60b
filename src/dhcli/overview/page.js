"use strict";
(() => {
  const root = document.documentElement, table = document.getElementById("table");
  const form = document.querySelector(".controls"), search = form.querySelector("input");
  const jobs = [...table.tBodies], found = form.querySelector(".found");
  const numbers = new Set(["status", "suspicion", "speed", "length", "ended"]);
  const state = {kind: "", sort: "suspicion", down: true};
  const details = (body) => body.querySelector("details");
  root.classList.add("js");
  form.hidden = false;

  const show = (body, open) => {
    details(body).open = open;
    body.querySelector(".name button").setAttribute("aria-expanded", String(open));
  };
  for (const body of jobs) {
    const name = body.querySelector(".id"), button = document.createElement("button");
    button.type = "button";
    button.className = "id";
    button.textContent = name.textContent;
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-controls", details(body).id);
    name.replaceWith(button);
    body.rows[0].addEventListener("click", (event) => {
      if (String(getSelection()) === "" || event.target === button) show(body, !details(body).open);
    });
  }

  const compare = (a, b) => {
    const key = state.sort, x = a.dataset[key], y = b.dataset[key];
    const by = numbers.has(key) ? x - y : (x === "") - (y === "") || x.localeCompare(y, undefined, {numeric: true});
    return (state.down && (numbers.has(key) || (x && y)) ? -by : by) || jobs.indexOf(a) - jobs.indexOf(b);
  };
  const heads = [...table.tHead.rows[0].cells], sorts = form.querySelector("select[data-sort]");
  const sort = () => {
    for (const body of [...jobs].sort(compare)) table.append(body);
    for (const head of heads) {
      if (head.dataset.sort === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    sorts.value = state.sort;
  };
  const sortBy = (key, down) => {
    state.sort = key;
    state.down = down;
    sort();
  };
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const key = head.dataset.sort;
      sortBy(key, key === state.sort ? !state.down : numbers.has(key) && key !== "status");
    });
  }
  sorts.addEventListener("change", () => sortBy(sorts.value, numbers.has(sorts.value) && sorts.value !== "status"));

  const filters = [...form.querySelectorAll("select[data-filter]")];
  const kinds = [...form.querySelectorAll("button[data-kind]")];
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const body of jobs) {
      const fits = (!state.kind || body.dataset.kind === state.kind)
        && words.every((word) => body.dataset.words.includes(word))
        && filters.every((one) => {
          const value = body.dataset[one.dataset.filter];
          return !one.value || (one.dataset.filter === "code" ? value.split(" ").includes(one.value) : value === one.value);
        });
      body.hidden = !fits;
      count += fits;
    }
    found.textContent = count === jobs.length ? "" : `${count} of ${jobs.length}`;
  };
  for (const button of kinds) {
    button.addEventListener("click", () => {
      state.kind = button.dataset.kind;
      for (const one of kinds) one.setAttribute("aria-pressed", String(one === button));
      filter();
    });
  }
  for (const one of filters) {
    one.parentElement.hidden = one.options.length < 3;
    one.addEventListener("change", filter);
  }
  search.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });

  const follow = () => {
    const body = jobs.find((one) => `#${one.id}` === location.hash);
    if (!body) return;
    if (body.hidden) {
      search.value = "";
      for (const one of filters) one.value = "";
      kinds[0].click();
    }
    show(body, true);
    body.scrollIntoView();
  };
  addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#job-']");
    if (link && link.hash === location.hash) follow();
  });

  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      button.textContent = "Copied";
    });
  }
  const theme = document.createElement("button");
  theme.type = "button";
  theme.className = "theme";
  const dark = () => root.classList.contains("dark")
    || (!root.classList.contains("light") && matchMedia("(prefers-color-scheme: dark)").matches);
  const label = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => {
    const next = dark() ? "light" : "dark";
    root.classList.remove("light", "dark");
    root.classList.add(next);
    label();
  });
  label();
  document.querySelector("header").append(theme);
  sort();
  follow();
})();
