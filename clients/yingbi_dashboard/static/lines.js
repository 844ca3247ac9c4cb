// Text areas with line numbers, in which the place of an error is marked; and what posts of such pages share.
"use strict";
window.lines = (() => {
  // Whose session has ended stays: the page has what they wrote.
  const { send: post, tell } = yingbi;

  // By form, the line that is marked. Not in its dataset: a field of a form can have that name.
  const marked = new WeakMap();
  function number(form) {
    const area = form.querySelector("textarea"), numbers = form.querySelector(".numbers");
    const wrong = marked.get(form), count = area.value.split("\n").length;
    numbers.replaceChildren(...Array.from({ length: count }, (_, at) => {
      const line = document.createElement("span");
      line.textContent = `${at + 1}\n`;
      if (at + 1 === wrong) line.className = "wrong";
      return line;
    }));
    numbers.scrollTop = area.scrollTop;
  }
  // Marks "line:column", both from 1 on; nothing where it is empty.
  function mark(form, position) {
    const area = form.querySelector("textarea"), [line, column] = position.split(":").map(Number);
    marked.set(form, position ? line : 0);
    area.removeAttribute("aria-invalid");
    number(form);
    if (!position) return;
    const rows = area.value.split("\n"), start = rows.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    const word = /^[\p{L}\p{N}_.]+|^./u.exec((rows[line - 1] ?? "").slice(column - 1))?.[0] ?? "";
    area.setAttribute("aria-invalid", "true");
    area.focus();
    area.setSelectionRange(start + column - 1, start + column - 1 + word.length);
  }
  function failed(form, place, problem) {
    const where = problem.position ? `${form.getAttribute("data-error-line")} ${problem.position}: ` : "";
    tell(place, where + problem.message);
    mark(form, problem.position ?? "");
  }

  for (const form of document.querySelectorAll("[data-lines]")) {
    const area = form.querySelector("textarea");
    area.addEventListener("input", () => { marked.delete(form); number(form); });
    area.addEventListener("scroll", () => { form.querySelector(".numbers").scrollTop = area.scrollTop; });
    number(form);
  }
  return { post, tell, mark, failed };
})();
