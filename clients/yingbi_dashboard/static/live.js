// Parts of a page that show what changes are asked for again when the gateway says that something did.
"use strict";
(() => {
  const parts = () => document.querySelectorAll("[data-live]");
  let source = null, waiting = null, leaves = false;

  // Who signs out is led to one page. A part that is refused meanwhile would lead to another, and stop the first.
  document.getElementById("sign-out")?.addEventListener("submit", () => {
    leaves = true;
    source?.close();
    document.addEventListener("htmx:before:request", (event) => event.preventDefault());
    for (const part of document.querySelectorAll("[hx-get]")) htmx.trigger(part, "htmx:abort");
  });

  if (!parts().length) return;
  function renew() {
    // Of many changes at once, one look.
    waiting ??= setTimeout(() => {
      waiting = null;
      for (const part of parts()) htmx.trigger(part, "renew");
    }, 150);
  }
  function follow() {
    source = new EventSource("/changes");
    source.addEventListener("changed", renew);
    source.addEventListener("signed-out", () => location.assign("/sign-in"));
    source.addEventListener("never", () => source.close());
  }
  // A browser has few connections to one host: pages that nobody looks at hold none.
  document.addEventListener("visibilitychange", () => {
    source?.close();
    if (!document.hidden && !leaves) follow();
  });
  window.addEventListener("pagehide", () => source?.close());
  follow();
})();
