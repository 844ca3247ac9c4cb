// The workbench: marks the place of an error, signs what was previewed, and copies.
"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const form = one("workbench"), preview = one("preview");
  const { post, tell } = lines;
  // Not form.dataset: that is the field of this name.
  const says = (name) => form.getAttribute(`data-${name}`);

  // Whether the authorization is of the plan that was previewed, at its price, under its agreement, by this key.
  async function isAsShown(body, plan, shown, publicKey) {
    const said = protobuf.fields(body), hash = yingbi.toHex(await yingbi.digest("plan", plan));
    const text = (bytes) => new TextDecoder().decode(bytes ?? new Uint8Array());
    return hash === shown.hash && hash === one("preview-hash").textContent && yingbi.toHex(said.get(1) ?? []) === hash
      && said.get(2) === BigInt(shown.rho) && yingbi.toHex(said.get(6) ?? []) === yingbi.toHex(publicKey)
      && text(said.get(9)) === shown.agreement && [...said.keys()].every((number) => [1, 2, 3, 4, 5, 6, 9].includes(number));
  }

  async function run(asked, shown) {
    const keys = await yingbi.kept();
    if (!keys) throw new Error(says("nokey"));
    const made = await post("/workbench/prepare", { ...asked, key: yingbi.toBase64(keys.publicKey) });
    const body = yingbi.fromBase64(made.body), plan = yingbi.fromBase64(made.plan);
    const same = await isAsShown(body, plan, shown, keys.publicKey).catch(() => false);
    if (!same) throw new Error(says("differs"));
    const signature = yingbi.toBase64(await yingbi.sign("authorization", body, keys.privateKey));
    return post("/workbench/run", { ...asked, body: made.body, signature });
  }

  const question = () => Object.fromEntries(new FormData(form));
  let asked = {};
  form.addEventListener("submit", () => { asked = question(); });
  // What was changed since is not what was previewed, nor what a preview is still on its way of.
  form.addEventListener("input", () => {
    htmx.trigger(form, "htmx:abort");
    preview.replaceChildren();
  });

  preview.addEventListener("click", async (event) => {
    const button = event.target;
    if (button.dataset.copies) {
      await navigator.clipboard.writeText(one(button.dataset.copies).textContent);
      button.textContent = button.dataset.copied;
    }
    if (button.id !== "run") return;
    button.disabled = true;
    tell(one("run-error"), "");
    try {
      location.assign((await run(asked, one("price").dataset)).next);
    } catch (problem) {
      tell(one("run-error"), problem.message);
      button.disabled = false;
    }
  });
  new MutationObserver(() => {
    const problem = one("preview-problem");
    lines.mark(form, problem?.dataset.position ?? "");
  }).observe(preview, { childList: true });
})();
