"use strict";
const tools = document.querySelector(".tools");
const [search, group, verdict, changed] = ["search", "group", "verdict", "changed"].map((id) => document.getElementById(id));
const claims = [...document.querySelectorAll("article[data-verdict]")].map((article) => ({
  article,
  row: document.getElementById("row-" + article.id),
  words: article.textContent.toLowerCase(),
}));

function show() {
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { article, row, words } of claims) {
    const fits = wanted.every((word) => words.includes(word))
      && (!group.value || article.id.startsWith(group.value))
      && (!verdict.value || article.dataset.verdict === verdict.value)
      && (!changed || !changed.value || article.dataset.change === changed.value);
    article.hidden = row.hidden = !fits;
    shown += fits;
  }
  for (const section of document.querySelectorAll("section[data-group]")) {
    section.hidden = ![...section.querySelectorAll("article")].some((article) => !article.hidden);
  }
  document.getElementById("shown").value = `${shown} of ${claims.length} claims shown`;
}

tools.hidden = false;
tools.addEventListener("input", show);
show();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
