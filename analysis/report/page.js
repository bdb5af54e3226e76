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

// a link leads to its claim whatever is filtered
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target || !target.closest("[hidden]")) return;
  for (const each of [search, group, verdict, changed]) if (each) each.value = "";
  show();
  target.scrollIntoView();
}

tools.hidden = false;
tools.addEventListener("input", show);
show();
addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (link && link.getAttribute("href") === location.hash) reveal();
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
