// What pages do beside links and forms: signing in and out, decisions, keys in the inbox.
"use strict";
(() => {
  const one = (id) => document.getElementById(id);

  // What is said of a problem is its message; its code and position are beside it.
  async function send(path, parts) {
    const answer = await yingbi.request(path, parts);
    const said = answer.status === 204 ? {} : await answer.json(), { code, position } = said;
    if (!answer.ok) throw Object.assign(new Error([said.message, said.hint].filter(Boolean).join(" ")), { code, position });
    return said;
  }

  // Whose session has ended signs in and comes back.
  async function post(path, parts) {
    try {
      return await send(path, parts);
    } catch (problem) {
      if (problem.code === "not_authenticated" && !/^\/(sign-in|join)/.test(path))
        location.assign("/sign-in?" + new URLSearchParams({ next: location.pathname }));
      throw problem;
    }
  }

  function tell(place, words) {
    place.textContent = words;
    place.hidden = !words;
  }
  Object.assign(yingbi, { post, send, tell });

  const signIn = one("sign-in");
  signIn?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = one("token").value.trim(), error = one("sign-in-error"), button = signIn.querySelector("button");
    tell(error, "");
    let keys;
    try {
      keys = await yingbi.keysOf(token);
    } catch {
      return tell(error, signIn.dataset.unable);
    }
    button.disabled = true;
    try {
      await post("/sign-in", { credential: await yingbi.credentialOf(token) });
      await yingbi.keep(keys);
      one("token").value = "";
      location.assign(signIn.dataset.next);
    } catch (problem) {
      tell(error, `${signIn.dataset.failed} ${problem.message}`);
      button.disabled = false;
    }
  });

  one("sign-out")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    await yingbi.forget();
    event.target.submit();
  });

  const decision = one("decision");
  async function approve(parts) {
    const { job, rho, hash, nokey, differs } = decision.dataset, path = `/decisions/${job}`;
    const keys = await yingbi.kept();
    if (!keys) throw new Error(nokey);
    const made = await post(`${path}/prepare`, { key: yingbi.toBase64(keys.publicKey), days: parts.get("days") ?? "" });
    const body = yingbi.fromBase64(made.body);
    const shown = await yingbi.isAsShown(body, yingbi.fromBase64(made.plan), { job, rho, hash }, keys.publicKey);
    if (!shown) throw new Error(differs);
    const signature = yingbi.toBase64(await yingbi.sign("approval", body, keys.privateKey));
    return post(`${path}/approve`, { body: made.body, signature });
  }
  function refuse(parts, action) {
    const said = { action, reason: parts.get("reason"), clause: parts.get("clause") ?? "" };
    return post(`/decisions/${decision.dataset.job}/refuse`, said);
  }

  // Wherever a button is: parts of a page come anew.
  document.addEventListener("click", (event) => {
    const opens = event.target.closest("[data-opens]"), closes = event.target.closest("[data-closes]");
    if (opens) one(opens.dataset.opens).showModal();
    closes?.closest("dialog").close();
  });
  for (const form of document.querySelectorAll("dialog form[data-action], dialog form[data-post]"))
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const error = form.querySelector(".error"), action = form.dataset.action, parts = new FormData(form);
      const buttons = form.querySelectorAll("button");
      tell(error, "");
      buttons.forEach((button) => { button.disabled = true; });
      try {
        const done = await (form.dataset.post ? post(form.dataset.post, parts)
          : action === "approve" ? approve(parts) : refuse(parts, action));
        location.assign(done.next);
      } catch (problem) {
        tell(error, problem.message);
        buttons.forEach((button) => { button.disabled = false; });
      }
    });

  // A file's text goes into a field, where it is seen before it is sent.
  for (const input of document.querySelectorAll("input[type=file][data-into]"))
    input.addEventListener("change", async () => {
      if (input.files[0]) one(input.dataset.into).value = await input.files[0].text();
    });

  // j and k go through what waits; the browser's own Enter opens it.
  document.addEventListener("keydown", (event) => {
    if (!one("inbox") || event.ctrlKey || event.metaKey || event.altKey || !["j", "k"].includes(event.key)) return;
    if (event.target.closest("input, textarea, select")) return;
    const rows = Array.from(document.querySelectorAll("a.row")), at = rows.indexOf(document.activeElement);
    const next = at < 0 ? 0 : at + (event.key === "j" ? 1 : -1);
    rows[Math.min(Math.max(next, 0), rows.length - 1)]?.focus();
    event.preventDefault();
  });
})();
