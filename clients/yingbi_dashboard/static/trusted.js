// The one place where text becomes HTML: fragments that the server made, in which no element loads or runs anything.
"use strict";
(() => {
  const refuse = () => { throw new TypeError("not allowed"); };
  const rules = {
    createHTML: (text) => (/<(script|iframe|object|embed|base|meta|link|style)\b/i.test(text) ? refuse() : text),
    createScript: refuse,
  };
  const policy = window.trustedTypes ? window.trustedTypes.createPolicy("yingbi", rules) : rules;
  window.htmx.registerExtension("trusted", { init: (api) => api.initSecurity(policy) });
})();
