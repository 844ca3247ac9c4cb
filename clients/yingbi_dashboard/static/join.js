// Letting people in, in the browser alone: invitations, certificates (as yingbi/api/certificates.py) and passkeys.
"use strict";
yingbi.joining = (() => {
  const { entries, bytes, words, time, message } = protobuf;

  const only = (found, number) => found.find(([each]) => each === number)?.[1];
  const said = (found, number) => new TextDecoder().decode(only(found, number) ?? new Uint8Array());

  // What is in an invitation's secret; throws where it is none.
  function read(secret) {
    const whole = entries(yingbi.fromText(secret));
    const invitation = only(whole, 1), key = only(whole, 2);
    const body = only(entries(invitation), 1), found = entries(body);
    if (key.length !== 32) throw new RangeError("no key");
    return {
      invitation, key, body,
      person: said(found, 2),
      organisation: said(found, 1),
      duties: found.filter(([number]) => number === 3).map(([, duty]) => new TextDecoder().decode(duty)),
      expires: Number(only(entries(only(found, 5)), 1) ?? 0n),
    };
  }

  // A new key that never leaves this browser, and that not even its scripts can read.
  async function newKeys() {
    const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
    const publicKey = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
    return { privateKey: pair.privateKey, publicKey };
  }

  // The serialized SignedCertificate of a key, made with what was read of an invitation.
  async function certify(invited, publicKey) {
    const body = message(words(1, invited.person), bytes(2, publicKey));
    const { privateKey } = await yingbi.keysFrom(invited.key);
    const signature = await yingbi.sign("certificate", body, privateKey);
    return message(bytes(1, invited.invitation), bytes(2, body), bytes(3, signature));
  }

  // A new invitation, signed with the organisation's key: what the gateway is given, and what the person is.
  async function invite(keys, { organisation, person, duties, expires, certificateExpires }) {
    const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
    const own = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
    const seed = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey)).slice(-32);
    const body = message(
      words(1, organisation), words(2, person), [...new Set(duties)].sort().flatMap((duty) => words(3, duty)),
      bytes(4, own), time(5, expires), bytes(6, keys.publicKey), time(7, certificateExpires),
    );
    const signed = message(bytes(1, body), bytes(2, await yingbi.sign("invitation", body, keys.privateKey)));
    return { signed, secret: yingbi.toText(message(bytes(1, signed), bytes(2, seed))) };
  }

  // Passkeys: what a gateway's JSON says in base64, browsers take as bytes, and the other way round.
  const buffer = (each) => ({ ...each, id: yingbi.fromText(each.id) });
  function shown(credential, ...names) {
    const parts = names.filter((name) => credential.response[name]);
    const inText = (part) => yingbi.toText(new Uint8Array(part));
    const response = Object.fromEntries(parts.map((name) => [name, inText(credential.response[name])]));
    const { id, type } = credential;
    return JSON.stringify({ id, rawId: id, type, response, clientExtensionResults: {} });
  }
  async function newPasskey(options) {
    const asked = JSON.parse(options);
    asked.challenge = yingbi.fromText(asked.challenge);
    asked.user = buffer(asked.user);
    asked.excludeCredentials = (asked.excludeCredentials ?? []).map(buffer);
    const made = await navigator.credentials.create({ publicKey: asked });
    return shown(made, "clientDataJSON", "attestationObject");
  }
  async function usePasskey(options) {
    const asked = JSON.parse(options);
    asked.challenge = yingbi.fromText(asked.challenge);
    asked.allowCredentials = (asked.allowCredentials ?? []).map(buffer);
    const used = await navigator.credentials.get({ publicKey: asked });
    return shown(used, "clientDataJSON", "authenticatorData", "signature", "userHandle");
  }

  return { read, newKeys, certify, invite, newPasskey, usePasskey };
})();
