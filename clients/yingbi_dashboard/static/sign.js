// Keys and signatures, in the browser alone. A key that is kept here can sign and cannot be read, by no script either.
"use strict";
window.yingbi = (() => {
  const text = new TextEncoder();
  const PKCS8 = Uint8Array.from([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20]);

  const toBase64 = (bytes) => btoa(String.fromCharCode(...bytes));
  const fromBase64 = (words) => Uint8Array.from(atob(words), (mark) => mark.charCodeAt(0));
  const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

  // As yingbi/api/digests.py: SHA-256 over the domain, a zero byte, and each part after its length in eight bytes.
  async function digest(domain, ...parts) {
    const framed = [text.encode("yingbi/v1/" + domain), Uint8Array.of(0)];
    for (const part of parts) {
      const length = new DataView(new ArrayBuffer(8));
      length.setBigUint64(0, BigInt(part.length));
      framed.push(new Uint8Array(length.buffer), part);
    }
    const whole = await new Blob(framed).arrayBuffer();
    return new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
  }

  // As yingbi/api/credentials.py.
  async function derive(token, purpose) {
    const secret = await crypto.subtle.importKey("raw", text.encode(token), "HKDF", false, ["deriveBits"]);
    const how = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info: text.encode("yingbi/v1/token/" + purpose) };
    return new Uint8Array(await crypto.subtle.deriveBits(how, secret, 256));
  }

  // A browser's own words for what did not arrive are in its language, and not in that of the page.
  const request = (path, parts) =>
    fetch(path, { method: "POST", body: new URLSearchParams(parts), redirect: "error" })
      .catch(() => { throw new Error(document.body.dataset.unreachable); });

  const toText = (bytes) => toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const fromText = (words) => fromBase64(words.replaceAll("-", "+").replaceAll("_", "/"));

  // What comes after the point of TOKEN.KEY is a key, and no part of what is called with.
  const credentialOf = async (token) => toText(await derive(token.split(".")[0], "bearer"));

  async function keysOf(token) {
    const [secret, key] = token.split(".");
    return keysFrom(key === undefined ? await derive(secret, "signing key") : fromText(key));
  }

  // A pair of keys of a seed of 32 bytes, as it is kept: the private one cannot be read any more.
  async function keysFrom(bytes) {
    const seed = Uint8Array.of(...PKCS8, ...bytes);
    const readable = await crypto.subtle.importKey("pkcs8", seed, "Ed25519", true, ["sign"]);
    const publicKey = fromText((await crypto.subtle.exportKey("jwk", readable)).x);
    const privateKey = await crypto.subtle.importKey("pkcs8", seed, "Ed25519", false, ["sign"]);
    return { privateKey, publicKey };
  }

  // Whether an approval is of this job, of the plan whose hash was shown, at the price that was shown, by this key.
  async function isAsShown(body, plan, shown, publicKey) {
    const said = protobuf.fields(body), hash = toHex(await digest("plan", plan));
    return hash === shown.hash && toHex(said.get(2) ?? []) === hash && toHex(said.get(3) ?? []) === toHex(publicKey)
      && new TextDecoder().decode(said.get(1)) === shown.job && said.get(4) === BigInt(shown.rho)
      && [...said.keys()].every((number) => number >= 1 && number <= 7);
  }

  async function sign(domain, body, privateKey) {
    return new Uint8Array(await crypto.subtle.sign("Ed25519", privateKey, await digest(domain, body)));
  }

  function store(mode, use) {
    return new Promise((resolve, reject) => {
      const opening = indexedDB.open("yingbi", 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore("keys");
      opening.onerror = () => reject(opening.error);
      opening.onsuccess = () => {
        const transaction = opening.result.transaction("keys", mode);
        const request = use(transaction.objectStore("keys"));
        transaction.oncomplete = () => { opening.result.close(); resolve(request.result); };
        transaction.onerror = () => reject(transaction.error);
      };
    });
  }
  // "signing" is the key of who is signed in. A key that was made here is kept beside it under its own public key, also
  // while nobody is signed in: it is nowhere else.
  const keep = (keys) => store("readwrite", (all) => all.put(keys, "signing"));
  const kept = () => store("readonly", (all) => all.get("signing"));
  const forget = () => store("readwrite", (all) => all.delete("signing"));
  const keepOwn = (keys) => store("readwrite", (all) => all.put(keys, "own/" + toHex(keys.publicKey)));
  const ownKeys = (hex) => store("readonly", (all) => all.get("own/" + hex));
  const forgetOwn = (hex) => store("readwrite", (all) => all.delete("own/" + hex));
  // Sign with the key that was made here for this public key, if it was; else with none.
  async function adopt(hex) {
    const own = await ownKeys(hex);
    await (own ? keep(own) : forget());
  }

  return {
    toBase64, fromBase64, toText, fromText, toHex, digest, credentialOf, keysOf, keysFrom, isAsShown,
    sign, request, keep, kept, forget, keepOwn, ownKeys, forgetOwn, adopt,
  };
})();
