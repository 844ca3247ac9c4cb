// Agreements: drafts, steps, and the signature over the very terms that the page shows.
"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const { post, tell, failed } = lines;

  const draft = one("draft-agreement");
  draft?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = draft.querySelector("button");
    tell(one("draft-error"), "");
    lines.mark(draft, "");
    button.disabled = true;
    try {
      location.assign((await post("/agreements", { document: one("document").value })).next);
    } catch (problem) {
      button.disabled = false;
      failed(draft, one("draft-error"), problem);
    }
  });

  // As the page shows text: what would hide or reorder it, by its number.
  const visible = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (mark) =>
    "\n\t".includes(mark) ? mark : `\\u{${mark.codePointAt(0).toString(16)}}`);
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const text = (bytes) => visible(strict.decode(bytes));
  const alone = (values) => { if (values.length !== 1) throw new RangeError("there twice"); return values[0]; };
  const says = {
    text: (values, shown) => text(alone(values)) === shown,
    list: (values, shown) => visible(values.map((each) => strict.decode(each)).join(", ")) === shown,
    key: (values, shown) => yingbi.toHex(alone(values)) === shown,
    whole: (values, shown) => String(alone(values)) === shown,
    truth: (values, shown) => String(alone(values) !== 0n) === shown,
    real: (values, shown) => new DataView(alone(values).buffer).getFloat64(0, true) === Number(shown),
    time: (values, shown) => {
      const seconds = Number(protobuf.lists(alone(values)).get(1)?.[0] ?? 0n);
      return new Date(1000 * seconds).toISOString().replace("T", " ").replace(".000Z", " UTC") === shown;
    },
  };
  // Whether the bytes to sign have every clause that is shown, as it is shown, and no other; and the hash that is shown.
  async function areAsShown(terms, hash) {
    const said = protobuf.lists(terms);
    const shown = Array.from(document.querySelectorAll("[data-clause]"));
    return yingbi.toHex(await yingbi.digest("agreement", terms)) === hash && one("terms-hash").textContent === hash
      && said.size === shown.length && shown.every((each) => {
        const values = said.get(Number(each.dataset.clause));
        return values !== undefined && says[each.dataset.kind](values, each.textContent);
      });
  }

  const steps = one("agreement-steps");
  async function signature(path) {
    const { hash, nokey, differs } = steps.dataset, keys = await yingbi.kept();
    if (!keys) throw new Error(nokey);
    const terms = yingbi.fromBase64((await post(`${path}/prepare`, {})).terms);
    if (!(await areAsShown(terms, hash).catch(() => false))) throw new Error(differs);
    const signed = await yingbi.sign("agreement", terms, keys.privateKey);
    return { signature: yingbi.toBase64(signed), key: yingbi.toBase64(keys.publicKey) };
  }

  // What enclaves check of a step, signed in the same act: a stop (stop.proto), or the end of the reader's suspension.
  const SCOPES = { suspend: 5, terminate: 2 };
  async function stopped(action, reason) {
    const { agreement, predecessors, suspension, nokey } = steps.dataset, scope = SCOPES[action];
    if (!scope && !(action === "resume" && suspension)) return {};
    const keys = await yingbi.kept();
    if (!keys) throw new Error(nokey);
    const { bytes, whole, words, time, message } = protobuf;
    // No two are the same, however soon one follows the other.
    const nanos = crypto.getRandomValues(new Uint32Array(1))[0] % 1e9;
    const signer = bytes(4, keys.publicKey), issued = time(5, Math.floor(Date.now() / 1000), nanos);
    const before = predecessors.split(" ").filter(Boolean).map((each) => words(7, each));
    const body = scope
      ? message(whole(1, scope), words(2, agreement), words(3, reason), signer, issued, ...before)
      : message(bytes(1, yingbi.fromBase64(suspension)), words(3, reason), signer, issued, words(6, agreement));
    const domain = scope ? "stop" : "lift", signature = await yingbi.sign(domain, body, keys.privateKey);
    return { [domain]: yingbi.toBase64(body), [`${domain}_signature`]: yingbi.toBase64(signature) };
  }

  for (const form of document.querySelectorAll("form[data-step]"))
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const path = `/agreements/${steps.dataset.agreement}`, action = form.dataset.step;
      const error = form.querySelector(".error"), buttons = form.querySelectorAll("button");
      tell(error, "");
      buttons.forEach((button) => { button.disabled = true; });
      try {
        const reason = (new FormData(form).get("reason") ?? "").replaceAll("\r\n", "\n");
        const signed = action === "sign" ? await signature(path) : await stopped(action, reason);
        const said = { action, reason, ...signed };
        location.assign((await post(`${path}/step`, said)).next);
      } catch (problem) {
        tell(error, problem.message);
        buttons.forEach((button) => { button.disabled = false; });
      }
    });
})();
