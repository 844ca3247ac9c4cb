// Signing in, joining, and the page of people. What is secret is read from the address's fragment, which is never sent.
"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const { post, tell, joining } = yingbi;

  // What a form does, and the page that it leads to, if any; what goes wrong is said in it. Its buttons wait meanwhile.
  function on(form, act) {
    form?.addEventListener("submit", async (event) => {
      event.preventDefault();
      const error = form.querySelector("[role=alert]"), buttons = form.querySelectorAll("button");
      const parts = new FormData(form), { submitter } = event;
      tell(error, "");
      buttons.forEach((button) => { button.disabled = true; });
      try {
        const next = await act(parts, submitter?.value);
        // What is done is not to be done again before the next page is there.
        if (next) return location.assign(next);
      } catch (problem) {
        tell(error, problem.message);
        error.scrollIntoView({ block: "nearest" });
      }
      buttons.forEach((button) => { button.disabled = false; });
    });
  }

  // A browser's own words for what its user stopped are for nobody.
  async function authenticator(use, words) {
    try {
      return await use();
    } catch (problem) {
      throw new Error(`${words} (${problem.name})`);
    }
  }

  // The secret after # is kept for as long as this tab is there, and leaves address and history.
  function taken(name) {
    if (location.hash.length > 1) {
      sessionStorage.setItem(name, location.hash.slice(1));
      history.replaceState(null, "", location.pathname + location.search);
    }
    return sessionStorage.getItem(name);
  }

  async function arrive(said, next) {
    await yingbi.adopt(said.key);
    return next;
  }

  const linkForm = one("link-form");
  const showLink = () => { one("by-link").hidden = !taken("yingbi-link"); };
  if (linkForm) {
    showLink();
    window.addEventListener("hashchange", showLink);
  }
  // Not by itself: who only follows a link of somebody's is not to find themselves signed in as somebody.
  on(linkForm, async () => {
    const token = taken("yingbi-link");
    sessionStorage.removeItem("yingbi-link");
    let keys;
    try {
      keys = await yingbi.keysOf(token);
    } catch {
      throw new Error(linkForm.dataset.unable);
    }
    await post("/sign-in/link", { credential: await yingbi.credentialOf(token) });
    await yingbi.keep(keys);
    return linkForm.dataset.next;
  });

  const passkeyForm = one("passkey-form");
  on(passkeyForm, async (parts, way) => {
    const { next, none, stopped } = passkeyForm.dataset, person = parts.get("person").trim(), code = parts.get("code");
    if (way === "code" && !code) return one("code").focus();
    const begun = await post("/sign-in/begin", { person });
    const proof = { sign_in: begun.sign_in };
    if (code) proof.code = code;
    else if (!begun.options) throw new Error(none);
    else proof.passkey = await authenticator(() => joining.usePasskey(begun.options), stopped);
    return arrive(await post("/sign-in/finish", proof), next);
  });

  const join = one("join");
  let invited;
  function showInvitation() {
    try {
      invited = joining.read(taken("yingbi-join"));
    } catch {
      return;
    }
    one("join-person").textContent = invited.person;
    one("join-organisation").textContent = invited.organisation;
    const names = one("join-duties").dataset;
    one("join-duties").textContent = invited.duties.map((duty) => names[duty] ?? duty).join(", ");
    one("join-until").textContent = new Date(invited.expires * 1000).toLocaleString(document.documentElement.lang);
    one("join-none").hidden = true;
    join.hidden = false;
  }
  if (join) {
    showInvitation();
    window.addEventListener("hashchange", showInvitation);
  }
  on(join, async () => {
    let keys, certificate;
    try {
      keys = await joining.newKeys();
      certificate = await joining.certify(invited, keys.publicKey);
    } catch {
      throw new Error(join.dataset.unable);
    }
    const hex = yingbi.toHex(keys.publicKey);
    // Kept before it counts: somebody whose key counts and is lost would have to be invited anew.
    await yingbi.keepOwn(keys);
    let said;
    try {
      said = await post("/join", { certificate: yingbi.toBase64(certificate) });
    } catch (problem) {
      await yingbi.forgetOwn(hex);
      throw problem;
    }
    sessionStorage.removeItem("yingbi-join");
    return arrive(said, "/people");
  });

  for (const form of document.querySelectorAll("form[data-post]"))
    on(form, async (parts) => (await post(form.dataset.post, parts)).next);

  const addPasskey = one("add-passkey");
  on(addPasskey, async (parts) => {
    const { challenge, options } = await post("/people/passkey/begin", {});
    const passkey = await authenticator(() => joining.newPasskey(options), addPasskey.dataset.stopped);
    return (await post("/people/passkey", { challenge, passkey, label: parts.get("label") })).next;
  });

  const addTotp = one("add-totp");
  let codes;
  on(one("begin-totp"), async () => {
    codes = await post("/people/totp/begin", {});
    one("totp-secret").textContent = codes.secret;
    one("totp-uri").textContent = codes.uri;
    addTotp.hidden = false;
    one("totp-code").focus();
  });
  on(addTotp, async (parts) => {
    const sent = { challenge: codes.challenge, code: parts.get("code") };
    return (await post("/people/totp", sent)).next;
  });

  const ownKey = one("own-key"), inviting = one("inviting-card"), invite = one("invite");
  async function showKeys() {
    const keys = await yingbi.kept(), hex = keys && yingbi.toHex(keys.publicKey);
    const { key, here, elsewhere } = ownKey.dataset;
    ownKey.textContent = hex === key ? here : elsewhere;
    one("forget-key").hidden = !(await yingbi.ownKeys(key));
    const signs = inviting?.dataset.key === hex;
    if (inviting && signs) {
      invite.hidden = false;
      one("invite-elsewhere").hidden = true;
    }
  }
  if (ownKey) showKeys();
  one("forget-go")?.addEventListener("click", async () => {
    await yingbi.forgetOwn(ownKey.dataset.key);
    await yingbi.forget();
    location.reload();
  });

  on(invite, async (parts) => {
    const duties = parts.getAll("duty"), now = Math.floor(Date.now() / 1000), days = (name) => now + 86400 * parts.get(name);
    if (!duties.length) throw new Error(invite.dataset.duties);
    const { signed, secret } = await joining.invite(await yingbi.kept(), {
      organisation: invite.dataset.organisation, person: parts.get("person"), duties,
      expires: days("days"), certificateExpires: days("certificate_days"),
    });
    await post("/people/invite", { invitation: yingbi.toBase64(signed), real_name: parts.get("real_name") });
    one("invited-link").textContent = `${location.origin}/join#${secret}`;
    one("invited").hidden = false;
    one("invited").focus();
    invite.reset();
  });
})();
