// The check of the audit record: the head that was sound is remembered in this browser, and compared the next time.
"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const check = one("audit-check"), button = one("audit-verify"), said = one("audit-said"), problem = one("audit-problem");
  const place = `yingbi-audit-${check.dataset.zone}`;
  const fill = (text, parts) => text.replace(/<(\w+)>/g, (_, name) => parts[name]);

  button.addEventListener("click", async () => {
    button.disabled = true;
    said.textContent = check.dataset.checking;
    problem.hidden = true;
    const before = JSON.parse(localStorage.getItem(place) ?? "{}");
    try {
      const answer = await yingbi.request("/audit/verify", before);
      const found = await answer.json();
      if (!answer.ok) throw Object.assign(new Error([found.message, found.hint].filter(Boolean).join(" ")), found);
      localStorage.setItem(place, JSON.stringify({ rows: found.rows, head: found.head }));
      const words = before.rows ? check.dataset.again : check.dataset.first;
      said.textContent = `${check.dataset.sound} ${fill(words, { rows: found.rows, before: before.rows })} ${found.head}`;
    } catch (wrong) {
      said.textContent = "";
      // Other problems say nothing of the record.
      problem.textContent = [/^audit/.test(wrong.code) ? check.dataset.broken : "", wrong.message].join(" ").trim();
      problem.hidden = false;
      one(`row-${wrong.row}`)?.classList.add("wrong");
    }
    button.disabled = false;
  });
})();
